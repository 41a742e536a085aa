//! Batches: many reads or unconditional writes in few requests, in no order, not atomic.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::{DeleteRequest, KeysAndAttributes, PutRequest, ReturnConsumedCapacity, WriteRequest};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use shared::{
    Error, Result,
    store::{Cond, Item, Key, Op, Read, Write, meter},
};

use crate::{
    Aws, attributes,
    attributes::Attributes,
    error, pause,
    transact::{consumed, incomplete},
    write::Refused,
};

/// DynamoDB's limits per request.
const WRITES: usize = 25;
const READS: usize = 100;
/// Requests under way at once.
const PARALLEL: usize = 4;
/// Rounds for what a request left unprocessed.
const ROUNDS: u32 = 8;

impl Aws {
    pub(crate) async fn batch_write(&self, writes: &[Write]) -> Result<()> {
        if writes.iter().any(|write| write.cond != Cond::Always || write.stamp.is_some()) {
            return Err(Error::internal("write_many takes unconditional writes without stamps only"));
        }
        // Updates have no batch form, and a batch must not name an item twice: these go one by one, in their order.
        let mut seen = HashSet::new();
        let (batched, single): (Vec<&Write>, Vec<&Write>) =
            writes.iter().partition(|write| seen.insert(write.key()) && matches!(write.op, Op::Put(_) | Op::Delete(_)));
        stream::iter(batched.chunks(WRITES).map(Ok))
            .try_for_each_concurrent(PARALLEL, |chunk| self.write_chunk(chunk))
            .await?;
        for write in single {
            self.write_one(write, None).await.map_err(|refused| match refused {
                Refused::Failed(error) => error,
                Refused::Condition(_) => Error::internal("an unconditional write was refused"),
            })?;
        }
        Ok(())
    }

    async fn write_chunk(&self, chunk: &[&Write]) -> Result<()> {
        let requests: Vec<WriteRequest> = chunk.iter().map(|write| write_request(write)).collect::<Result<_>>()?;
        let mut left = HashMap::from([(self.settings.table.clone(), requests)]);
        let estimate = chunk.iter().map(|write| estimate(write)).sum();
        for round in 0..ROUNDS {
            let done = self
                .db
                .batch_write_item()
                .set_request_items(Some(left))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|failed| error::failure("BatchWriteItem", &failed))?;
            let units = consumed(done.consumed_capacity(), 1.0).unwrap_or(if round == 0 { estimate } else { 0 });
            self.note("write_many", 0, units);
            left = done.unprocessed_items.unwrap_or_default();
            left.retain(|_, requests| !requests.is_empty());
            if left.is_empty() {
                return Ok(());
            }
            pause(round + 1).await;
        }
        Err(Error::unavailable("BatchWriteItem: items stay unprocessed"))
    }

    pub(crate) async fn batch_read(&self, keys: &[Key], read: Read) -> Result<Vec<Option<Item>>> {
        let mut unique: Vec<&Key> = keys.iter().collect();
        unique.sort_unstable();
        unique.dedup();
        let chunks: Vec<Vec<Attributes>> =
            unique.chunks(READS).map(|chunk| chunk.iter().map(|key| attributes::from_key(key)).collect()).collect();
        let found: HashMap<Key, Item> = stream::iter(chunks.into_iter().map(|chunk| self.read_chunk(chunk, read)))
            .buffer_unordered(PARALLEL)
            .try_fold(HashMap::with_capacity(unique.len()), async |mut all, items| {
                all.extend(items.into_iter().map(|item| (item.key.clone(), item)));
                Ok(all)
            })
            .await?;
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn read_chunk(&self, mut left: Vec<Attributes>, read: Read) -> Result<Vec<Item>> {
        let strong = read == Read::Strong;
        let table = &self.settings.table;
        let mut items = Vec::with_capacity(left.len());
        for round in 0..ROUNDS {
            let asked = left.len();
            let keys = KeysAndAttributes::builder()
                .set_keys(Some(left))
                .consistent_read(strong)
                .build()
                .map_err(incomplete)?;
            let done = self
                .db
                .batch_get_item()
                .request_items(table, keys)
                .send()
                .await
                .map_err(|failed| error::failure("BatchGetItem", &failed))?;
            left =
                done.unprocessed_keys.and_then(|mut keys| keys.remove(table)).map(|keys| keys.keys).unwrap_or_default();
            let before = items.len();
            for attributes in done.responses.and_then(|mut tables| tables.remove(table)).unwrap_or_default() {
                items.push(attributes::to_item(attributes)?);
            }
            let (got, processed) = (&items[before..], asked - left.len());
            let units: u64 = got.iter().map(|item| meter::read_half_units(meter::bytes(item), strong)).sum();
            let missing = processed.saturating_sub(got.len()) as u64;
            self.note("batch_get", units + missing * meter::read_half_units(0, strong), 0);
            if left.is_empty() {
                return Ok(items);
            }
            pause(round + 1).await;
        }
        Err(Error::unavailable("BatchGetItem: keys stay unprocessed"))
    }
}

fn write_request(write: &Write) -> Result<WriteRequest> {
    let request = WriteRequest::builder();
    Ok(match &write.op {
        Op::Put(item) => request.put_request(
            PutRequest::builder().set_item(Some(attributes::from_item(item)?)).build().map_err(incomplete)?,
        ),
        Op::Delete(key) => request.delete_request(
            DeleteRequest::builder().set_key(Some(attributes::from_key(key))).build().map_err(incomplete)?,
        ),
        Op::Update(key, _) | Op::Check(key) => {
            return Err(Error::internal(format!("the write of {key} has no batch form")));
        }
    }
    .build())
}

/// Units of a batched write as far as its size is known here.
fn estimate(write: &Write) -> u64 {
    match &write.op {
        Op::Put(item) => meter::write_units(None, Some(item)),
        Op::Update(..) | Op::Delete(_) | Op::Check(_) => 1,
    }
}
