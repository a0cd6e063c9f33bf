//! What is covered in answers: what was sent with the request, and nothing that a guest could try its guesses on.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::super::secrets::Mask;
use super::super::super::testing::Kept;
use super::failure::Denial;
use super::*;

const KEY: &str = "sk-live-1234";

/// Two origins, of which the first is sent the key.
const FILE: &str = "origins = ['http://127.0.0.1:1', 'http://127.0.0.1:2']
    inject = { header = 'X-Api-Key', value = '{key} {open} {user}', origins = ['http://127.0.0.1:1'] }
    config = { user = 'config-of-the-test' }
    [secrets]
    key = { command = ['printf', '%s', 'sk-live-1234'] }
    open = { command = ['printf', '%s', 'open-to-read'], readable = true }
    idle = { command = ['printf', '%s', 'never-sent'], readable = false }";

fn grants() -> Arc<Grants> {
    let network = Network {
        proxy: Some("http://127.0.0.1:3".parse().unwrap()),
        proxy_credentials: Some(crate::config::SecretSource::Given("user:s3cret-of-the-test".into()).into()),
        ..network(&[])
    };
    egress(&network, FILE, &[]).0
}

/// What is added to a request that has that header, and what is covered in its answer.
fn added(grants: &Grants, url: &str, own: &str) -> Result<(HeaderMap, Option<Arc<Mask>>), SendFailure> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_bytes(own.as_bytes()).unwrap(), HeaderValue::from_static("mine"));
    let cover = grants.inject(&grants.admit(url).1?, &mut headers)?;
    Ok((headers, cover))
}

#[tokio::test]
async fn an_origin_is_covered_for_what_it_is_sent_and_for_nothing_else() {
    let grants = grants();
    assert!(added(&grants, "http://127.0.0.1:2/", "x-own").unwrap().1.is_none());
    let (headers, cover) = added(&grants, "http://127.0.0.1:1/", "x-own").unwrap();
    assert_eq!(headers["x-api-key"], "sk-live-1234 open-to-read config-of-the-test");
    let cover = cover.unwrap();
    assert!(cover.finds(KEY.as_bytes()));
    for other in ["open-to-read", "config-of-the-test", "never-sent", "s3cret-of-the-test", "user:s3cret-of-the-test"] {
        assert!(!cover.finds(other.as_bytes()), "{other}");
        let is_kept = matches!(grants.secrets.mask(other), std::borrow::Cow::Borrowed(_));
        assert_eq!(is_kept, other.starts_with("config"), "{other} is masked in what is kept");
    }
}

#[tokio::test]
async fn what_is_added_cannot_be_shadowed_by_a_name_that_servers_read_as_the_same() {
    let grants = grants();
    for own in ["x-api-key", "x_api_key", "X_Api-Key", "x.api.key"] {
        let Err(SendFailure::Invalid(why)) = added(&grants, "http://127.0.0.1:1/", own) else { panic!("{own}") };
        assert!(why.contains("is added to this request by the host"), "{why}");
        assert_eq!(why.contains("count as one"), !own.eq_ignore_ascii_case("x-api-key"), "{why}");
        assert!(added(&grants, "http://127.0.0.1:2/", own).is_ok(), "it is the guest's own there");
    }
    assert!(added(&grants, "http://127.0.0.1:1/", "xapikey").is_ok());
}

#[tokio::test]
async fn an_error_covers_what_a_server_said_and_never_what_the_guest_said() {
    let cover = added(&grants(), "http://127.0.0.1:1/", "x-own").unwrap().1;
    let said = || format!("it said {KEY}");
    for (failure, is_covered) in [
        (SendFailure::Unanswered(said()), true),
        (SendFailure::Unreachable(Unreachable::Tls, said()), true),
        (SendFailure::TooLarge(said()), true),
        (SendFailure::Invalid(said()), false),
        (SendFailure::Crowded(said()), false),
        (SendFailure::Denied(Denial { told: said(), remedy: String::new() }), false),
    ] {
        let told = failure.clone().veiled(cover.as_deref());
        assert_eq!(told.message(), if is_covered { "it said [key]" } else { failure.message() }, "{failure:?}");
        assert_eq!(failure.clone().veiled(None), failure);
    }
}

#[test]
fn a_secret_that_can_be_guessed_is_warned_of() {
    let read = |more: &str| {
        let text = format!(
            "origins = ['http://127.0.0.1:1']\ninject = {{ header = 'X-Pin', value = '{{pin}}' }}\n\
             secrets = {{ pin = {{ command = ['printf', '%s', '1234567'] {more} }} }}"
        );
        let file = PluginFile::parse(std::path::Path::new("t.toml"), &text, &Limits::default()).unwrap();
        let (kept, _logged) = Kept::log();
        let outside = Outside::new(&Network::default(), Descriptors::default());
        Granted::read("t.toml", &file, &outside).unwrap().grants.tell_guessable();
        kept.text()
    };
    let warned = read("");
    assert!(warned.contains("secret=\"pin\" bytes=7") && !warned.contains("1234567"), "{warned}");
    assert_eq!(read(", readable = true"), "", "the plugin knows it");
}
