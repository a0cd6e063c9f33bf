//! The table holds together, and the page shows it.

use std::fmt::Write as _;

use super::*;

/// The page, and between which lines the table stands in it.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/limits.md");
const BEGIN: &str = "<!-- the table: made from host/config/limits/table.rs -->\n";
const END: &str = "<!-- the end of the table -->\n";
/// Set it, and the page is written instead of compared.
const RENEW: &str = "RENEW_DOCS";

#[test]
fn the_defaults_lie_in_their_ranges_and_the_ends_of_each_range_too() {
    assert_eq!(Limits::default().validate(), Ok(()));
    for row in Limits::TABLE {
        for end in [row.least, row.most] {
            assert_eq!(with(row.name, end).and_then(|limits| limits.validate()), Ok(()), "{} = {end}", row.name);
        }
    }
}

#[test]
fn what_lies_outside_a_range_is_refused_by_name() {
    for row in Limits::TABLE {
        let digits = row.most.trim_end_matches(|end: char| !end.is_ascii_digit());
        let beyond = row.most.replacen(digits, &(digits.parse::<u64>().unwrap() + 1).to_string(), 1);
        let refusal = with(row.name, &beyond).and_then(|limits| limits.validate()).unwrap_err();
        assert!(refusal.contains(&format!("limits.{}", row.name)), "{} = {beyond}: {refusal}", row.name);
    }
}

#[test]
fn a_plugins_file_may_only_narrow_and_never_leave_the_range() {
    let host = Limits { calls: 5_000, ..Limits::default() };
    for row in Limits::TABLE.iter().filter(|row| row.in_plugin_file) {
        assert_eq!(host.admits(&narrower(row.name, row.least)), Ok(()), "{}", row.name);
    }
    let narrow = |calls| LimitOverride { calls: Some(calls), ..LimitOverride::default() };
    assert_eq!(host.attempt(&narrow(2_000)).calls, 2_000);
    assert_eq!(host.attempt(&LimitOverride::default()).calls, 5_000);
    assert_eq!(host.attempt(&narrow(9_000)).calls, 5_000, "never above the ceiling");
    assert!(host.admits(&narrow(5_001)).unwrap_err().contains("ceiling of 5000"));
    assert!(host.admits(&narrow(999)).unwrap_err().contains("at least 1000"));
}

#[test]
fn a_result_has_room_for_a_payload_and_for_a_response_unless_it_is_said() {
    let (kib, none) = (|kib: u64| ByteSize(kib << 10), LimitOverride::default());
    let host = Limits { payload: kib(60), response: kib(50), ..Limits::default() };
    assert_eq!(host.attempt(&none).result, kib(100));
    assert_eq!(host.attempt(&LimitOverride { response: Some(kib(40)), ..none.clone() }).result, kib(80));
    assert_eq!(host.attempt(&LimitOverride { response: Some(kib(20)), ..none.clone() }).result, kib(60));
    assert_eq!(host.attempt(&LimitOverride { result: Some(kib(70)), ..none.clone() }).result, kib(70));
    let wide = Limits { result: Some(kib(900)), ..host };
    assert_eq!(wide.attempt(&none).result, kib(900));
    assert_eq!(wide.attempt(&LimitOverride { response: Some(kib(20)), ..none.clone() }).result, kib(900));
    assert!(wide.admits(&LimitOverride { result: Some(kib(901)), ..none }).unwrap_err().contains("limits.result"));
    let widest = Limits { response: ByteSize(1 << 30), ..Limits::default() };
    assert_eq!(widest.attempt(&LimitOverride::default()).result, kib(256 << 10), "what a result can be at most");
}

#[test]
fn the_widest_limits_leave_the_defaults_to_be_said() {
    let widest = Limits::widest();
    assert_eq!(widest.validate(), Ok(()));
    let said = LimitOverride::of(&Limits::default());
    assert_eq!(widest.attempt(&said), Limits::default().attempt(&LimitOverride::default()));
}

#[test]
fn the_page_shows_the_table() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has the mark of the table's beginning");
    let (shown, after) = rest.split_once(END).expect("the page has the mark of the table's end");
    let table = rendered();
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(PAGE, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(shown, table, "docs/limits.md is old; renew it: {RENEW}=1 cargo test --lib config::limits");
}

fn rendered() -> String {
    let mut text =
        "\n| limit | default | range | what it limits | what happens there |\n|---|---|---|---|---|\n".to_owned();
    for row in Limits::TABLE {
        let whose = if row.in_plugin_file { "" } else { " Of the whole host: only in `windlass.toml`." };
        let LimitRow { name, default, least, most, meaning, reached, .. } = row;
        let _ = writeln!(text, "| `{name}` | {default} | {least} to {most} | {meaning}{whose} | {reached} |");
    }
    text.push('\n');
    text
}

fn toml(name: &str, value: &str) -> String {
    match value.parse::<u64>() {
        Ok(number) => format!("{name} = {number}"),
        Err(_) => format!("{name} = \"{value}\""),
    }
}

fn with(name: &str, value: &str) -> Result<Limits, String> {
    toml::from_str(&toml(name, value)).map_err(|error| format!("limits.{name}: {error}"))
}

fn narrower(name: &str, value: &str) -> LimitOverride {
    toml::from_str(&toml(name, value)).unwrap()
}
