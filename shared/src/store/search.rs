//! Keyword search in one partition of the table: what is asked, what is found, and how text is made comparable.
//!
//! An item is found by its attribute [`ATTRIBUTE`], a text that whoever writes the item has folded with [`fold`]; an item
//! without it is never found and costs nothing. The keyword is folded by the store, so a match is a plain substring: no
//! words, no stems, from one character on, in any script.

use icu_normalizer::ComposingNormalizerBorrowed;
use serde_json::Value;

use super::{Item, Range};
use crate::error::{Error, Result};

/// The attribute of a document that is searched.
pub const ATTRIBUTE: &str = "search";

/// A keyword to look for among the items of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// `pk` of a partition of the table.
    pub partition: String,
    /// The keyword as the user has typed it.
    pub text: String,
    /// Over `sk`.
    pub range: Range,
    /// A top-level attribute that must have this value, as in [`super::Cond::Eq`].
    pub filter: Option<(String, Value)>,
    /// In the order of `sk`, or the other way round.
    pub newest_first: bool,
    /// Matches to pass over.
    pub skip: usize,
    /// 1..=1000 items a page.
    pub limit: usize,
}

impl Search {
    pub fn new(partition: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            partition: partition.into(),
            text: text.into(),
            range: Range::All,
            filter: None,
            newest_first: false,
            skip: 0,
            limit: 100,
        }
    }

    #[must_use]
    pub fn range(mut self, range: Range) -> Self {
        self.range = range;
        self
    }

    #[must_use]
    pub fn filter(mut self, attribute: &str, value: impl Into<Value>) -> Self {
        self.filter = Some((attribute.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    #[must_use]
    pub fn page(mut self, skip: usize, limit: usize) -> Self {
        self.skip = skip;
        self.limit = limit;
        self
    }

    /// The keyword, folded. Errors: invalid when nothing is left of it, since that would match everything.
    pub fn folded(&self) -> Result<String> {
        let text = fold(&self.text);
        if text.is_empty() {
            return Err(Error::invalid("keyword", "The keyword must contain a character other than white space"));
        }
        Ok(text)
    }
}

/// A page of matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    pub items: Vec<Item>,
    /// All matches in the range, not only those of the page. Exact.
    pub total: u64,
}

/// What a store says that would have to read more than it may for one search.
pub fn too_broad() -> Error {
    Error::invalid("keyword", "Too many messages to search through: narrow the time range").code("SEARCH_TOO_BROAD")
}

/// Makes texts that a reader takes for the same the same: compatibility forms (NFKC: full-width letters, half-width kana,
/// ligatures), lower case, one space for any run of white space and control characters, none at the ends; without what is
/// not seen (soft hyphens, zero-width spaces, variation selectors). Folding twice is folding once.
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return spaced(text.chars().map(|c| c.to_ascii_lowercase()));
    }
    let visible: String = text.chars().filter(|c| !is_unseen(*c)).collect();
    let nfkc = const { ComposingNormalizerBorrowed::new_nfkc() };
    let lower: String = nfkc.normalize_iter(visible.chars()).flat_map(char::to_lowercase).map(one_sigma).collect();
    // Lower case may take a composed character apart.
    spaced(nfkc.normalize(&lower).chars())
}

/// The final form of sigma depends on what follows, which a part of a text does not know.
fn one_sigma(c: char) -> char {
    if c == 'ς' { 'σ' } else { c }
}

fn is_unseen(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}' | '\u{2060}' | '\u{FEFF}' | '\u{FE00}'..='\u{FE0F}')
}

fn spaced(chars: impl Iterator<Item = char>) -> String {
    let mut folded = String::new();
    for c in chars {
        if !c.is_whitespace() && !c.is_control() {
            folded.push(c);
        } else if !folded.is_empty() && !folded.ends_with(' ') {
            folded.push(' ');
        }
    }
    if folded.ends_with(' ') {
        folded.pop();
    }
    folded
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn what_looks_the_same_is_the_same() {
        for (text, folded) in [
            ("  Hello\t\n World ", "hello world"),
            ("ＡＢＣ１２３！", "abc123!"),
            ("张三\u{3000}你好", "张三 你好"),
            ("ｶﾞ", "ガ"),
            ("Ｅ\u{301}té", "été"),
            ("ΟΔΟΣ", "οδοσ"),
            ("ﬁx", "fix"),
            ("I ❤\u{FE0F} you\0", "i ❤ you"),
            ("zero\u{200B}width", "zerowidth"),
            (" \u{FEFF} \u{A0}", ""),
            ("👩‍👩‍👧", "👩‍👩‍👧"),
        ] {
            assert_eq!(fold(text), folded, "{text:?}");
        }
    }

    #[test]
    fn a_blank_keyword_is_refused() {
        assert!(Search::new("P", " \u{3000}\n").folded().is_err());
        assert_eq!(Search::new("P", " A ").folded().expect("folds"), "a");
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in any::<String>()) {
            let once = fold(&text);
            prop_assert_eq!(&fold(&once), &once);
            // What the indexes of the stores rely on.
            let is_plain = |c: char| {
                let wide = ('\u{FF01}'..='\u{FF5E}').contains(&c);
                c == ' ' || !(wide || c.is_whitespace() || c.is_control() || c.is_ascii_uppercase())
            };
            prop_assert!(once.chars().all(is_plain));
        }
    }
}
