//! The environment as the system gives it: not all of it is text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::common::Setup;
use crate::said;

#[tokio::test]
async fn what_is_no_text_in_the_environment_is_of_no_matter_unless_it_is_a_setting() {
    let host = Setup::default().start().await;
    let (odd, odd_name) = (OsStr::from_bytes(b"caf\xe9"), OsStr::from_bytes(b"C\xe9TY"));
    let mut command = host.command(&["token", "list", "--json"]);
    let (code, stdout, stderr) = said(&command.env("CITY", odd).env(odd_name, "x").output().unwrap());
    assert!(code == 0 && stdout.contains("tokens"), "{stderr}");
    std::fs::write(host.dir().join("file"), "").unwrap();
    for (name, value, told) in [
        ("WINDLASS_PLUGINS__DIR", "file", "file is no folder"),
        ("WINDLASS_PLUGINS__DIR", "", "plugins.dir: it is empty"),
        ("WINDLASS_STORE__URL", "sqlite:file/x.db", "file is no folder"),
        ("WINDLASS_STORE__URL", "sqlite:plugins", "plugins is a folder"),
        ("WINDLASS_SERVER__TLS", r#"{ cert = "a", key = "b" }"#, "server.tls.cert: a cannot be read"),
    ] {
        let (code, _, stderr) = said(&host.command(&["serve"]).env(name, value).output().unwrap());
        let by = format!("the environment variable {name}: ");
        assert!(code == 2 && stderr.contains(&by) && stderr.contains(told), "{stderr}");
    }
    for (name, told) in
        [(&b"WINDLASS_RETRY__BASE"[..], "WINDLASS_RETRY__BASE"), (b"WINDLASS_RETRY__B\xe9SE", "WINDLASS_RETRY__B")]
    {
        let mut command = host.command(&["serve"]);
        let (code, _, stderr) = said(&command.env(OsStr::from_bytes(name), odd).output().unwrap());
        assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains(told) && stderr.contains("UTF-8"), "{stderr}");
    }
}

#[tokio::test]
async fn a_password_in_the_url_of_a_server_is_not_told() {
    let host = Setup::default().start().await;
    for (server, code) in [
        ("http://u:s3cret@127.0.0.1:9", 1),
        ("http://u:s3cret@127.0.0.1:9/", 1),
        ("ftp://u:s3cret@127.0.0.1:9", 2),
        ("http://u:s3/cret@127.0.0.1", 2),
        ("http://u:s3?cret@127.0.0.1:1", 2),
        ("http://u:12345#s3cret@127.0.0.1", 2),
        ("http://u:s3 cret@127.0.0.1", 2),
        ("http:/u:s3cret@127.0.0.1", 2),
        ("u:s3cret@127.0.0.1:7070", 2),
    ] {
        let mut command = host.command(&["jobs", "list"]);
        let by_variable = said(&command.env("WINDLASS_SERVER", server).output().unwrap());
        let by_argument = said(&host.command(&["jobs", "list", "--server", server]).output().unwrap());
        for (exited, _, stderr) in [by_variable, by_argument] {
            assert_eq!(exited, code, "{stderr}");
            assert!(stderr.contains("127.0.0.1") && !stderr.contains("s3") && !stderr.contains("12345"), "{stderr}");
        }
    }
}
