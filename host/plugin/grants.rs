//! What a plugin asks for beside what its operator gives, and what it asked for in vain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde::Serialize;

use crate::clock::UnixMs;
use crate::config::{Origin, PluginFile};
use crate::lock::lock;

use super::{Description, Plugin};

/// How many denials of one plugin are remembered. Origins can come from payloads, so that there is no end of them.
const DENIALS_MAX: usize = 64;
/// So many origins that are not granted are told in one line.
const ORIGINS_TOLD: usize = 32;

/// What can be granted. A closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GrantKind {
    /// An origin that may be called.
    Origin,
    /// A value. Optional: where it is not given, the plugin goes on without.
    Config,
    /// A secret.
    Secret,
}

/// One thing that a plugin asks for, or is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Grant {
    /// What it is.
    pub kind: GrantKind,
    /// The origin, or the name.
    pub name: String,
    /// The plugin asks for it: it says so of itself.
    pub asked: bool,
    /// The operator gives it.
    pub given: bool,
}

/// What a plugin asks for and is not given, with what would give it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GrantsMissing {
    /// The file to edit.
    pub file: String,
    /// The origins, those that calls were refused among them.
    pub origins: Vec<String>,
    /// The names of the secrets.
    pub secrets: Vec<String>,
    /// The lines to add, as TOML.
    pub toml: String,
}

/// Something that a plugin asked for in vain since its grants were last edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeniedGrant {
    /// What it was, and what would give it.
    pub remedy: String,
    /// When it was first asked for.
    #[schema(value_type = String, format = DateTime)]
    pub since: UnixMs,
    /// How often.
    pub count: u64,
}

impl Plugin {
    /// What it asks for and is not given, by what its revision says and by what its attempts were refused.
    #[must_use]
    pub fn grants_missing(&self) -> Option<GrantsMissing> {
        let (file, shown) = self.grants.of_file();
        let asked = self.revision.as_ref().and_then(|revision| revision.description.as_ref());
        missing(shown, &self.name, file, asked, &self.grants.denials.origins())
    }

    /// What its attempts asked for in vain since its grants were last edited.
    #[must_use]
    pub fn denied(&self) -> Vec<DeniedGrant> {
        self.grants.denials.all()
    }
}

/// What is asked for and what is given, side by side: by kind, then by name.
pub fn side_by_side(file: &PluginFile, asked: Option<&Description>) -> Vec<Grant> {
    let nothing = Description::default();
    let asked = asked.unwrap_or(&nothing);
    let origins = (asked.origins.iter().map(|text| spelling(text)).collect(), given_origins(file));
    let config = (asked.config.iter().cloned().collect(), file.config.keys().cloned().collect());
    // Which of the two a value is, is the operator's affair.
    let given: BTreeSet<String> = file.secrets.keys().cloned().collect();
    let as_value = asked.secrets.iter().filter(|name| file.config.contains_key(*name)).cloned();
    let secrets = (asked.secrets.iter().cloned().collect(), given.into_iter().chain(as_value).collect());
    let kinds = [(GrantKind::Origin, origins), (GrantKind::Config, config), (GrantKind::Secret, secrets)];
    kinds.into_iter().flat_map(|(kind, (asked, given))| rows(kind, &asked, &given)).collect()
}

fn rows(kind: GrantKind, asked: &BTreeSet<String>, given: &BTreeSet<String>) -> Vec<Grant> {
    let row =
        |name: &String| Grant { kind, name: name.clone(), asked: asked.contains(name), given: given.contains(name) };
    asked.union(given).map(row).collect()
}

fn given_origins(file: &PluginFile) -> BTreeSet<String> {
    file.origins.iter().map(ToString::to_string).collect()
}

/// An origin in its one spelling; what is none stays as it is.
fn spelling(text: &str) -> String {
    text.parse::<Origin>().map_or_else(|_| text.to_owned(), |origin| origin.to_string())
}

/// What is missing of what `asked` and `denied` want; none where nothing is. `shown` is what the file is called.
pub(super) fn missing(
    shown: &str,
    plugin: &str,
    file: &PluginFile,
    asked: Option<&Description>,
    denied: &BTreeSet<String>,
) -> Option<GrantsMissing> {
    let wanted = side_by_side(file, asked);
    let names = |kind| wanted.iter().filter(move |it| it.kind == kind && !it.given).map(|it| it.name.clone());
    let given = given_origins(file);
    let is_origin = |text: &String| text.parse::<Origin>().is_ok() && !given.contains(text);
    let origins: BTreeSet<_> = names(GrantKind::Origin).chain(denied.iter().cloned()).filter(is_origin).collect();
    let secrets: Vec<_> = names(GrantKind::Secret).collect();
    if origins.is_empty() && secrets.is_empty() {
        return None;
    }
    let origins: Vec<_> = origins.into_iter().collect();
    let mut toml = String::new();
    if !origins.is_empty() {
        let note = if given.is_empty() { "" } else { "# in place of the line `origins`:\n" };
        toml = format!("{note}{}\n", origins_line(&file.origins, &origins));
    }
    if !secrets.is_empty() {
        let note = if file.secrets.is_empty() { "" } else { "# under the present " };
        let lines: Vec<_> = secrets.iter().map(|name| secret_line(plugin, name)).collect();
        toml = format!("{toml}{note}[secrets]\n{}\n", lines.join("\n"));
    }
    Some(GrantsMissing { file: shown.to_owned(), origins, secrets, toml })
}

