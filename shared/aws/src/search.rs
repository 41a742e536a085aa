//! Keyword search: a filtered read of the range. DynamoDB has no index over parts of texts, and one of our own would cost about
//! fifty write units a message, where a message may cost two.
//!
//! What a search costs: every item of the range, matching or not, one half-unit (eventually consistent) per 4 KiB, however
//! few are shown: the total is exact, so the range is read to its end. At 700 bytes an item that is 180 half-units per
//! 1,000 messages, about $0.00002. [`PAGES`] bounds it. Requests are one after another: at the bound that is about half a
//! second, and splitting a range of unknown density would read some of it twice.

use shared::{
    Result,
    store::{
        Found, Search, Source,
        search::{ATTRIBUTE, too_broad},
    },
};

use crate::{
    Aws,
    attributes::{self, from_value, text},
    error,
    query::count_half_units,
};

/// Requests of one search at the most. DynamoDB reads 1 MB for each, so that is 10 MB of items (some 15,000 messages) and
/// 2,560 half-units. A search that would have to go on is refused.
const PAGES: usize = 10;
/// Items a page at the most.
const MOST: usize = 1000;

impl Aws {
    pub(crate) async fn search_partition(&self, search: &Search) -> Result<Found> {
        let keyword = search.folded()?;
        let source = Source::Table(search.partition.clone());
        let request = self.filtered(&source, &search.range, false, |places| {
            let attribute = places.name(ATTRIBUTE);
            let contains = format!("contains({attribute}, {})", places.value(text(keyword)));
            Some(match &search.filter {
                Some((name, value)) => {
                    let name = places.name(name);
                    format!("{contains} AND {name} = {}", places.value(from_value(value)))
                }
                None => contains,
            })
        });
        let mut found = Found::default();
        let Some(request) = request else { return Ok(found) };
        let request = request
            .scan_index_forward(!search.newest_first)
            .return_consumed_capacity(aws_sdk_dynamodb::types::ReturnConsumedCapacity::Total);
        let limit = search.limit.clamp(1, MOST);
        let (mut skip, mut from) = (search.skip, None);
        for _ in 0..PAGES {
            let call = request.clone().set_exclusive_start_key(from).send();
            let page = call.await.map_err(|failed| error::failure("Query", &failed))?;
            self.note("search", count_half_units(&page), 0);
            let matches = page.items.unwrap_or_default();
            found.total += matches.len() as u64;
            let wanted = limit - found.items.len();
            let passed = skip.min(matches.len());
            skip -= passed;
            for item in matches.into_iter().skip(passed).take(wanted) {
                found.items.push(attributes::to_item(item)?);
            }
            from = page.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(found);
            }
        }
        Err(too_broad())
    }
}
