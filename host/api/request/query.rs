//! Queries, read strictly: unknown parameters are refused, and so is what stands there twice and may not.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;

use super::super::State;
use super::super::error::{Problem, ProblemKind, quoted};

/// The parameters of a query, in their order.
pub(in super::super) struct Query(Vec<(String, String)>);

impl FromRequestParts<State> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or("")))
    }
}

impl Query {
    fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// Refuses parameters that are not among `known`.
    pub(in super::super) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                let detail = format!("unknown query parameter {}; there are {}", quoted(name), known.join(", "));
                Err(Problem::new(ProblemKind::QueryInvalid, detail))
            }
            None => Ok(()),
        }
    }

    /// The values of a parameter that may be there several times; an empty one is as if it were not there.
    pub(in super::super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str());
        values.filter(|value| !value.is_empty())
    }

    /// The value of a parameter that may be there once, read; an empty one is as if it were not there.
    pub(in super::super) fn one<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => read(value).map(Some).map_err(|why| invalid(name, &why)),
            (Some(_), Some(_)) => Err(invalid(name, "it stands there more than once; say it once")),
        }
    }
}

/// A parameter is invalid.
pub(in super::super) fn invalid(name: &str, why: &str) -> Problem {
    Problem::new(ProblemKind::QueryInvalid, format!("the query parameter {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        let query = Query::parse("label=a%3A1&state=&label=b:+2");
        assert_eq!(query.all("label").collect::<Vec<_>>(), ["a:1", "b: 2"]);
        assert_eq!(query.one("state", |_| Err::<(), _>("never read".into())), Ok(None));
        assert!(query.only(&["label", "state"]).is_ok());
    }

    #[test]
    fn mistakes_name_the_parameter() {
        let query = Query::parse("limit=1&limit=2&colour=red");
        let told = [
            query.only(&["limit"]).unwrap_err().detail,
            query.one("limit", |_| Ok(())).unwrap_err().detail,
            query.one("colour", |_| Err::<(), _>("not today".into())).unwrap_err().detail,
        ];
        assert!(told[0].contains("colour") && told[1].contains("limit") && told[2].contains("not today"), "{told:?}");
    }
}
