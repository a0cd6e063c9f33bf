//! What a server answered: as it wrote it, and as it is read for people.

use std::collections::{BTreeMap, HashSet};
use std::ops::Index;

use anyhow::Context as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What is not whole in itself is read part by part down to here: each level reads all that is below it once more.
const DEPTH_MAX: usize = 16;

/// A document of the server's.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    /// As it is written there.
    pub(in crate::cli) text: String,
    /// The same for people and for decisions. Long numbers are rounded in it, and members are sorted.
    pub(in crate::cli) value: Value,
}

/// A part of a list.
#[derive(Debug, Default)]
pub(in crate::cli) struct Pages {
    /// What is in it.
    pub(in crate::cli) items: Vec<Answer>,
    /// Where the next part begins.
    pub(in crate::cli) next: Option<String>,
    /// Where parts began before.
    begun: HashSet<String>,
}

impl Answer {
    /// Reads a document.
    ///
    /// # Errors
    /// Where it is not JSON.
    pub(in crate::cli) fn read(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str::<&RawValue>(text).map(Self::of)
    }

    fn of(raw: &RawValue) -> Self {
        Self { text: raw.get().to_owned(), value: value(raw, DEPTH_MAX) }
    }

    /// A member as it is written; a text without its quotes.
    pub(in crate::cli) fn written(&self, name: &str) -> String {
        let is_plain = matches!(self.value[name], Value::Null | Value::String(_));
        let members = if is_plain { None } else { members(&self.text) };
        match members.as_ref().and_then(|members| members.get(name)) {
            Some(raw) => raw.get().to_owned(),
            None => self.value[name].as_str().unwrap_or_default().to_owned(),
        }
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        &self.value[name]
    }
}

impl Pages {
    /// Adds what a page of that list holds.
    ///
    /// # Errors
    /// Where there is no such list in it, or the next page is one that was there before.
    pub(super) fn add(&mut self, list: &str, page: &Answer) -> anyhow::Result<()> {
        let members = members(&page.text).unwrap_or_default();
        let items = members.get(list).and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        let items = items.with_context(|| format!("the server's answer holds no list of {list}: is it a windlass?"))?;
        self.items.extend(items.into_iter().map(Answer::of));
        self.next = page["next"].as_str().map(str::to_owned);
        let is_new = self.next.as_ref().is_none_or(|next| self.begun.insert(next.clone()));
        anyhow::ensure!(is_new, "the server's list of {list} goes round in a circle: is it a windlass?");
        Ok(())
    }

    /// All of it as one document, its parts as they are written.
    pub(in crate::cli) fn text(&self, list: &str) -> String {
        let items: Vec<_> = self.items.iter().map(|item| item.text.as_str()).collect();
        format!("{{\"{list}\":[{}],\"next\":{}}}", items.join(","), serde_json::json!(self.next))
    }
}

fn members(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).ok()
}

/// A value for people. What cannot be read as one, for example a number of a thousand digits, or what lies deeper than so
/// much, is the text of it.
fn value(raw: &RawValue, depth_max: usize) -> Value {
    let text = raw.get();
    let part_by_part = || {
        let depth_max = depth_max.checked_sub(1)?;
        match text.as_bytes().first()? {
            b'{' => {
                let members = members(text)?.into_iter().map(|(name, raw)| (name, value(raw, depth_max)));
                Some(members.collect::<Map<_, _>>().into())
            }
            b'[' => {
                let parts = serde_json::from_str::<Vec<&RawValue>>(text).ok()?;
                Some(parts.into_iter().map(|raw| value(raw, depth_max)).collect())
            }
            _ => None,
        }
    };
    let whole = serde_json::from_str(text).ok();
    whole.or_else(part_by_part).unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_value_can_hold_leaves_the_rest_readable() {
        let deep = format!("{}1e400{}", "[".repeat(200), "]".repeat(200));
        let text = format!(r#"{{"b": 1e400, "a": {{"z":12345678901234567890.12,"y":2}}, "d":{deep}, "s": "\ud800"}}"#);
        let answer = Answer::read(&text).unwrap();
        assert_eq!(
            (&answer["b"], &answer["a"]["y"], &answer["s"]),
            (&json!("1e400"), &json!(2), &json!("\"\\ud800\""))
        );
        assert_eq!(answer.written("a"), r#"{"z":12345678901234567890.12,"y":2}"#);
        assert_eq!((answer.written("d"), answer.written("none")), (deep, String::new()));
        assert_eq!(answer.text, text);
        assert!(Answer::read("{").is_err());
    }

    #[test]
    fn what_is_as_deep_as_a_plugin_can_make_it_is_a_text() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let answer = Answer::read(&format!(r#"{{"state": "completed", "result": {deep}}}"#)).unwrap();
        assert_eq!(answer["state"], "completed");
        let mut at = &answer["result"];
        while at.is_array() {
            at = &at[0];
        }
        assert!(at.as_str().is_some_and(|text| text.starts_with("[[[")));
    }

    #[test]
    fn pages_are_one_document_of_what_they_hold() {
        let mut pages = Pages::default();
        assert_eq!(pages.text("jobs"), r#"{"jobs":[],"next":null}"#);
        for page in [r#"{"jobs":[{"b":1.0,"a":2}],"next":"x\"y"}"#, r#"{"next":"z","jobs":[3e0, {"b" :1}]}"#] {
            pages.add("jobs", &Answer::read(page).unwrap()).unwrap();
        }
        assert_eq!(pages.text("jobs"), r#"{"jobs":[{"b":1.0,"a":2},3e0,{"b" :1}],"next":"z"}"#);
        assert!(pages.add("jobs", &Answer::read("[]").unwrap()).is_err());
        let circle = pages.add("jobs", &Answer::read(r#"{"jobs":[],"next":"x\"y"}"#).unwrap());
        assert!(circle.unwrap_err().to_string().contains("in a circle"));
    }
}
