//! The page about the door says what the code does.

use windlass::api::{Access, ROUTES};

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/server.md")).unwrap()
}

/// The cells of a row of a table.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_table_of_scopes_is_that_of_the_code() {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(cells);
    let told: Vec<_> = rows
        .filter_map(|cells| {
            let (method, path) = cells[0].trim_matches('`').split_once(' ')?;
            path.starts_with('/').then(|| (method.to_owned(), path.to_owned(), cells[1].trim_matches('`').to_owned()))
        })
        .collect();
    let known: Vec<_> = ROUTES
        .iter()
        .map(|(method, path, access)| {
            let scope = match access {
                Access::Open => "–".to_owned(),
                Access::Needs(need) => need.to_string(),
            };
            ((*method).to_owned(), (*path).to_owned(), scope)
        })
        .collect();
    assert_eq!(told, known);
}

#[test]
fn every_setting_stands_there_with_its_default() {
    let page = page();
    let server = toml::Table::try_from(windlass::config::Server::default()).unwrap();
    for (key, value) in server {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/server.md has no row for server.{key}"));
        let default = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(cells(row)[1].trim_matches('`'), default, "{row}");
    }
    assert!(page.contains("| `tls` |"));
}

#[test]
fn every_refusal_of_the_door_stands_there() {
    let page = page();
    for code in [
        "token-missing",
        "token-invalid",
        "scope-missing",
        "tokens-unreadable",
        "overloaded",
        "host-refused",
        "origin-refused",
        "header-invalid",
        "request-ambiguous",
        "tls-needed",
        "uri-too-long",
        "headers-too-large",
        "too-large",
        "body-timeout",
        "method-not-allowed",
        "route-unknown",
    ] {
        let is_known = windlass::api::error::ProblemKind::ALL.iter().any(|kind| kind.code() == code);
        assert!(is_known && page.contains(&format!("| `{code}` |")), "{code}");
    }
}
