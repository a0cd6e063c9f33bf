//! What vouches for an entry of the cache: that this host made it, for that component, for that engine.

use std::fs::File;
use std::io;

use ring::hmac;

use super::super::digest;
use super::super::inspect::Shape;
use crate::job::text::hex;

/// What it is that is vouched for: no key is used for two purposes.
const DOMAIN: &str = "windlass compiled code 1";

/// What an entry is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    /// The component's sha256.
    pub(super) digest: &'a str,
    /// The engine's identity.
    pub(super) engine: &'a str,
}

/// The seal of that code, as the file beside it: the mark in hex, and on the second line the component's shape.
pub(super) fn make(key: &hmac::Key, subject: Subject<'_>, shape: &Shape, code: &File) -> io::Result<String> {
    let shape = serde_json::to_string(shape)?;
    let mark = hmac::sign(key, message(subject, &shape, code)?.as_bytes());
    Ok(format!("{}\n{shape}\n", hex(mark.as_ref())))
}

/// The component's shape, where the seal is ours and fits the code. The comparison takes the same time whatever differs.
pub(super) fn check(key: &hmac::Key, subject: Subject<'_>, seal: &str, code: &File) -> io::Result<Shape> {
    let refused = || io::Error::other("it was not made by this host for this component");
    let (mark, shape) = seal.trim_end().split_once('\n').ok_or_else(refused)?;
    let mark = unhex(mark).ok_or_else(refused)?;
    hmac::verify(key, message(subject, shape, code)?.as_bytes(), &mark).map_err(|_| refused())?;
    Ok(serde_json::from_str(shape)?)
}

/// Lines, none of which can hold the end of one: digests and names are of letters and digits, JSON has no bare break.
fn message(subject: Subject<'_>, shape: &str, code: &File) -> io::Result<String> {
    let (digest, length) = digest::of_file(code, u64::MAX, |_| {})?;
    let Subject { digest: component, engine } = subject;
    Ok(format!("{DOMAIN}\n{component}\n{engine}\n{length}\n{digest}\n{shape}\n"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const OURS: Subject<'_> = Subject { digest: "d", engine: "e" };

    #[test]
    fn a_seal_fits_its_code_its_component_its_engine_and_its_key_alone() {
        let key = |byte: u8| hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
        let mut code = tempfile::tempfile().unwrap();
        code.write_all(b"code").unwrap();
        let shape = Shape { exports: vec!["a".to_owned()], ..Shape::default() };
        let seal = make(&key(1), OURS, &shape, &code).unwrap();
        assert_eq!(check(&key(1), OURS, &seal, &code).unwrap(), shape);
        let tampered = seal.replace("[\"a\"]", "[\"b\"]");
        for (key_byte, subject, seal) in [
            (2, OURS, seal.as_str()),
            (1, Subject { digest: "other", ..OURS }, &seal),
            (1, Subject { engine: "other", ..OURS }, &seal),
            (1, OURS, &tampered),
            (1, OURS, &seal[2..]),
            (1, OURS, ""),
            (1, OURS, "zz\n{}"),
        ] {
            assert!(check(&key(key_byte), subject, seal, &code).is_err(), "{key_byte} {subject:?} {seal:?}");
        }
        // What was sealed before more was known of a component.
        let older = r#"{"imports":[],"exports":["a"],"is_async":false}"#;
        let mark = hmac::sign(&key(1), message(OURS, older, &code).unwrap().as_bytes());
        assert!(check(&key(1), OURS, &format!("{}\n{older}\n", hex(mark.as_ref())), &code).is_err());
        code.write_all(b"!").unwrap();
        assert!(check(&key(1), OURS, &seal, &code).is_err());
    }
}
