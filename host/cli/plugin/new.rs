//! `windlass plugin new`: a small project that builds, passes its test and can be dropped in as it is.
//!
//! The templates are the order examples of `plugins/`: what is tested there is what a new project begins with.

use std::borrow::Cow;
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::super::{ExitCode, print, wrong_usage};
use super::interface;
use super::template::Template;
use crate::config::DEFAULT_FILE;

/// What every project begins with beside its template: the name in it, and the text.
const SHARED: [(&str, &str); 2] = [
    ("scenarios.toml", include_str!("../../../plugins/order/scenarios.toml")),
    ("NAME.toml", include_str!("../../../plugins/order/grants.toml")),
];

/// What programs look for in a folder though the project has none: they would take the grants for it.
const READ_BY_OTHERS: [&str; 4] = [DEFAULT_FILE, "clippy.toml", "pyproject.toml", "rust-toolchain.toml"];

/// What `windlass plugin new` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct NewArgs {
    /// The plugin's name, and that of the folder it gets
    name: String,
    /// The language
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// The folder, which must not hold anything yet [default: NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The languages that there are templates for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// Rust
    Rust,
    /// JavaScript
    #[value(alias = "javascript")]
    Js,
    /// TypeScript
    #[value(alias = "typescript")]
    Ts,
    /// Python
    #[value(alias = "py")]
    Python,
    /// Go
    #[value(alias = "golang")]
    Go,
    /// C
    C,
    /// C++
    #[value(alias = "c++", alias = "cxx")]
    Cpp,
    /// Zig
    Zig,
}

/// Makes it.
pub(super) fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let files = match check_name(&args.name).and_then(|()| files(&args.name, Template::of(args.lang))) {
        Ok(files) => files,
        Err(why) => return Ok(wrong_usage(&why)),
    };
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Ok(wrong_usage(&format!("{} is there already: choose another name or --dir", folder.display())));
    }
    for (path, text) in files {
        write(&folder.join(path), &text)?;
    }
    print::out(&next_steps(&args.name, &folder));
    Ok(ExitCode::Done)
}

/// Names that every language takes for a package.
fn check_name(name: &str) -> Result<(), String> {
    if crate::plugin::is_plugin_name(name) && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(format!("{name:?} is no name for a new plugin: 1 to 63 of a-z, 0-9 and -, and a letter first"))
}

/// Everything that the project begins with, by its path. Refuses a name whose grants would be another file.
fn files(name: &str, template: &Template) -> Result<Vec<(String, Cow<'static, str>)>, String> {
    let (told, word) = (template.folder, template.folder.replace('-', "_"));
    // Shared files do not hold the example's name.
    let named = |text: &str| text.replace(told, name).replace(&word, &name.replace('-', "_"));
    let own = template.files.iter().map(|(path, text)| ((*path).to_owned(), named(text).into()));
    let interface = interface::FILES.iter().map(|(path, text)| (format!("wit/{path}"), (*text).into()));
    let shared = SHARED.iter().map(|(path, text)| (path.replace("NAME", name), (*text).into()));
    let files: Vec<(String, Cow<'static, str>)> = own.chain(interface).chain(shared).collect();
    let mut taken = HashSet::new();
    // To some systems large letters are small ones.
    let twice = files.iter().find(|(path, _)| !taken.insert(path.to_ascii_lowercase()));
    let refusal = |path: &str, why| Err(format!("{name:?} is no name for it: its grants would be {path}, {why}"));
    if let Some((path, _)) = twice {
        return refusal(path, "and the project has a file of that name already");
    }
    if let Some((path, _)) = files.iter().find(|(path, _)| READ_BY_OTHERS.contains(&path.as_str())) {
        return refusal(path, "which other programs take for theirs");
    }
    Ok(files)
}

/// What begins like a script can be run.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(path, text)?;
        if text.starts_with("#!") {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn next_steps(name: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "\
{folder} holds a plugin that works; README.md says what to change first. Next:

  cd {folder}
  ./build                                          # makes {name}.wasm
  windlass plugin test {name}.wasm scenarios.toml  # tries it, against an ERP that follows a script
  windlass plugin dev                              # does both whenever a file changes

To use it, put {name}.wasm and {name}.toml into the plugins folder of a server, and enqueue:

  windlass enqueue {name} --payload '{{\"order\": \"A-17\"}}'
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_every_language_takes() {
        for name in ["a", "erp-orders", "stripe2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "2fast", "-a", "Erp", "a_b", "../a", &"a".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn no_name_makes_one_file_of_two() {
        for language in Language::value_variants() {
            for name in ["scenarios", "windlass"] {
                let why = files(name, Template::of(*language)).unwrap_err();
                assert!(why.contains(&format!("{name}.toml")), "{why}");
            }
            for name in ["rustfmt", "cargo"] {
                assert_eq!(files(name, Template::of(*language)).is_err(), *language == Language::Rust, "{name}");
            }
        }
    }

    #[test]
    fn every_template_is_laid_out_under_its_new_name() {
        for language in Language::value_variants() {
            let (folder, template) = (tempfile::tempdir().unwrap(), Template::of(*language));
            for (path, text) in files("my-erp", template).unwrap() {
                write(&folder.path().join(path), &text).unwrap();
            }
            let build = folder.path().join("build");
            assert_eq!(std::fs::metadata(&build).unwrap().permissions().mode() & 0o111, 0o111, "{language:?}");
            for (path, _) in template.files {
                let text = std::fs::read_to_string(folder.path().join(path)).unwrap();
                assert!(!text.contains(template.folder), "{path} of {language:?} still says {}", template.folder);
            }
            assert!(folder.path().join("wit/plugin.wit").is_file() && folder.path().join("my-erp.toml").is_file());
        }
    }
}
