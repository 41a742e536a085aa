//! Facts that change: of what was told about something, the newest counts, whatever came first.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// A value, and when it was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Fact<T> {
    /// Compared first.
    pub(super) at: Millis,
    /// Of two told at the same moment the greater counts, so that the order of arrival does not.
    #[serde(rename = "v")]
    pub(super) value: T,
}

impl<T: Ord + Clone> Fact<T> {
    pub(super) fn new(value: T, at: Millis) -> Self {
        Self { at, value }
    }

    /// Takes the other over if it is newer. `true` if that changed anything.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        let newer = *other > *self;
        if newer {
            self.clone_from(other);
        }
        newer
    }
}

/// A text that was told; an empty one tells nothing.
pub(super) fn told(text: String, at: Millis) -> Option<Fact<String>> {
    (!text.is_empty()).then(|| Fact::new(text, at))
}

/// Merges what was told into what is known.
pub(super) fn learn<T: Ord + Clone>(known: &mut Option<Fact<T>>, told: Option<&Fact<T>>) -> bool {
    match (known.as_mut(), told) {
        (_, None) => false,
        (Some(known), Some(told)) => known.merge(told),
        (None, Some(told)) => {
            *known = Some(told.clone());
            true
        }
    }
}

/// The value, or nothing.
pub(super) fn value(fact: Option<&Fact<String>>) -> &str {
    fact.map_or("", |fact| fact.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_ends_the_same() {
        let facts = [("b", 1), ("a", 2), ("c", 2), ("a", 1)].map(|(text, at)| Fact::new(text.to_owned(), Millis(at)));
        for start in 0..facts.len() {
            let mut known = None;
            for step in 0..facts.len() * 2 {
                learn(&mut known, Some(&facts[(start + step * 3) % facts.len()]));
            }
            assert_eq!(known.as_ref().map(|fact| fact.value.as_str()), Some("c"));
        }
        assert!(!learn(&mut Some(Fact::new("x".to_owned(), Millis(5))), None));
    }
}
