//! Assembles the components that are kept as text: `seeds FROM TO`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [from, to] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: seeds FROM TO")?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wat")
            && let Some(name) = path.file_stem()
        {
            std::fs::write(Path::new(&to).join(name).with_extension("wasm"), wat::parse_file(&path)?)?;
        }
    }
    Ok(())
}
