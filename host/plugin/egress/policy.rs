//! Whether a plugin may make a request: by its grants, exactly.

use std::borrow::Cow;

use http::Uri;
use url::Url;

use crate::config::Origin;

use super::super::grants::origins_line;
use super::failure::{Denial, SendFailure};
use super::{Grants, record};

/// The longest URL.
const URL_BYTES_MAX: usize = 16 << 10;
/// The longest line that a remedy repeats: it is told whole or not at all.
const LINE_BYTES_MAX: usize = 1 << 10;

/// Whether anything but a host and a port stands between the slashes, if only the sign for it: the parser takes that out
/// where it stands alone. It skips any number of slashes behind the scheme.
fn has_user_information(url: &str) -> bool {
    let (_, rest) = url.split_once(':').unwrap_or_default();
    let authority = rest.trim_start_matches('/').split(['/', '?', '#']).next();
    authority.is_some_and(|authority| authority.contains('@'))
}

/// A URL that may be called.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct Target {
    /// As it is requested, with the host in its one spelling: what is judged is what is dialled.
    pub(in crate::plugin) uri: Uri,
    /// Its origin, which is granted.
    pub(super) origin: Origin,
}

impl Grants {
    /// Reads a URL and checks that its origin is granted. Also answers how the URL is to be recorded.
    pub(in crate::plugin) fn admit(&self, text: &str) -> (String, Result<Target, SendFailure>) {
        let malformed = |why: String| ("(malformed)".to_owned(), Err(SendFailure::Invalid(why)));
        // The parser would take line breaks out and mend the rest: a guest that sends them is mistaken, or up to something.
        if let Some(odd) = text.chars().find(|next| next.is_control() || next.is_whitespace() || *next == '\\') {
            return malformed(format!("the URL is malformed: it has the character {odd:?}"));
        }
        if text.len() > URL_BYTES_MAX {
            return malformed(format!("the URL is longer than {URL_BYTES_MAX} bytes"));
        }
        match Url::parse(text) {
            Ok(url) => (record::shown(&url, &self.secrets), self.target(text, &url)),
            Err(error) => malformed(format!("the URL is malformed: {error}")),
        }
    }

