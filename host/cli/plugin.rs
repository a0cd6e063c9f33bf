//! `windlass plugin …`: what plugins there are, and what their authors need.

use clap::Subcommand;

use super::client::escaped;
use super::{ExitCode, block_on};

mod change;
mod check;
mod dev;
mod interface;
mod list;
mod new;
mod run;
mod scenario;
mod sign;
mod solo;
mod template;
mod test;
mod tried;
mod wrap;

/// What can be done with plugins.
#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// List the plugins of a running server
    List(list::ListArgs),
    /// Show one plugin of a running server
    Show(list::OneArgs),
    /// Check whether a file is a plugin; needs no server
    Check(check::CheckArgs),
    /// Begin a plugin: a small project that works as it is
    New(new::NewArgs),
    /// Build, check, swap and try a project whenever a file in it changes
    Dev(dev::DevArgs),
    /// Run one attempt under the real host's rules; needs no server
    Run(Box<run::RunArgs>),
    /// Run a plugin against a downstream that follows a script; needs no server
    Test(test::TestArgs),
    /// Make a component of the module that a C, Zig or Go compiler wrote; needs no server
    Wrap(wrap::WrapArgs),
    /// Make a key that signs components; prints its public half
    Keygen(sign::KeygenArgs),
    /// Sign a component, under the name that it will have; needs no server
    Sign(sign::SignArgs),
    /// Check the signature of a component; needs no server
    Verify(sign::VerifyArgs),
    /// Put a component into a running server, under a name
    Put(change::PutArgs),
    /// Remove a component from a running server; its jobs wait
    Remove(change::NameArgs),
    /// Let a plugin's jobs wait
    Pause(change::NameArgs),
    /// Let a paused plugin's jobs go on
    Resume(change::NameArgs),
}

/// Does it.
pub(super) fn run(command: PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::List(args) => block_on(list::list(args)),
        PluginCommand::Show(args) => block_on(list::show(args)),
        PluginCommand::Check(args) => block_on(check::check(args)),
        PluginCommand::New(args) => new::new(&args),
        PluginCommand::Dev(args) => dev::dev(args),
        PluginCommand::Run(args) => block_on(run::run(*args)),
        PluginCommand::Test(args) => block_on(test::test(args)),
        PluginCommand::Wrap(args) => wrap::wrap(&args),
        PluginCommand::Keygen(args) => sign::keygen(&args),
        PluginCommand::Sign(args) => sign::sign(&args),
        PluginCommand::Verify(args) => sign::verify(&args),
        PluginCommand::Put(args) => block_on(change::put(args)),
        PluginCommand::Remove(args) => block_on(change::remove(args)),
        PluginCommand::Pause(args) => block_on(change::act(args, "pause")),
        PluginCommand::Resume(args) => block_on(change::act(args, "resume")),
    }
}

/// Where a server has the plugin of that name.
fn path(name: &str) -> String {
    format!("/v1/plugins/{}", escaped(name))
}
