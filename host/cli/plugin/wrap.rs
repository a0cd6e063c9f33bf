//! `windlass plugin wrap`: from the module that a C, Zig or Go compiler writes to the component that is a plugin.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::super::{ExitCode, print, typed};
use super::interface;
use crate::config::disk;

/// The custom section by which a module says which world it was written for.
const COMPONENT_TYPE: &str = "component-type";

/// What `windlass plugin wrap` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct WrapArgs {
    /// The module
    module: PathBuf,
    /// Where the component goes
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The world of windlass:plugin that the module was written for, where it does not say so itself
    #[arg(long, default_value = "starter")]
    world: String,
}

/// Wraps it.
pub(super) fn wrap(args: &WrapArgs) -> anyhow::Result<ExitCode> {
    let shown = args.module.display();
    let module = typed::file(&args.module)?;
    let component = component(module, &args.world).with_context(|| format!("{shown} does not make a plugin"))?;
    write(&args.output, &component)?;
    print::out(&format!("{}: {} bytes\n", args.output.display(), component.len()));
    Ok(ExitCode::Done)
}

fn component(mut module: Vec<u8>, world: &str) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(!wasmparser::Parser::is_component(&module), "it is a component already: use it as it is");
    anyhow::ensure!(wasmparser::Parser::is_core_wasm(&module), "it is not a WebAssembly module");
    if !says_its_world(&module)? {
        let (resolve, package) = interface::parsed()?;
        let world = resolve.select_world(&[package], Some(world)).context("--world")?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()
}

fn says_its_world(module: &[u8]) -> anyhow::Result<bool> {
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::CustomSection(section) = payload?
            && section.name().starts_with(COMPONENT_TYPE)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// In one step: somebody may be watching that place.
fn write(to: &Path, component: &[u8]) -> anyhow::Result<()> {
    let mut part = to.as_os_str().to_owned();
    part.push(format!(".part-{}", std::process::id()));
    let shown = || format!("cannot write {}", to.display());
    disk::replace(to, Path::new(&part), disk::create_public, component).map(drop).with_context(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_wrapped_is_told() {
        for (bytes, told) in [
            (wat::parse_str("(component)").unwrap(), "a component already"),
            (b"no".to_vec(), "not a WebAssembly module"),
            (wat::parse_str("(module)").unwrap(), "handler"),
        ] {
            let error = format!("{:#}", component(bytes, "starter").unwrap_err());
            assert!(error.contains(told), "{error}");
        }
        let error = format!("{:#}", component(wat::parse_str("(module)").unwrap(), "nowhere").unwrap_err());
        assert!(error.contains("nowhere"), "{error}");
    }
}
