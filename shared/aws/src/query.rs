//! Reads: one item, a page of a partition, a count.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::query::{QueryOutput, builders::QueryFluentBuilder},
    types::{AttributeValue, ReturnConsumedCapacity, Select},
};
use shared::{
    Error, Result,
    store::{Cursor, Item, Key, Page, Query, Range, Read, Source, meter},
};

use crate::{
    Aws,
    attributes::{self, Attributes, text},
    condition::Placeholders,
    error, transact,
};

/// The one index.
pub(crate) const INDEX: &str = "hist";
/// Items a page at the most.
const MOST: usize = 1000;

/// Where a walk through a partition starts.
enum Start {
    Front,
    After(Attributes),
    /// Behind the range: there is nothing.
    Nowhere,
}

impl Aws {
    pub(crate) async fn get_item(&self, key: &Key, read: Read) -> Result<Option<Item>> {
        let strong = read == Read::Strong;
        let got = self
            .db
            .get_item()
            .table_name(&self.settings.table)
            .set_key(Some(attributes::from_key(key)))
            .consistent_read(strong)
            .send()
            .await
            .map_err(|failed| error::failure("GetItem", &failed))?;
        let item = got.item.map(attributes::to_item).transpose()?;
        self.note("get", meter::read_half_units(item.as_ref().map_or(0, meter::bytes), strong), 0);
        Ok(item)
    }

    /// Asks for an item that is never there: that needs the table, the network and the credentials, and costs least.
    pub(crate) async fn store_ready(&self) -> Result<()> {
        self.get_item(&Key::new("ready", "."), Read::Eventual).await.map(|_| ())
    }

    pub(crate) async fn read_page(&self, query: Query) -> Result<Page> {
        let strong = query.read == Read::Strong && matches!(query.source, Source::Table(_));
        let Some(request) = self.partition(&query.source, &query.range, strong) else { return Ok(Page::default()) };
        let mut from = match start(&query)? {
            Start::Front => None,
            Start::After(key) => Some(key),
            Start::Nowhere => return Ok(Page::default()),
        };
        let request = request.scan_index_forward(!query.newest_first);
        if query.skip > 0 {
            match self.skip(&request, query.skip, from).await? {
                Some(key) => from = Some(key),
                None => return Ok(Page::default()),
            }
        }

        let request = match (&query.source, query.keys_only) {
            (Source::Table(_), true) => {
                request.projection_expression("pk, sk, h, hs, #ttl").expression_attribute_names("#ttl", "ttl")
            }
            (Source::Table(_), false) | (Source::Index(_), _) => request,
        };
        let limit = query.limit.clamp(1, MOST);
        let mut items: Vec<Item> = Vec::new();
        loop {
            // One more than wanted tells whether this is the end.
            let page = self.ask(&request, limit + 1 - items.len(), from).await?;
            let read: Vec<Item> =
                page.items.unwrap_or_default().into_iter().map(attributes::to_item).collect::<Result<_>>()?;
            let bytes = read.iter().map(meter::bytes).sum();
            self.note("query", meter::read_half_units(bytes, strong), 0);
            items.extend(read);
            from = page.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() || items.len() > limit {
                break;
            }
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).and_then(|last| cursor(&query.source, last));
        if matches!(query.source, Source::Index(_)) && !query.keys_only {
            items = self.documents(items).await?;
        }
        Ok(Page { items, next })
    }

    /// The documents of index entries. The index lags: an entry whose item is gone, or has moved in the index, is left out.
    async fn documents(&self, entries: Vec<Item>) -> Result<Vec<Item>> {
        let keys: Vec<Key> = entries.iter().map(|entry| entry.key.clone()).collect();
        let items = self.batch_read(&keys, Read::Strong).await?;
        let pairs = entries.into_iter().zip(items);
        Ok(pairs.filter_map(|(entry, item)| item.filter(|item| item.index == entry.index)).collect())
    }

    /// Passes over `count` items. `None` if there are no more behind them.
    async fn skip(
        &self,
        request: &QueryFluentBuilder,
        mut count: usize,
        mut from: Option<Attributes>,
    ) -> Result<Option<Attributes>> {
        let request = request.clone().select(Select::Count).return_consumed_capacity(ReturnConsumedCapacity::Total);
        while count > 0 {
            let page = self.ask(&request, count, from).await?;
            self.note("query.skip", count_half_units(&page), 0);
            count = count.saturating_sub(usize::try_from(page.count).unwrap_or(0));
            from = page.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(None);
            }
        }
        Ok(from)
    }

    pub(crate) async fn count_range(&self, source: &Source, range: &Range) -> Result<u64> {
        let strong = matches!(source, Source::Table(_));
        let Some(request) = self.partition(source, range, strong) else { return Ok(0) };
        let request = request.select(Select::Count).return_consumed_capacity(ReturnConsumedCapacity::Total);
        let (mut total, mut from) = (0, None);
        loop {
            let call = request.clone().set_exclusive_start_key(from);
            let page = call.send().await.map_err(|failed| error::failure("Query", &failed))?;
            self.note("count", count_half_units(&page), 0);
            total += u64::try_from(page.count).unwrap_or(0);
            from = page.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(total);
            }
        }
    }

    async fn ask(&self, request: &QueryFluentBuilder, limit: usize, from: Option<Attributes>) -> Result<QueryOutput> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let call = request.clone().limit(limit).set_exclusive_start_key(from);
        call.send().await.map_err(|failed| error::failure("Query", &failed))
    }

    /// A request for the range of a partition; `None` if nothing can be in it.
    fn partition(&self, source: &Source, range: &Range, strong: bool) -> Option<QueryFluentBuilder> {
        self.filtered(source, range, strong, |_| None)
    }

    /// Likewise, with a filter expression, which spares the network what does not match, and no reading.
    pub(crate) fn filtered(
        &self,
        source: &Source,
        range: &Range,
        strong: bool,
        filter: impl FnOnce(&mut Placeholders) -> Option<String>,
    ) -> Option<QueryFluentBuilder> {
        let (partition, names) = match source {
            Source::Table(pk) => (pk, ("pk", "sk")),
            Source::Index(h) => (h, ("h", "hs")),
        };
        let mut places = Placeholders::default();
        let partition = format!("{} = {}", places.name(names.0), places.value(text(partition)));
        let condition = match in_range(range, names.1, &mut places)? {
            Some(range) => format!("{partition} AND {range}"),
            None => partition,
        };
        let filter = filter(&mut places);
        let index = matches!(source, Source::Index(_)).then(|| INDEX.to_owned());
        let request = self
            .db
            .query()
            .table_name(&self.settings.table)
            .set_index_name(index)
            .key_condition_expression(condition)
            .set_filter_expression(filter)
            .set_expression_attribute_names(places.names())
            .set_expression_attribute_values(places.values())
            .consistent_read(strong);
        Some(request)
    }
}

