//! What is read: ranges, queries, pages and their cursors.

use serde::{Deserialize, Serialize};

use super::{Item, Key};

/// Consistency of a read. Locally all reads are strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    Strong,
    Eventual,
}

/// Part of a partition, by sort key, both ends inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Range {
    #[default]
    All,
    Prefix(String),
    /// From, to.
    Between(String, String),
}

impl Range {
    pub fn contains(&self, sort: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => sort.starts_with(prefix.as_str()),
            Self::Between(from, to) => from.as_str() <= sort && sort <= to.as_str(),
        }
    }
}

/// What a query reads: a partition of the table, or of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Items by `sk`.
    Table(String),
    /// Items by `hs`. Eventually consistent on AWS.
    Index(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub source: Source,
    pub range: Range,
    pub newest_first: bool,
    /// 1..=1000 items a page.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// Items to pass over, counted after `after`.
    pub skip: usize,
    /// Without documents: on the index that is all it holds. With: documents are fetched (strongly) for each index entry.
    pub keys_only: bool,
    pub read: Read,
}

impl Query {
    pub fn table(pk: impl Into<String>) -> Self {
        Self::of(Source::Table(pk.into()))
    }

    pub fn index(h: impl Into<String>) -> Self {
        Self::of(Source::Index(h.into()))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            range: Range::All,
            newest_first: false,
            limit: 100,
            after: None,
            skip: 0,
            keys_only: false,
            read: Read::Strong,
        }
    }

    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.range = Range::Prefix(prefix.into());
        self
    }

    #[must_use]
    pub fn between(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.range = Range::Between(from.into(), to.into());
        self
    }

    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    #[must_use]
    pub fn skip(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    #[must_use]
    pub fn after(mut self, cursor: Option<Cursor>) -> Self {
        self.after = cursor;
        self
    }

    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }
}

/// Where a page ended: the last item's sort value and key. Opaque to users (base64url of its JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// `sk` on the table, `hs` on the index.
    #[serde(rename = "s")]
    pub sort: String,
    #[serde(rename = "k")]
    pub key: Key,
}

impl Cursor {
    pub fn encode(&self) -> String {
        use base64::Engine as _;
        let json = serde_json::to_vec(self).unwrap_or_default();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
    }

    /// `None` for anything that `encode` did not make.
    pub fn decode(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    pub items: Vec<Item>,
    /// `None` when there is nothing more.
    pub next: Option<Cursor>,
}
