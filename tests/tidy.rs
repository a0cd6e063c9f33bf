//! What a machine can check of the house rules: who may use whom, how long files are, that documents are true.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}

/// The module that a file of `host/` belongs to.
fn module(file: &Path) -> String {
    let first = file.strip_prefix(root().join("host")).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// Who may use whom, and everybody `causes`, `lock` and `to_its_end`. `api` and `worker` never meet; neither do `store` and `plugin`.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("causes", &[]),
    ("lock", &[]),
    ("to_its_end", &[]),
    ("clock", &[]),
    ("job", &["clock"]),
    ("config", &["job"]),
    ("store", &["job", "clock", "config"]),
    ("plugin", &["job", "clock", "config"]),
    ("telemetry", &["job", "clock", "config", "store", "plugin"]),
    ("worker", &["job", "clock", "config", "store", "plugin", "telemetry"]),
    ("api", &["job", "clock", "config", "store", "plugin", "telemetry"]),
    ("cli", &["job", "clock", "config", "store", "plugin", "telemetry", "worker", "api"]),
];

#[test]
fn modules_use_only_what_they_may() {
    let mut checked = 0;
    for file in rust_files(&root().join("host")) {
        let own = module(&file);
        let Some((_, may)) = MAY_USE.iter().find(|(name, _)| *name == own) else {
            // `fuzzing` only gathers the doors that each module keeps for the fuzzer.
            assert!(
                ["fuzzing", "lib", "main"].contains(&own.as_str()),
                "{} belongs to no known module",
                file.display()
            );
            continue;
        };
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                // `use crate::{a, b}` would hide a name from this check.
                assert!(!used.starts_with('{'), "{}:{}: one `use crate::…` a module", file.display(), number + 1);
                let used: String =
                    used.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
                let allowed = used == own
                    || ["causes", "lock", "to_its_end"].contains(&used.as_str())
                    || may.contains(&used.as_str());
                assert!(allowed, "{}:{}: `{own}` may not use `{used}`", file.display(), number + 1);
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} uses were found");
}

#[test]
fn only_the_plugin_module_knows_wasmtime_and_only_the_store_knows_sql() {
    for file in rust_files(&root().join("host")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for (word, owner) in [("wasmtime::", "plugin"), ("wasmtime_wasi", "plugin"), ("rusqlite::", "store")] {
            assert!(!text.contains(word) || module(&file) == owner, "{} names {word}", file.display());
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    for folder in ["host", "tests", "benches"] {
        for file in rust_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let lines = text.lines().count();
            assert!(lines <= 400, "{} has {lines} lines; split it", file.display());
            assert!(text.starts_with("//!"), "{} does not open with its purpose", file.display());
        }
    }
}

#[test]
fn documents_link_only_to_what_is_there() {
    let own = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "plugins/README.md"];
    let entries =
        ["docs", "docs/plugins"].into_iter().flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let pages = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "md"));
    for path in own.iter().map(|document| root().join(document)).chain(pages) {
        let document = path.display();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(path.parent().unwrap().join(target).exists(), "{document} links to {target}");
            }
        }
    }
}

#[test]
fn each_attack_of_the_threat_model_names_tests_that_are_there() {
    let page = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let table = page.split_once("| attack | limit or defence | test |").expect("the table").1;
    let mut named = 0;
    for row in table.lines().filter(|row| row.starts_with("| ") && !row.starts_with("| **")) {
        let test = row.rsplit('|').nth(1).expect("a cell");
        for file in test.split('`').skip(1).step_by(2) {
            assert!(root().join(file).exists(), "{file} is not there: {row}");
            named += 1;
        }
        assert!(test.contains('`'), "no test is named: {row}");
    }
    assert!(named > 50, "only {named} tests were found");
}

#[test]
fn each_promise_names_tests_that_are_there() {
    let page = std::fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let table = page.split_once("| promise | what would fail | run it alone |").expect("the table").1;
    let files = ["tests", "host"].map(|folder| rust_files(&root().join(folder)));
    let tests: String = files.iter().flatten().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut named = 0;
    for row in table.lines().skip(2).take_while(|row| row.starts_with("| ")) {
        let cells: Vec<_> = row.split('|').collect();
        for test in cells[2].split('`').skip(1).step_by(2) {
            assert!(tests.contains(&format!("fn {test}(")), "{test} is not there: {row}");
            named += 1;
        }
        for target in cells[3].split("--test ").skip(1) {
            let target = target.split([' ', '`']).next().unwrap();
            assert!(root().join(format!("tests/{target}.rs")).exists(), "tests/{target}.rs is not there: {row}");
        }
        assert!(cells[2].contains('`') && cells[3].contains('`'), "no test or no command: {row}");
    }
    assert!(named > 30, "only {named} tests were found");
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (name, _) in MAY_USE {
        assert!(page.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name `{name}`");
    }
}
