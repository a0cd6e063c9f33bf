//! Makes the bindings of the world `starter` for C and Go from `wit/`, into the folders `c` and `go` beside this file.
//!
//!     cargo run                  # writes them; then let `gofmt -w go` give the Go files their usual form
//!     cargo run -- --check       # writes nothing, and fails where they are out of date
//!
//! What was generated is recognised by its digest, as it was before it was formatted.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use wit_bindgen_core::{Files, WorldGenerator, wit_parser::Resolve};

const WORLD: &str = "starter";
/// The name of the module in every project. A project's own could be one that Go has a package of, as `log`.
const GO_MODULE: &str = "component";
/// Where the bindings stand in it.
const GO_FOLDER: &str = "windlass";
/// What the Go bindings are built on and our world needs. It comes with the generator, in its crate.
const GO_RUNTIME: [&str; 5] =
    ["LICENSE", "wit/runtime/empty.s", "wit/runtime/runtime.go", "wit/types/option.go", "wit/types/result.go"];

type Texts = BTreeMap<String, String>;

fn main() -> anyhow::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_check = std::env::args().nth(1).is_some_and(|word| word == "--check");
    let c = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
    let go = wit_bindgen_go::Opts { format: wit_bindgen_go::Format::False, ..Default::default() };
    let c = generate(here, &mut *c.build())?.into_iter().map(|(path, text)| (path, without_type_object(&text)));
    let go = as_one_module(generate(here, &mut *go.build())?, here)?;
    for (name, files) in [("c", c.collect()), ("go", go)] {
        let folder = here.join(name);
        let digests = digests(&files);
        let digests_file = folder.join("generated.sha256");
        if is_check {
            let old = std::fs::read_to_string(&digests_file).unwrap_or_default();
            anyhow::ensure!(old == digests, "{} is out of date: `cargo run` in plugins/bindings", folder.display());
            continue;
        }
        for (path, text) in files.iter().map(|(path, text)| (folder.join(path), text)) {
            std::fs::create_dir_all(path.parent().context("a file without a folder")?)?;
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        std::fs::write(&digests_file, digests)?;
    }
    Ok(())
}

fn digests(files: &Texts) -> String {
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;

    files.iter().fold(String::new(), |mut lines, (path, text)| {
        for byte in Sha256::digest(text) {
            let _ = write!(lines, "{byte:02x}");
        }
        lines + "  " + path + "\n"
    })
}

fn generate(here: &Path, generator: &mut dyn WorldGenerator) -> anyhow::Result<Texts> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(here.join("../../wit"))?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    files.iter().map(|(path, text)| Ok((path.to_owned(), String::from_utf8(text.to_owned())?))).collect()
}

/// The C bindings want to be linked with an object file that holds the world. `windlass plugin wrap` adds the world
/// itself, so that text alone is enough.
fn without_type_object(text: &str) -> String {
    let own = text.split_once("// Ensure that the *_component_type.o object is linked in").map_or(text, |(own, _)| own);
    format!("{}\n", own.trim_end())
}

/// The Go bindings as part of the project's own module, with what they are built on: nothing is to be fetched. The
/// example's package `plugin` has both exports.
fn as_one_module(mut files: Texts, here: &Path) -> anyhow::Result<Texts> {
    files.remove("go.mod").context("the generator made no module")?;
    for path in GO_RUNTIME {
        files.insert(path.to_owned(), runtime_file(here, path)?);
    }
    let exports = ["handler", "metadata"].map(|name| format!("export_windlass_plugin_{name}"));
    let place = |(path, mut text): (String, String)| {
        for export in &exports {
            text = text.replace(&format!("\"wit_component/{export}\"\n"), "");
            text = text.replace(&format!("{export}."), "plugin.");
        }
        text = text.replace("\"wit_component/", &format!("\"{GO_MODULE}/{GO_FOLDER}/"));
        text = text.replace("\"go.bytecodealliance.org/pkg/", &format!("\"{GO_MODULE}/{GO_FOLDER}/"));
        if path == "wit_exports.go" {
            let import = format!("import (\n\t\"{GO_MODULE}/plugin\"\n");
            return (path, text.replacen("import (\n", &import, 1));
        }
        (format!("{GO_FOLDER}/{path}"), text)
    };
    Ok(files.into_iter().map(place).collect())
}

fn runtime_file(here: &Path, path: &str) -> anyhow::Result<String> {
    let kept = here.join("go").join(GO_FOLDER).join(path);
    std::fs::read_to_string(&kept)
        .with_context(|| format!("cannot read {}: copy it from src/pkg of wit-bindgen-go", kept.display()))
}
