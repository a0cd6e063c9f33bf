//! `windlass plugin put`, `remove`, `pause` and `resume`: the plugins of a running server, changed.

use std::path::PathBuf;

use anyhow::Context as _;
use axum::http::Method;
use clap::Args;

use super::super::client::{About, ServerArgs};
use super::super::{ExitCode, print, typed};
use super::{path, sign};

/// What `windlass plugin put` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct PutArgs {
    /// The name that it gets
    name: String,
    /// The component
    file: PathBuf,
    /// The file of its signature, as `plugin sign` writes it [default: FILE.sig, where it exists]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass plugin remove`, `pause` and `resume` are told.
#[derive(Args, Debug)]
pub(in crate::cli) struct NameArgs {
    /// The plugin
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Puts a component in.
pub(super) async fn put(args: PutArgs) -> anyhow::Result<ExitCode> {
    let component = typed::file(&args.file)?;
    let client = args.server.client()?;
    let mut request = client.request(Method::PUT, &path(&args.name)).body(component).about(About::Component);
    if let Some(signature) = sign::signature_of(&args.file, args.signature.as_deref())? {
        request = request.header("Windlass-Signature", signature.to_string());
    }
    let plugin = client
        .send(request)
        .await
        .with_context(|| format!("cannot put {} in as {}", args.file.display(), args.name))?;
    print::out(&format!("plugin {} serves revision {}\n", args.name, print::plain(&plugin["revision"])));
    Ok(ExitCode::Done)
}

/// Removes one.
pub(super) async fn remove(args: NameArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    client.send(client.request(Method::DELETE, &path(&args.name))).await?;
    print::out(&format!("plugin {} is removed; its jobs wait\n", args.name));
    Ok(ExitCode::Done)
}

/// Pauses or resumes.
pub(super) async fn act(args: NameArgs, what: &str) -> anyhow::Result<ExitCode> {
    let plugin = args.server.client()?.post(&format!("{}/{what}", path(&args.name))).await?;
    print::out(&format!("plugin {} is {}\n", args.name, print::plain(&plugin["state"])));
    Ok(ExitCode::Done)
}
