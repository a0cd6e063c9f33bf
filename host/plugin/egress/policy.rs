//! Whether a plugin may make a request: by its grants, exactly.

use http::Uri;
use url::Url;

use crate::config::Origin;

use super::failure::{Denial, SendFailure};
use super::{Grants, record};

/// A URL that may be called.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct Target {
    /// As it is requested, with the host in its one spelling: what is judged is what is dialled.
    pub(in crate::plugin) uri: Uri,
}

impl Grants {
    /// Reads a URL and checks that its origin is granted. Also answers how the URL is to be recorded.
    pub(in crate::plugin) fn admit(&self, text: &str) -> (String, Result<Target, SendFailure>) {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                let refusal = SendFailure::Invalid(format!("the URL is malformed: {error}"));
                return ("(malformed)".to_owned(), Err(refusal));
            }
        };
        let shown = self.secrets.mask(&record::masked(&url)).into_owned();
        let target = self.target(&url);
        (shown, target)
    }

    fn target(&self, url: &Url) -> Result<Target, SendFailure> {
        if !url.username().is_empty() || url.password().is_some() {
            let why = "the URL carries user information: send an Authorization header instead";
            return Err(SendFailure::Invalid(why.to_owned()));
        }
        let origin = Origin::of(url).map_err(|why| SendFailure::Invalid(format!("the URL cannot be called: {why}")))?;
        if !self.origins.contains(&origin) {
            return Err(SendFailure::Denied(self.denial(&origin)));
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let uri = format!("{origin}{}{query}", url.path());
        match uri.parse() {
            Ok(uri) => Ok(Target { uri }),
            Err(error) => Err(SendFailure::Invalid(format!("the URL is malformed: {error}"))),
        }
    }

    fn denial(&self, origin: &Origin) -> Denial {
        let file = &self.file;
        Denial {
            told: format!("the origin {origin} is not granted to this plugin"),
            remedy: format!("the plugin asked for {origin}: add \"{origin}\" to origins in {file}"),
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
        Grants::new("plugins/stripe.toml".to_owned(), &PluginFile { origins, ..PluginFile::default() }, Arc::default())
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
            "http://[::ffff:127.0.0.1]:8080/",
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
        for text in ["", "api.example.com", "ftp://api.example.com/", "https://u:p@api.example.com/", "https://"] {
            let (_, refusal) = grants.admit(text);
            assert!(matches!(refusal, Err(SendFailure::Invalid(_))), "{text} gave {refusal:?}");
        }
    }

    #[test]
    fn a_denial_tells_the_line_to_add() {
        let (_, refusal) = grants(&[]).admit("https://api.example.com/v1");
        let Err(SendFailure::Denied(denial)) = refusal else { panic!("not denied") };
        assert!(denial.remedy.contains(r#"add "https://api.example.com" to origins in plugins/stripe.toml"#));
        assert!(!denial.told.contains("toml"));
    }

    #[test]
    fn the_host_is_dialled_in_the_spelling_that_was_judged() {
        let (_, target) = grants(&["http://127.0.0.1:81"]).admit("http://2130706433:81/a%20b?c=d#e");
        assert_eq!(target.unwrap().uri.to_string(), "http://127.0.0.1:81/a%20b?c=d");
    }
}
