//! `windlass plugin keygen`, `sign` and `verify`: signatures of components, made and checked without a server.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::super::{ExitCode, WrongUsage, print, typed, wrong_usage};
use crate::config::{PublicKey, disk};
use crate::plugin::{SIGNATURE_EXTENSION, Signature, SigningKey, is_plugin_name};

/// What `windlass plugin keygen` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct KeygenArgs {
    /// Where the private key goes; nothing may be there yet
    file: PathBuf,
}

/// What `windlass plugin sign` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct SignArgs {
    /// The private key: the PEM file of `plugin keygen`, or of `openssl genpkey -algorithm ed25519`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The component
    file: PathBuf,
    /// The name that the plugin will have [default: that of the file]
    #[arg(long)]
    name: Option<String>,
    /// Where the signature goes; - for standard output [default: the component's file with .sig behind it]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What `windlass plugin verify` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct VerifyArgs {
    /// A public key that may have signed; can be repeated
    #[arg(long = "signed-by", value_name = "KEY", required = true)]
    signed_by: Vec<PublicKey>,
    /// The component
    file: PathBuf,
    /// The name that the plugin has [default: that of the file]
    #[arg(long)]
    name: Option<String>,
    /// The signature [default: the component's file with .sig behind it]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Print a document
    #[arg(long)]
    json: bool,
}

/// Makes a key.
pub(super) fn keygen(args: &KeygenArgs) -> anyhow::Result<ExitCode> {
    let (key, pem) = SigningKey::generate()?;
    let shown = args.file.display();
    let mut file = disk::create_private(&args.file)
        .with_context(|| format!("cannot make {shown}; a key is never written over another file"))?;
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).with_context(|| format!("cannot write {shown}"))?;
    print::out(&format!("{}\n", key.public()));
    Ok(ExitCode::Done)
}

/// Signs a component.
pub(super) fn sign(args: &SignArgs) -> anyhow::Result<ExitCode> {
    let name = match name_of(&args.file, args.name.as_deref()) {
        Ok(name) => name,
        Err(why) => return Ok(wrong_usage(&why)),
    };
    let pem = typed::file(&args.key)?;
    let key = SigningKey::from_pem(&pem).with_context(|| format!("cannot sign with {}", args.key.display()))?;
    let signature = key.sign(&name, &digest_of(&args.file)?);
    let output = args.output.clone().unwrap_or_else(|| beside(&args.file));
    if output == Path::new("-") {
        print::out(&format!("{signature}\n"));
        return Ok(ExitCode::Done);
    }
    replace(&output, &format!("{signature}\n")).with_context(|| format!("cannot write {}", output.display()))?;
    print::out(&format!("{}: {} as {name}, by {}\n", output.display(), args.file.display(), key.public()));
    Ok(ExitCode::Done)
}

/// Checks a signature. Exits with 1 where it is not right.
pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let name = match name_of(&args.file, args.name.as_deref()) {
        Ok(name) => name,
        Err(why) => return Ok(wrong_usage(&why)),
    };
    let digest = digest_of(&args.file)?;
    let (shown, path) = (args.file.display(), args.signature.clone().unwrap_or_else(|| beside(&args.file)));
    // A component without a signature beside it is not signed.
    let is_unsigned = args.signature.is_none() && !path.exists();
    let signatures = if is_unsigned { Vec::new() } else { read(&path)? };
    let signer = signatures.iter().find_map(|signature| signature.signer(&args.signed_by, &name, &digest));
    match signer {
        _ if args.json => print::document(&json!({
            "signed": signer.is_some(),
            "name": name,
            "revision": digest,
            "signed_by": signer.map(ToString::to_string),
        })),
        Some(key) => print::out(&format!("{shown}: signed as {name} by {key}\n")),
        None if is_unsigned => print::complain(&format!("windlass: {shown}: there is no signature {}", path.display())),
        None => print::complain(&format!(
            "windlass: {shown}: no signature in {} is by one of these keys, for this component (sha256 {digest}) as {name}",
            path.display()
        )),
    }
    Ok(if signer.is_some() { ExitCode::Done } else { ExitCode::Failed })
}

/// The signature that goes with a component to a server: that in the named file, else in the one beside, where it is.
pub(super) fn signature_of(component: &Path, named: Option<&Path>) -> anyhow::Result<Option<Signature>> {
    let path = named.map_or_else(|| beside(component), Path::to_path_buf);
    if named.is_none() && !path.exists() {
        return Ok(None);
    }
    let all = read(&path)?;
    anyhow::ensure!(all.len() == 1, "{} has {} signatures; one goes with a component", path.display(), all.len());
    Ok(all.into_iter().next())
}

fn read(path: &Path) -> anyhow::Result<Vec<Signature>> {
    let text = typed::text_file(path)?;
    Signature::read_all(&text).with_context(|| path.display().to_string())
}

/// A server may be watching the folder: the file is there as a whole or not at all.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}", std::process::id()));
    disk::replace(path, &part, disk::create_public, text.as_bytes()).map(drop)
}

fn beside(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".");
    path.push(SIGNATURE_EXTENSION);
    path.into()
}

fn name_of(component: &Path, named: Option<&str>) -> Result<String, String> {
    let stem = component.file_stem().unwrap_or_default().to_string_lossy();
    let name = named.unwrap_or(&stem);
    if is_plugin_name(name) {
        return Ok(name.to_owned());
    }
    Err(format!("{name:?} is no name of a plugin, and the signature covers the name: say it with --name"))
}

fn digest_of(component: &Path) -> Result<String, WrongUsage> {
    Ok(crate::plugin::component_digest(&typed::file(component)?))
}