/// `None`: nothing can be in the range. `Some(None)`: everything is. No bound may be an empty text, nor they be crossed.
fn in_range(range: &Range, name: &str, places: &mut Placeholders) -> Option<Option<String>> {
    let value = |bound: &String, places: &mut Placeholders| places.value(text(bound));
    Some(match range {
        Range::All => None,
        Range::Prefix(prefix) if prefix.is_empty() => None,
        Range::Prefix(prefix) => Some(format!("begins_with({}, {})", places.name(name), value(prefix, places))),
        Range::Between(from, to) if from > to || to.is_empty() => return None,
        Range::Between(from, to) if from.is_empty() => Some(format!("{} <= {}", places.name(name), value(to, places))),
        Range::Between(from, to) => {
            let name = places.name(name);
            Some(format!("{name} BETWEEN {} AND {}", value(from, places), value(to, places)))
        }
    })
}

/// The start key for a cursor. Cursors come from users: one outside the range is taken for the edge that it lies beyond,
/// since DynamoDB refuses such a key; one that cannot be a position here is invalid.
fn start(query: &Query) -> Result<Start> {
    let Some(cursor) = &query.after else { return Ok(Start::Front) };
    if !query.range.contains(&cursor.sort) {
        let before = match &query.range {
            Range::All => false,
            Range::Prefix(edge) | Range::Between(edge, _) => cursor.sort.as_str() < edge.as_str(),
        };
        return Ok(if before == query.newest_first { Start::Nowhere } else { Start::Front });
    }
    let invalid = || Error::invalid("cursor", "The cursor is not one of this listing");
    if cursor.sort.is_empty() || cursor.key.pk.is_empty() || cursor.key.sk.is_empty() {
        return Err(invalid());
    }
    let key: HashMap<String, AttributeValue> = match &query.source {
        Source::Table(pk) if *pk != cursor.key.pk || cursor.sort != cursor.key.sk => return Err(invalid()),
        Source::Table(_) => attributes::from_key(&cursor.key),
        Source::Index(h) => {
            let mut key = attributes::from_key(&cursor.key);
            key.insert("h".into(), text(h));
            key.insert("hs".into(), text(&cursor.sort));
            key
        }
    };
    Ok(Start::After(key))
}

fn cursor(source: &Source, last: &Item) -> Option<Cursor> {
    let sort = match source {
        Source::Table(_) => last.key.sk.clone(),
        Source::Index(_) => last.index.as_ref()?.hs.clone(),
    };
    Some(Cursor { sort, key: last.key.clone() })
}

/// Only the service knows the sizes of what it counted.
pub(crate) fn count_half_units(page: &QueryOutput) -> u64 {
    page.consumed_capacity().and_then(|units| transact::consumed(std::slice::from_ref(units), 2.0)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(range: &Range) -> Option<Option<String>> {
        in_range(range, "sk", &mut Placeholders::default())
    }

    #[test]
    fn ranges_that_dynamodb_would_refuse_are_decided_here() {
        assert_eq!(range(&Range::Prefix(String::new())), Some(None));
        assert_eq!(range(&Range::Between("b".into(), "a".into())), None);
        assert_eq!(range(&Range::Between(String::new(), String::new())), None);
        assert_eq!(range(&Range::Between(String::new(), "a".into())), Some(Some("#0 <= :0".into())));
        assert_eq!(range(&Range::Between("a".into(), "a".into())), Some(Some("#0 BETWEEN :0 AND :1".into())));
    }

    #[test]
    fn a_cursor_beyond_an_edge_is_that_edge() {
        let after = |sort: &str| Some(Cursor { sort: sort.into(), key: Key::new("p", sort) });
        let query = Query::table("p").between("b", "d");
        assert!(matches!(start(&query.clone().after(after("a"))), Ok(Start::Front)));
        assert!(matches!(start(&query.clone().after(after("e"))), Ok(Start::Nowhere)));
        assert!(matches!(start(&query.clone().newest_first().after(after("a"))), Ok(Start::Nowhere)));
        assert!(matches!(start(&query.clone().newest_first().after(after("e"))), Ok(Start::Front)));
        assert!(matches!(start(&query.after(after("c"))), Ok(Start::After(_))));
    }

    #[test]
    fn a_cursor_of_another_partition_is_refused() {
        let after = Some(Cursor { sort: "c".into(), key: Key::new("other", "c") });
        assert!(start(&Query::table("p").after(after)).is_err());
    }
}
