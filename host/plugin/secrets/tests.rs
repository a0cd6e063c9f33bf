//! Masks as they show, and secrets that cannot be had.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::config::SecretSource;
use crate::job::LogLevel;

use super::*;

fn secrets(pairs: &[(&str, &str)]) -> Secrets {
    Secrets::given(pairs)
}

fn read(source: impl Into<Secret>) -> Result<Secrets, String> {
    let file = PluginFile { secrets: BTreeMap::from([("key".to_owned(), source.into())]), ..PluginFile::default() };
    Secrets::read(&file, None).map_err(|unusable| unusable.why)
}

#[test]
fn the_name_stands_where_the_secret_stood() {
    let secrets = secrets(&[("short", "abc"), ("token", "s3cret"), ("whole", "s3cret-and-more")]);
    for (said, kept) in [
        ("Bearer s3cret", "Bearer [token]"),
        ("s3cret-and-more s3cret", "[whole] [token]"),
        ("s3crets3cret", "[token][token]"),
        ("Basic dXNlcjpzM2NyZXQ=", "Basic dXNlcjp[token]="),
        ("733363726574", "[token]"),
        ("abc is no secret", "abc is no secret"),
        ("", ""),
    ] {
        assert_eq!(secrets.mask(said), kept);
        assert_eq!(secrets.mask_body("text/plain", Bytes::from(said)), kept);
    }
    assert_eq!(secrets.mask_body("", Bytes::from_static(b"\xffs3cret\xfe")), &b"\xff[token]\xfe"[..]);
    assert_eq!(format!("{secrets:?}"), r#"{"short", "token", "whole"}"#);
    assert!(!format!("{:?}", secrets.kept).contains("s3c"));
}

#[test]
fn what_is_json_stays_json() {
    let secrets = secrets(&[
        ("pin", "12345678"),
        ("esc", "nabcdefgh1"),
        ("q\"x", "quoted-key"),
        ("odd", "a\",\"b"),
        ("end", "tail\\"),
    ]);
    for (said, kept) in [
        (r#"{"n":12345678,"m": [0.12345678e1 ,"12345678"]}"#, r#"{"n":"[pin]","m": ["[pin]" ,"[pin]"]}"#),
        (r#"["\nabcdefgh1", "\\nabcdefgh1", ""]"#, r#"["[esc]", "\\[esc]", ""]"#),
        (r#"{"quoted-key": "\u00e9quoted-key"}"#, r#"{"[q\"x]": "\u00e9[q\"x]"}"#),
        ("1234567812345678", "\"[pin]\""),
        (r#"["tail\\"]"#, r#"["[end]"]"#),
        // It has JSON's own signs in it, or is none: it is masked all the same.
        (r#"["a","b"]"#, r#"["[odd]"]"#),
        ("12345678,", "[pin],"),
    ] {
        assert_eq!(secrets.mask_body("application/json", Bytes::from(said)), kept, "{said}");
    }
    assert_eq!(secrets.mask_body("text/plain", Bytes::from("{\"n\":12345678}")), "{\"n\":[pin]}");
}

#[test]
fn what_is_broken_into_lines_is_found() {
    let long = "of so many letters that its base64 is longer than a line, as keys and tokens are";
    let secrets = secrets(&[("long", long)]);
    for (before, columns) in [("", 76), ("user:", 76), ("a", 60), ("ab", 64)] {
        let encoded = STANDARD.encode(format!("{before}{long}"));
        let lines: Vec<_> = encoded.as_bytes().chunks(columns).map(|line| str::from_utf8(line).unwrap()).collect();
        for text in [lines.join("\n"), lines.join("\r\n"), lines.join("\n  "), json!([lines.join("\n")]).to_string()] {
            let masked = secrets.mask(&text);
            assert!(masked.contains("[long]") && masked.len() < 30, "{masked}");
        }
    }
    assert_eq!(secrets.mask(&format!("{long}\n{long}")), "[long]\n[long]");
}

#[test]
fn blanks_at_the_edges_are_no_part_of_a_secret() {
    let secrets = secrets(&[("key", " s3cret-key\t"), ("few", "abc    ")]);
    assert_eq!(secrets.mask("s3cret-key, abc, abc    ;"), "[key], abc, [few];");
    assert_eq!(secrets.mask(&STANDARD.encode("  s3cret-key\t")).matches("[key]").count(), 1);
}

#[test]
fn secrets_that_overlap_leave_nothing_of_each_other() {
    let secrets = secrets(&[("one", "abcd-1234"), ("two", "1234-efghij")]);
    assert_eq!(secrets.mask("x abcd-1234-efghij y"), "x [two] y");
}

#[test]
fn no_half_of_a_secret_is_left_at_a_limit() {
    let secrets = secrets(&[("token", "s3cret-of-the-test")]);
    for limit in 0..60 {
        let line = secrets.line("it was s3cret-of-the-test that I said", limit);
        assert!(!line.contains("s3c") && line.len() <= limit, "{limit}: {line}");
    }
    assert_eq!(secrets.line("s3cret-\0of-the-test", 100), "[token]", "cleaning joins it");
}

#[test]
fn of_a_far_longer_text_the_beginning_is_read_and_no_half_of_a_secret_is_left() {
    let secrets = secrets(&[("token", "s3cret-of-the-test")]);
    for before in 0..60 {
        let text = format!("{}s3cret-of-the-test{}", "\0".repeat(before), "\0".repeat(99));
        let line = secrets.line(&text, 10);
        assert!(!line.contains("s3cr") && line.len() <= 10, "{before}: {line}");
    }
    let long = format!("{}end", "\0".repeat(1000));
    assert_eq!(secrets.line(&long, 100), "…", "so much that is taken out hides the end");
    assert_eq!(Secrets::default().line(&long, 100), "…");
    assert_eq!(Secrets::default().line(&long, 1000), "end");
}

#[test]
fn a_secret_in_pieces_is_masked_over_lines() {
    let secrets = secrets(&[("token", "s3cret-of-the-test")]);
    let line = |level, message: &str| LogLine { at_ms: 0, level, message: message.to_owned() };
    let mut log = vec![
        line(LogLevel::Info, "it is s3cret-"),
        line(LogLevel::Stdout, "between"),
        line(LogLevel::Info, "of-the"),
        line(LogLevel::Info, "-test. And s3cret-of"),
    ];
    secrets.mask_lines(&mut log, false);
    let said: Vec<_> = log.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(said, ["it is [token]", "between", "", ". And s3cret-of"]);
    // What was dropped may have been the rest.
    secrets.mask_lines(&mut log, true);
    assert_eq!(log[3].message, ". And …");
    // Of a single line too what came together as it was cleaned.
    let mut log = vec![line(LogLevel::Warn, "it is s3cret-of-the-test")];
    secrets.mask_lines(&mut log, false);
    assert_eq!(log[0].message, "it is [token]");
}

#[test]
fn a_piece_shows_no_part_of_a_secret_at_its_edges() {
    let secrets = secrets(&[("token", "s3cret-of-the-test")]);
    for (piece, shown) in [
        ("it is s3cret-of", "it is …"),
        ("-test it was", "… it was"),
        ("s3cret-of-the-test", "[token]"),
        ("nothing of it", "nothing of it"),
    ] {
        assert_eq!(secrets.fragment(piece), shown);
    }
}

#[test]
fn a_secret_that_cannot_be_had_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        SecretSource::File(path)
    };
    assert_eq!(read(path("good", "s3cret\n", 0o600)).unwrap().get("key").unwrap(), "s3cret");
    assert_eq!(read(path("crlf", "s3cret\r\n", 0o400)).unwrap().get("key").unwrap(), "s3cret");
    let open = Secret { any_mode: true, ..path("mount", "s3cret", 0o644).into() };
    assert_eq!(read(open).unwrap().get("key").unwrap(), "s3cret");
    for (source, told) in [
        (SecretSource::Env("WINDLASS_NO_SUCH_VARIABLE".into()), "WINDLASS_NO_SUCH_VARIABLE is not set"),
        (SecretSource::File(folder.path().join("none")), "cannot read"),
        (SecretSource::File(folder.path().to_owned()), "not a file"),
        (path("empty", "\n", 0o600), "empty"),
        (path("open", "s3cret", 0o644), "chmod 600"),
        (path("group", "s3cret", 0o660), "chmod 600"),
        (SecretSource::Command(vec!["false".into()]), "false failed"),
    ] {
        let error = read(source).unwrap_err();
        assert!(error.starts_with("secrets.key: ") && error.contains(told), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn what_a_header_is_made_of_is_not_for_the_plugin() {
    let text = "origins = ['https://a.example']
        inject = { header = 'Authorization', value = 'Bearer {key}' }
        secrets = { key = { command = ['echo', 's3cret-key'] }, own = { command = ['echo', 's3cret-own'] } }";
    let limits = crate::config::Limits::default();
    let file = PluginFile::parse(std::path::Path::new("a.toml"), text, &limits).unwrap();
    let secrets = Secrets::read(&file, None).unwrap();
    assert_eq!((secrets.readable("key"), secrets.readable("own")), (None, Some("s3cret-own")));
    let mut body = b"s3cret-key s3cret-own".to_vec();
    let names = ["key", "own", "no such"].map(str::to_owned);
    secrets.cover(&names).unwrap().blot(&mut body);
    assert_eq!(body, b"[key]***** s3cret-own");
    let text = text.replace("'s3cret-key'] }", "'s3cret-key'], readable = true }");
    let file = PluginFile::parse(std::path::Path::new("a.toml"), &text, &limits).unwrap();
    let secrets = Secrets::read(&file, None).unwrap();
    assert_eq!(secrets.readable("key"), Some("s3cret-key"));
    assert!(secrets.cover(&names).is_none());
}