/// The line of the file that grants those origins too. Those that are given are all in it: it stands in the place of
/// theirs.
pub(super) fn origins_line(given: &[Origin], more: &[String]) -> String {
    let given = given.iter().map(ToString::to_string);
    let all = given.chain(more.iter().take(ORIGINS_TOLD).cloned()).map(|origin| quoted(&origin));
    format!("origins = [{}]", all.collect::<Vec<_>>().join(", "))
}

/// The line under `[secrets]` that grants that secret.
pub(super) fn secret_line(plugin: &str, name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let key = if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { quoted(name) };
    let variable: String = format!("{plugin}_{name}").chars().map(of_variable).collect();
    format!("{key} = {{ env = \"{variable}\" }}")
}

fn of_variable(letter: char) -> char {
    if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What one plugin asked for in vain since its grants were last edited.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_remedy: BTreeMap<String, (UnixMs, u64)>,
    origins: BTreeSet<String>,
}

impl Denials {
    /// Counts a denial. True where it is the first of its kind, and there is room to remember it.
    pub(super) fn note(&self, remedy: &str, now: UnixMs) -> bool {
        let mut kept = self.kept();
        if let Some((_, count)) = kept.by_remedy.get_mut(remedy) {
            *count += 1;
            return false;
        }
        let has_room = kept.by_remedy.len() < DENIALS_MAX;
        if has_room {
            kept.by_remedy.insert(remedy.to_owned(), (now, 1));
        }
        has_room
    }

    /// Remembers an origin that was refused.
    pub(super) fn note_origin(&self, origin: &Origin) {
        let mut kept = self.kept();
        if kept.origins.len() < DENIALS_MAX {
            kept.origins.insert(origin.to_string());
        }
    }

    /// The origins that were refused.
    pub(super) fn origins(&self) -> BTreeSet<String> {
        self.kept().origins.clone()
    }

    /// All of it, for people.
    pub(super) fn all(&self) -> Vec<DeniedGrant> {
        let told = |(remedy, (since, count)): (&String, &(UnixMs, u64))| DeniedGrant {
            remedy: remedy.clone(),
            since: *since,
            count: *count,
        };
        self.kept().by_remedy.iter().map(told).collect()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Limits;

    use super::*;

    fn file(text: &str) -> PluginFile {
        PluginFile::parse(Path::new("stripe.toml"), text, &Limits::default()).unwrap()
    }

    fn asked() -> Description {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Description {
            origins: texts(&["https://API.example.com:443", "https://b.example", "not an origin"]),
            config: texts(&["currency"]),
            secrets: texts(&["api_key", "sign key"]),
            ..Description::default()
        }
    }

    #[test]
    fn what_is_asked_for_stands_beside_what_is_given() {
        let file = file("origins = [\"https://api.example.com\", \"http://127.0.0.1:9\"]\n[config]\napi_key = \"x\"");
        let rows = side_by_side(&file, Some(&asked()));
        let told: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.asked, row.given)).collect();
        assert_eq!(
            told,
            [
                ("http://127.0.0.1:9", false, true),
                ("https://api.example.com", true, true),
                ("https://b.example", true, false),
                ("not an origin", true, false),
                ("api_key", false, true),
                ("currency", true, false),
                ("api_key", true, true),
                ("sign key", true, false),
            ]
        );
    }

    #[test]
    fn the_lines_to_add_make_the_file_whole() {
        let denied = BTreeSet::from(["http://127.0.0.1:7".to_owned()]);
        let missing_of = |file: &PluginFile| missing("p/stripe.toml", "stripe", file, Some(&asked()), &denied);
        let lines = missing_of(&PluginFile::default()).unwrap().toml;
        let pasted = file(&lines);
        assert_eq!(pasted.secrets.keys().collect::<Vec<_>>(), ["api_key", "sign key"]);
        assert!(lines.contains(r#"api_key = { env = "STRIPE_API_KEY" }"#), "{lines}");
        assert_eq!(missing_of(&pasted), None, "nothing is missing any more");
        let half = file("origins = [\"https://b.example\"]\n[secrets]\nother = { env = \"O\" }");
        let told = missing_of(&half).unwrap();
        assert_eq!(told.origins, ["http://127.0.0.1:7", "https://api.example.com"]);
        assert!(told.toml.contains("in place of") && told.toml.contains("\"https://b.example\""), "{}", told.toml);
        assert!(told.toml.contains("# under the present [secrets]"), "{}", told.toml);
        // Whatever the file holds, the lines are TOML.
        assert!(told.toml.parse::<toml::Table>().is_ok(), "{}", told.toml);
    }

    #[test]
    fn the_line_of_origins_keeps_all_that_are_given() {
        let origins: Vec<_> = (0..50).map(|n| format!("\"https://{n}.example\"")).collect();
        let given = file(&format!("origins = [{}]", origins.join(", ")));
        let toml = missing("stripe.toml", "stripe", &given, Some(&asked()), &BTreeSet::new()).unwrap().toml;
        assert_eq!(file(&toml).origins.len(), 52, "{toml}");
    }

    #[test]
    fn a_denial_is_told_once_and_counted() {
        let denials = Denials::default();
        assert!(denials.note("a", UnixMs(1)) && !denials.note("a", UnixMs(2)) && denials.note("b", UnixMs(3)));
        assert_eq!(denials.all()[0], DeniedGrant { remedy: "a".into(), since: UnixMs(1), count: 2 });
        let noted = (0..1_000).filter(|n| denials.note(&n.to_string(), UnixMs(4))).count();
        assert_eq!(noted, DENIALS_MAX - 2);
        assert_eq!(denials.all().len(), DENIALS_MAX);
    }
}
