//! Makes the bindings of the world `starter` for C and Go from `wit/`, into the folders `c` and `go` beside this file.
//!
//!     cargo run                  # writes them
//!     cargo run -- --check       # writes nothing, and fails where they are out of date

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use wit_bindgen_core::{Files, WorldGenerator, wit_parser::Resolve};

const WORLD: &str = "starter";

fn main() -> anyhow::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_check = std::env::args().nth(1).is_some_and(|word| word == "--check");
    let c = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
    let go = wit_bindgen_go::Opts { format: wit_bindgen_go::Format::False, ..Default::default() };
    for (name, files) in [("c", generate(here, &mut *c.build())?), ("go", generate(here, &mut *go.build())?)] {
        for (path, text) in files {
            let text = without_type_object(text)?;
            let path = here.join(name).join(path);
            let shown = path.display();
            if is_check {
                let is_current = std::fs::read(&path).is_ok_and(|old| old == text);
                anyhow::ensure!(is_current, "{shown} is out of date: make it anew by `cargo run` in plugins/bindings");
            } else {
                std::fs::create_dir_all(path.parent().context("a file without a folder")?)?;
                std::fs::write(&path, text).with_context(|| format!("cannot write {shown}"))?;
            }
        }
    }
    Ok(())
}

/// The C bindings want to be linked with an object file that holds the world. `windlass plugin wrap` adds the world
/// itself, so that text alone is enough.
fn without_type_object(text: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let text = String::from_utf8(text).context("bindings that are no text")?;
    let own = text.split_once("// Ensure that the *_component_type.o object is linked in").map(|(own, _)| own);
    Ok(own.map_or(text.as_str(), |own| own).trim_end().to_owned().into_bytes().into_iter().chain(*b"\n").collect())
}

fn generate(here: &Path, generator: &mut dyn WorldGenerator) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(here.join("../../wit"))?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    Ok(files.iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect())
}
