//! What is kept of each plugin's part in each downstream, in the order in which people look through it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gates::LaneRef;

/// Values by downstream, and there by plugin. A part of them is read at a cost that the rest has no part in.
#[derive(Clone, Debug)]
pub struct ByDownstream<T>(BTreeMap<(Arc<str>, Arc<str>), T>);

impl<T> Default for ByDownstream<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> ByDownstream<T> {
    /// Keeps a value, in the place of an earlier one.
    pub fn insert(&mut self, downstream: Arc<str>, plugin: Arc<str>, value: T) {
        self.0.insert((downstream, plugin), value);
    }

    /// Keeps it no longer.
    pub fn remove(&mut self, downstream: &Arc<str>, plugin: &Arc<str>) -> Option<T> {
        self.0.remove(&(downstream.clone(), plugin.clone()))
    }

    /// The values from that downstream and that plugin on.
    pub fn from(&self, first: LaneRef<'_>) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &T)> {
        let first: (Arc<str>, Arc<str>) = (first.downstream.into(), first.plugin.into());
        self.0.range(first..).map(|((downstream, plugin), value)| (downstream, plugin, value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_by_downstream_and_are_read_from_anywhere() {
        let mut values = ByDownstream::default();
        for (plugin, downstream) in [("b", "x"), ("a", "y"), ("a", "x"), ("a", "x1")] {
            values.insert(downstream.into(), plugin.into(), ());
        }
        values.insert("x".into(), "a".into(), ());
        let from = |plugin, downstream| -> Vec<String> {
            let first = LaneRef { plugin, downstream, limit_key: None };
            values.from(first).map(|(downstream, plugin, ())| format!("{downstream}/{plugin}")).collect()
        };
        assert_eq!(from("", ""), ["x/a", "x/b", "x1/a", "y/a"]);
        assert_eq!(from("a\0", "x"), ["x/b", "x1/a", "y/a"], "behind one plugin of it");
        assert_eq!(from("", "x\0"), ["x1/a", "y/a"], "behind all of it");
        let mut fewer = values.clone();
        assert!(fewer.remove(&"x".into(), &"a".into()).is_some() && fewer.remove(&"x".into(), &"a".into()).is_none());
        assert_eq!((fewer.len(), values.len()), (3, 4));
    }
}
