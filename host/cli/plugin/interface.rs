//! The interface between host and plugin, as this program carries it: the files of `wit/`.

use wit_parser::{PackageId, Resolve};

/// The files, by their path below `wit/`; our own package first.
pub(super) const FILES: [(&str, &str); 8] = [
    ("plugin.wit", include_str!("../../../wit/plugin.wit")),
    ("deps/cli.wit", include_str!("../../../wit/deps/cli.wit")),
    ("deps/clocks.wit", include_str!("../../../wit/deps/clocks.wit")),
    ("deps/filesystem.wit", include_str!("../../../wit/deps/filesystem.wit")),
    ("deps/http.wit", include_str!("../../../wit/deps/http.wit")),
    ("deps/io.wit", include_str!("../../../wit/deps/io.wit")),
    ("deps/random.wit", include_str!("../../../wit/deps/random.wit")),
    ("deps/sockets.wit", include_str!("../../../wit/deps/sockets.wit")),
];

/// The interface, parsed, and our package in it.
pub(super) fn parsed() -> anyhow::Result<(Resolve, PackageId)> {
    use wit_parser::UnresolvedPackageGroup;

    let mut resolve = Resolve::default();
    let [own, dependencies @ ..] = FILES;
    let parse = |(path, text): (&str, &str)| {
        UnresolvedPackageGroup::parse(path, text).map_err(|error| anyhow::anyhow!("{path}: {error:?}"))
    };
    let dependencies = dependencies.into_iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    let package = resolve.push_groups(parse(own)?, dependencies)?;
    Ok((resolve, package))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_there_and_the_whole_is_sound() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
        let mut found: Vec<_> = ["", "deps"]
            .iter()
            .flat_map(|sub| std::fs::read_dir(folder.join(sub)).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix(&folder).unwrap().display().to_string())
            .collect();
        found.sort();
        let mut carried: Vec<_> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        carried.sort();
        assert_eq!(found, carried);

        let (resolve, package) = parsed().unwrap();
        for world in ["plugin", "described-plugin", "starter"] {
            assert!(resolve.packages[package].worlds.contains_key(world), "{world}");
        }
    }
}
