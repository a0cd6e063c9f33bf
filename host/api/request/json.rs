//! JSON bodies, read strictly: unknown members are refused, and each mistake names the member that it is in.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::error::{Problem, ProblemKind, quoted, reason};

/// The most members of an object that is read here; those that are known are fewer.
const MEMBERS_MAX: usize = 64;
/// How deeply a payload may be nested: what any reader of JSON takes without running out of stack.
pub(in super::super) const DEPTH_MAX: usize = 128;

/// The members of an object, each as it was written. A member that is twice there is refused.
pub(in super::super) struct RawObject<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> RawObject<'a> {
    /// Refuses members that are not among `known`.
    pub(in super::super) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Problem::new(
                ProblemKind::MemberInvalid,
                format!("unknown member {}; the members are {}", quoted(name), known.join(", ")),
            )),
            None => Ok(()),
        }
    }

    /// The member of that name, `null` included.
    pub(in super::super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    /// The member of that name; `null` is as if it were not there.
    pub(in super::super) fn some(&self, name: &str) -> Option<&'a RawValue> {
        self.raw(name).filter(|raw| raw.get() != "null")
    }

    /// All members, each read; mistakes are told of the place of the whole.
    pub(in super::super) fn each<T: DeserializeOwned>(&self, place: &str) -> Result<BTreeMap<String, T>, Problem> {
        self.0.iter().map(|(name, raw)| Ok((name.clone(), value(place, raw)?))).collect()
    }

    /// The member of that name, read.
    pub(in super::super) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.some(name).map(|raw| value(name, raw)).transpose()
    }
}

impl<'de> Deserialize<'de> for RawObject<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = RawObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.len() >= MEMBERS_MAX {
                        return Err(serde::de::Error::custom(format!("there are more than {MEMBERS_MAX} members")));
                    }
                    if members.contains_key(&name) {
                        return Err(serde::de::Error::custom(format!("the member {} is there twice", quoted(&name))));
                    }
                    members.insert(name, value);
                }
                Ok(RawObject(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Reads text as an object. A mistake of the syntax names the line and the column.
pub(in super::super) fn object(text: &[u8]) -> Result<RawObject<'_>, Problem> {
    serde_json::from_slice(text)
        .map_err(|error| Problem::new(ProblemKind::BodyMalformed, format!("the body cannot be read as JSON: {error}")))
}

/// Reads one member.
pub(in super::super) fn value<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, Problem> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let error = error.to_string();
        // The place within the member would be taken for one within the body.
        let why = error.rsplit_once(" at line ").map_or(error.as_str(), |(why, _)| why);
        Problem::new(ProblemKind::MemberInvalid, format!("{name}: {}", reason(why)))
    })
}

/// Whether valid JSON is nested at most that deeply. Looks at brackets alone, so it costs no stack.
pub(in super::super) fn depth_within(json: &str, most: usize) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                depth += 1;
                if depth > most {
                    return false;
                }
            }
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Problem {
        object(text.as_bytes()).err().expect("a refusal")
    }

    #[test]
    fn a_mistake_of_the_syntax_has_a_place() {
        for text in ["", "{", "[]", "7", "{\"a\":}", "{\"a\":1,}", "{\"a\":1} x", "{\"a\":\n\"\u{1}\"}"] {
            let problem = refusal(text);
            assert_eq!(problem.kind, ProblemKind::BodyMalformed);
            assert!(problem.detail.contains("line ") && problem.detail.contains("column "), "{problem:?}");
        }
    }

    #[test]
    fn a_member_is_there_once() {
        assert!(refusal(r#"{"a":1,"a":2}"#).detail.contains("\"a\" is there twice"));
    }

    #[test]
    fn a_flood_of_members_is_cut_off() {
        let many: Vec<_> = (0..=MEMBERS_MAX).map(|n| format!("\"m{n}\":1")).collect();
        assert!(refusal(&format!("{{{}}}", many.join(","))).detail.contains("more than 64 members"));
    }

    #[test]
    fn unknown_members_are_named() {
        let object = object(br#"{"a":1,"colour":2}"#).unwrap();
        assert!(object.only(&["a"]).unwrap_err().detail.contains("colour"));
        assert!(object.only(&["a", "colour"]).is_ok());
    }

    #[test]
    fn null_is_a_value_only_where_it_is_asked_for() {
        let object = object(br#"{"a":null}"#).unwrap();
        assert!(object.some("a").is_none());
        assert_eq!(object.raw("a").map(RawValue::get), Some("null"));
        assert_eq!(object.get::<u8>("a"), Ok(None));
    }

    #[test]
    fn a_wrong_type_names_the_member() {
        let object = object(br#"{"priority":40000}"#).unwrap();
        let problem = object.get::<i16>("priority").unwrap_err();
        assert!(problem.detail.starts_with("priority: ") && !problem.detail.contains("line"), "{problem:?}");
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        assert!(depth_within(r#"{"a":["[[[[","\"[["]}"#, 2));
        assert!(!depth_within("[[[]]]", 2));
        assert!(depth_within("[[],[],[]]", 2));
        assert!(!depth_within(&"[".repeat(1_000_000), 128));
    }
}
