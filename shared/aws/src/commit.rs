//! The unit of work on AWS: writes, then appends, then queue messages, then the end of what caused it, each step
//! idempotent. A unit that stops half-way is redone by whoever finds its cause still there.

use std::collections::HashSet;

use futures_util::future::try_join_all;
use shared::{
    Error, Result,
    store::{Cause, CommitError, Committed, Cond, Enqueue, Op, Stamp, Unit, Write},
};

use crate::{Aws, send::Outgoing};

/// Unconditional writes under way at once.
const PARALLEL: usize = 16;

impl Aws {
    pub(crate) async fn commit_unit(&self, unit: Unit) -> Result<Committed, CommitError> {
        let Unit { writes, append, enqueue, done } = unit;
        check(&writes, &enqueue, |stamp| {
            append.get(stamp.append).is_some_and(|append| stamp.entry < append.entries.len())
        })?;
        for append in &append {
            self.check_fence(append)?;
        }
        let stamped = writes.iter().any(|write| write.stamp.is_some());
        let predicted = if stamped { self.predict(&append).await? } else { Vec::new() };
        self.write_in_order(&writes, &predicted).await?;

        let mut seqs = Vec::with_capacity(append.len());
        for (at, append) in append.iter().enumerate() {
            seqs.push(self.append(append, predicted.get(at).map(Vec::as_slice)).await?);
        }

        let messages = enqueue
            .into_iter()
            .map(|message| {
                let seq = message.stamp.map(|at| seqs[at.append][at.entry]);
                Ok((message.queue, Outgoing::new(message, seq)?))
            })
            .collect::<Result<Vec<_>>>()?;
        self.send_outgoing(messages).await?;
        self.settle(&append);

        // All effects are durable. What caused them comes again where it cannot be removed, finds them, and is removed then.
        match done {
            Some(Cause::Message(receipt)) => {
                if let Err(error) = self.delete_message(&receipt).await {
                    let cause = error.source.as_deref().map(tracing::field::display);
                    let queue = receipt.queue.name();
                    tracing::warn!(queue, cause, "a message is done, but not acknowledged: it will be delivered again");
                }
            }
            Some(Cause::Row(key)) => {
                if let Err(refused) = self.write_one(&Write::delete(key), None).await {
                    tracing::warn!(error = %refused.at(0), "a row is done with, but still there: it will be looked at again");
                }
            }
            None => {}
        }
        Ok(Committed { seqs })
    }

    /// The first write is the gate, so it goes alone; after it, unconditional writes of different items may go together,
    /// since nothing can keep the later ones from happening.
    async fn write_in_order(&self, writes: &[Write], predicted: &[Vec<u64>]) -> Result<(), CommitError> {
        let mut at = 0;
        while at < writes.len() {
            let together = if at == 0 { 1 } else { independent(&writes[at..]) };
            let run = writes.iter().enumerate().skip(at).take(together);
            try_join_all(run.map(async |(which, write)| {
                let stamp = write.stamp.as_ref().map(|(_, stamp)| predicted[stamp.append][stamp.entry]);
                self.write_one(write, stamp).await.map_err(|refused| refused.at(which))
            }))
            .await?;
            at += together;
        }
        Ok(())
    }
}

/// How many writes from the front may go together; at least one.
fn independent(writes: &[Write]) -> usize {
    let mut keys = HashSet::new();
    let free = writes.iter().take(PARALLEL).take_while(|write| write.cond == Cond::Always && keys.insert(write.key()));
    free.count().max(1)
}

/// Refuses, before anything is done, what could only fail half-way.
fn check(writes: &[Write], enqueue: &[Enqueue], has: impl Fn(Stamp) -> bool) -> Result<()> {
    let stamps = writes.iter().filter_map(|write| write.stamp.as_ref().map(|(_, stamp)| *stamp));
    if let Some(stamp) = stamps.chain(enqueue.iter().filter_map(|message| message.stamp)).find(|stamp| !has(*stamp)) {
        return Err(Error::internal(format!("{stamp:?} points at no entry of the unit")));
    }
    if let Some(write) = writes.iter().find(|write| matches!(write.op, Op::Check(_))) {
        return Err(Error::internal(format!("check of {} outside a transaction", write.key())));
    }
    if let Some(write) = writes.iter().find(|write| matches!(write.op, Op::Delete(_)) && write.stamp.is_some()) {
        return Err(Error::internal(format!("nothing of {} is there to be stamped", write.key())));
    }
    enqueue.iter().try_for_each(crate::send::check)
}

#[cfg(test)]
mod tests {
    use shared::store::{Item, Key};

    use super::*;

    fn put(sk: &str) -> Write {
        Write::put(Item { key: Key::new("p", sk), index: None, ttl: None, doc: Default::default() })
    }

    #[test]
    fn only_unconditional_writes_of_different_items_go_together() {
        let conditional = put("c").only_if(Cond::Exists);
        assert_eq!(independent(&[put("a"), put("b"), conditional.clone()]), 2);
        assert_eq!(independent(&[put("a"), put("a")]), 1);
        assert_eq!(independent(&[conditional, put("a")]), 1);
    }

    #[test]
    fn a_stamp_must_point_at_an_entry() {
        let stamped = [put("a").stamped("seq", Stamp::FIRST)];
        assert!(check(&stamped, &[], |_| true).is_ok());
        assert!(check(&stamped, &[], |_| false).is_err());
        assert!(check(&[Write::check(Key::new("p", "s"), Cond::Exists)], &[], |_| true).is_err());
    }
}
