//! A unit of work, step by step, in the order of AWS.

use std::collections::HashMap;

use serde_json::Value;

use super::Chaos;
use crate::{
    error::{Error, Result},
    store::{Append, Cause, CommitError, Committed, Op, Stamp, Unit, Write, log},
};

impl Chaos {
    /// The unit as AWS does it: see [`Unit`].
    pub(super) async fn serial(&self, unit: Unit) -> Result<Committed, CommitError> {
        let Unit { writes, append, enqueue, done } = unit;
        // The numbers are predicted before the first write. Whoever redoes this unit while it hangs between two steps appends
        // behind that, so the look-up that starts there finds it.
        let mut predicted = Committed::default();
        let mut tails: HashMap<&str, u64> = HashMap::new();
        let mut starts = Vec::new();
        for append in &append {
            let before = match tails.get(append.log.as_str()) {
                Some(seq) => *seq,
                None => self.store.tail(&append.log).await?.seq,
            };
            let (seqs, tail) = self.predict(append, before).await?;
            tails.insert(&append.log, tail);
            starts.push(before + 1);
            predicted.seqs.push(seqs);
        }
        for (which, mut write) in writes.into_iter().enumerate() {
            if let Some((attribute, stamp)) = write.stamp.take() {
                stamp_write(&mut write, attribute, seq_of(&predicted, stamp)?);
            }
            self.lag(&write).await?;
            match self.store.commit(Unit::write(write)).await {
                Ok(_) => self.after()?,
                Err(CommitError::Conflict { old, .. }) => return Err(CommitError::Conflict { which, old }),
                Err(other) => return Err(other),
            }
        }
        let mut committed = Committed::default();
        for (mut append, start) in append.into_iter().zip(starts) {
            append.look_from = append.look_from.or(Some(start));
            let one = self.store.commit(Unit { append: vec![append], ..Unit::default() }).await?;
            committed.seqs.extend(one.seqs);
            self.after()?;
        }
        for mut message in enqueue {
            if let Some(stamp) = message.stamp.take() {
                let seq = seq_of(&committed, stamp)?;
                message.body.insert("seq".to_owned(), Value::from(seq));
                message.dedup = format!("{}/{seq}", message.dedup);
            }
            self.queues.send(vec![message]).await?;
            self.after()?;
        }
        match done {
            Some(Cause::Message(receipt)) => self.acknowledge(&receipt).await?,
            Some(Cause::Row(key)) => drop(self.store.commit(Unit::write(Write::delete(key))).await?),
            None => return Ok(committed),
        }
        self.after()?;
        Ok(committed)
    }

    /// The numbers that the entries get if nobody comes between, and the tail after them.
    async fn predict(&self, append: &Append, tail: u64) -> Result<(Vec<u64>, u64)> {
        let keys: Vec<&str> = append.entries.iter().map(|entry| entry.key.as_str()).collect();
        let found = match append.look_from {
            Some(from) => log::find(&*self.store, &append.log, from, &keys).await?,
            None => HashMap::new(),
        };
        let mut tail = tail;
        let seqs = keys
            .iter()
            .map(|key| {
                found.get(*key).copied().unwrap_or_else(|| {
                    tail += 1;
                    tail
                })
            })
            .collect();
        Ok((seqs, tail))
    }
}

fn seq_of(committed: &Committed, stamp: Stamp) -> Result<u64> {
    committed
        .seqs
        .get(stamp.append)
        .and_then(|seqs| seqs.get(stamp.entry))
        .copied()
        .ok_or_else(|| Error::internal(format!("{stamp:?} points at no entry of the unit")))
}

fn stamp_write(write: &mut Write, attribute: String, seq: u64) {
    match &mut write.op {
        Op::Put(item) => {
            item.doc.insert(attribute, Value::from(seq));
        }
        Op::Update(_, change) => change.set.push((attribute, Value::from(seq))),
        Op::Delete(_) | Op::Check(_) => {}
    }
}
