//! Keyword search: an index over pairs of characters, kept by the writer in the transaction of the item it belongs to.
//!
//! | table | what it holds |
//! |---|---|
//! | `search_parts` | a number for each partition that has searchable items |
//! | `search_rows` | a number for each searchable item, and where it is |
//! | `search_grams` | FTS5 without contents: which of those numbers have which pair of characters |
//!
//! FTS5's own `trigram` finds nothing below three characters, and Chinese is searched for by two, or one. Here a text is
//! indexed by its overlapping pairs, each under the number of its partition ([`grams`]), so that what others have written is
//! not even passed over. One or two characters are answered by the index alone; for more, a candidate has every pair of the
//! keyword and is then read. Items without the attribute never come here.

mod find;
mod grams;
mod index;

#[cfg(test)]
mod tests;

pub(crate) use find::search;
pub(crate) use index::{changed, rebuild, removed};
use shared::store::{Item, search::ATTRIBUTE};

/// What of an item is searched.
pub(crate) fn text(item: Option<&Item>) -> Option<&str> {
    item?.str(ATTRIBUTE)
}