    fn target(&self, text: &str, url: &Url) -> Result<Target, SendFailure> {
        if has_user_information(text) {
            let why = "the URL carries user information: send an Authorization header instead";
            return Err(SendFailure::Invalid(why.to_owned()));
        }
        if url.fragment().is_some() {
            return Err(SendFailure::Invalid(
                "the URL carries a fragment, which is never sent: leave it out".to_owned(),
            ));
        }
        let origin = Origin::of(url).map_err(|why| SendFailure::Invalid(format!("the URL cannot be called: {why}")))?;
        if !self.origins.contains(&origin) {
            return Err(SendFailure::Denied(self.denial(&origin)));
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let uri = format!("{origin}{}{query}", url.path());
        // What is not ASCII has grown.
        if uri.len() > URL_BYTES_MAX {
            let why = format!("the URL is {} bytes long as it is sent, the limit is {URL_BYTES_MAX}", uri.len());
            return Err(SendFailure::Invalid(why));
        }
        match uri.parse() {
            Ok(uri) => Ok(Target { uri, origin }),
            Err(error) => Err(SendFailure::Invalid(format!("the URL is malformed: {error}"))),
        }
    }

    /// The line to write, whole: with what is granted already.
    fn denial(&self, origin: &Origin) -> Denial {
        let (file, asked) = (&self.file, origin.to_string());
        // Where a secret is the name of a host, it is none to grant.
        if matches!(self.secrets.mask(&asked), Cow::Borrowed(_)) {
            self.denials.note_origin(origin);
        }
        let line = Some(origins_line(&self.origins, &[asked])).filter(|line| line.len() <= LINE_BYTES_MAX);
        let differs = self.origins.iter().find(|granted| granted.host == origin.host).map(|granted| {
            let what = if granted.tls == origin.tls { "the port differs" } else { "the scheme differs" };
            format!(" ({granted} is granted: {what})")
        });
        Denial {
            told: format!("the origin {origin} is not granted to this plugin"),
            remedy: format!(
                "the plugin asked for {origin}{}: add \"{origin}\" to origins in {file}{}",
                differs.unwrap_or_default(),
                line.map(|line| format!(": {line}")).unwrap_or_default()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::PluginFile;

    fn grants(origins: &[&str]) -> Grants {
        let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        let file = PluginFile { origins, ..PluginFile::default() };
        Grants::new("plugins/stripe.toml".to_owned(), &file, Arc::default()).unwrap()
    }

    #[test]
    fn only_the_very_origin_is_granted() {
        let grants = grants(&["https://api.example.com", "http://127.0.0.1:8080", "http://localhost:9000"]);
        for text in [
            "https://api.example.com/v1?x=1",
            "https://API.example.com:443/",
            "https://api.example.com./a",
            "http://127.0.0.1:8080",
            "http://0x7f000001:8080/",
            "http://LOCALHOST:9000/",
            "http://127.1:8080/",
            "http://0177.0.0.1:8080/",
            "http://2130706433:8080/",
            "http://127.0.0.1.:8080/",
            "http://１２７.０.０.１:8080/",
            "http://127%2e0.0.1:8080/",
            "http://[::ffff:127.0.0.1]:8080/",
            "HTTPS://api.example.com/",
        ] {
            assert!(grants.admit(text).1.is_ok(), "{text}");
        }
        for text in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://example.com/",
            "https://evil.api.example.com/",
            "https://api.example.com.evil.net/",
            "http://127.0.0.2:8080/",
            "http://[::1]:8080/",
            "http://[::127.0.0.1]:8080/",
            "http://[64:ff9b::127.0.0.1]:8080/",
            "http://a.localhost:9000/",
            "http://localhost:8080/",
            "http://127.0.0.1:9000/",
        ] {
            let (_, refusal) = grants.admit(text);
            assert!(matches!(refusal, Err(SendFailure::Denied(_))), "{text} gave {refusal:?}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_invalid() {
        let grants = grants(&["https://api.example.com"]);
        for text in [
            "",
            "api.example.com",
            "ftp://api.example.com/",
            "https://u:p@api.example.com/",
            "https://",
            "https://api.example.com/#x",
            "https://api.example.com/a b",
            "https://api.example.com/\r\nHost: x",
            " https://api.example.com/",
            "https://api.example.com\\@evil.net/",
            "https://api.example.com:0/",
            "https://[fe80::1%25eth0]/",
            "https://api..example.com/",
            "https://0.0.0.0/",
            "https://@api.example.com:x/",
            "https://@api.example.com/",
            "https://:@api.example.com/",
            "https://u@api.example.com/",
            "https:u@api.example.com/",
            "https:////@api.example.com/",
            "https://@api.example.com?q",
        ] {
            let (_, refusal) = grants.admit(text);
            assert!(matches!(refusal, Err(SendFailure::Invalid(_))), "{text} gave {refusal:?}");
        }
    }

    #[test]
    fn a_url_is_as_long_as_it_is_sent() {
        let grants = grants(&["https://api.example.com"]);
        let of = |text: &str, count: usize| grants.admit(&format!("https://api.example.com/{}", text.repeat(count))).1;
        let rest = URL_BYTES_MAX - "https://api.example.com/".len();
        // Each of these is three bytes and sent as nine.
        for (text, most) in [("a", rest), ("@", rest), ("中", rest / 9)] {
            assert_eq!(of(text, most).map(|target| target.uri.path().len() > most).map_err(|_| text), Ok(true));
            assert!(matches!(of(text, most + 1), Err(SendFailure::Invalid(_))), "{text}");
        }
        assert!(of("?a=@", 1).is_ok(), "what is no user information");
    }

    #[test]
    fn a_denial_tells_the_line_to_add() {
        let (_, refusal) = grants(&[]).admit("https://api.example.com/v1");
        let Err(SendFailure::Denied(denial)) = refusal else { panic!("not denied") };
        assert!(denial.remedy.contains(r#"add "https://api.example.com" to origins in plugins/stripe.toml"#));
        assert!(!denial.told.contains("toml"));
        let granted = grants(&["https://api.example.com", "http://localhost:9000"]);
        for (url, told) in [
            ("http://api.example.com/", "https://api.example.com is granted: the scheme differs"),
            ("https://api.example.com:8443/", "https://api.example.com is granted: the port differs"),
            (
                "https://b.example/",
                r#"origins = ["https://api.example.com", "http://localhost:9000", "https://b.example"]"#,
            ),
        ] {
            let (_, refusal) = granted.admit(url);
            let Err(SendFailure::Denied(denial)) = refusal else { panic!("not denied") };
            assert!(denial.remedy.contains(told), "{}", denial.remedy);
        }
    }

    #[test]
    fn a_line_that_is_told_is_toml_with_all_that_is_granted() {
        let origins: Vec<_> = (0..100).map(|n| format!("https://{n}.example")).collect();
        for count in [0, 1, 20, 40, 100] {
            let granted: Vec<_> = origins[..count].iter().map(String::as_str).collect();
            let Err(SendFailure::Denied(denial)) = grants(&granted).admit("https://new.example/").1 else {
                panic!("not denied")
            };
            assert!(denial.remedy.contains(r#"add "https://new.example" to origins in plugins/stripe.toml"#));
            match denial.remedy.split_once(": origins") {
                Some((_, line)) => {
                    let file: toml::Table = format!("origins{line}").parse().unwrap();
                    assert_eq!(file["origins"].as_array().unwrap().len(), count + 1);
                }
                None => assert_eq!(count, 100, "{}", denial.remedy),
            }
        }
    }

    #[test]
    fn the_host_is_dialled_in_the_spelling_that_was_judged() {
        let (_, target) = grants(&["http://127.0.0.1:81"]).admit("http://2130706433:81/a%20b?c=d");
        assert_eq!(target.unwrap().uri.to_string(), "http://127.0.0.1:81/a%20b?c=d");
    }
}
