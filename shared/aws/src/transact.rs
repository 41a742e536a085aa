//! Transactions: all writes or none, for the few places that need one.

use aws_sdk_dynamodb::{
    error::BuildError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{
        CancellationReason, ConditionCheck, ConsumedCapacity, Delete, Put, ReturnConsumedCapacity,
        ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use shared::{
    Error, Result,
    store::{CommitError, Op, Write, meter},
};

use crate::{
    Aws, attributes,
    condition::{self, Placeholders},
    error, pause, update,
    write::{TRIES, changed},
};

/// DynamoDB's limit.
const MOST: usize = 100;

impl Aws {
    pub(crate) async fn transact_writes(&self, writes: &[Write]) -> Result<(), CommitError> {
        // A check of nothing has no form here; the numbers of the others are kept.
        let (numbers, items): (Vec<usize>, Vec<TransactWriteItem>) = writes
            .iter()
            .enumerate()
            .filter(|(_, write)| !(matches!(write.op, Op::Check(_)) && condition::is_void(&write.cond)))
            .map(|(index, write)| Ok((index, self.transact_item(write)?)))
            .collect::<Result<_>>()?;
        if items.len() > MOST {
            return Err(Error::internal(format!("a transaction of {} writes", items.len())).into());
        }
        if items.is_empty() {
            return Ok(());
        }
        let mut token = attributes::nonce()?;
        let mut attempt = 0;
        loop {
            let result = self
                .db
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(&token)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await;
            attempt += 1;
            let failed = match result {
                Ok(done) => {
                    self.note(
                        "transact",
                        0,
                        consumed(done.consumed_capacity(), 1.0).unwrap_or_else(|| estimate(writes)),
                    );
                    return Ok(());
                }
                Err(failed) => failed,
            };
            self.note("transact.conflict", 0, estimate(writes));
            match failed.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                    match judge(canceled.cancellation_reasons()) {
                        Verdict::Conflict(at, old) => {
                            let old = old.map(attributes::to_item).transpose()?.map(Box::new);
                            return Err(CommitError::Conflict { which: numbers[at], old });
                        }
                        Verdict::Bug(code) => {
                            return Err(Error::internal(format!("TransactWriteItems: {code}")).into());
                        }
                        Verdict::Busy if attempt < TRIES => {
                            // It certainly did not happen, so the next try is a new request.
                            token = attributes::nonce()?;
                            pause(attempt).await;
                        }
                        Verdict::Busy => {
                            return Err(
                                Error::unavailable("TransactWriteItems: other transactions are in the way").into()
                            );
                        }
                    }
                }
                // The first try is still under way: the same token waits for its outcome.
                Some(TransactWriteItemsError::TransactionInProgressException(_)) if attempt < TRIES => {
                    pause(attempt).await;
                }
                _ => return Err(error::failure("TransactWriteItems", &failed).into()),
            }
        }
    }

    fn transact_item(&self, write: &Write) -> Result<TransactWriteItem> {
        if write.stamp.is_some() {
            return Err(Error::internal("a transaction appends nothing that a stamp could point at"));
        }
        let table = &self.settings.table;
        let old = ReturnValuesOnConditionCheckFailure::AllOld;
        let mut places = Placeholders::default();
        let item = TransactWriteItem::builder();
        let built = match &write.op {
            Op::Put(new) => {
                let condition = condition::expression(&write.cond, &mut places);
                Put::builder()
                    .table_name(table)
                    .set_item(Some(attributes::from_item(new)?))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(places.names())
                    .set_expression_attribute_values(places.values())
                    .return_values_on_condition_check_failure(old)
                    .build()
                    .map(|put| item.put(put))
            }
            Op::Update(key, change) => {
                // Unlike UpdateItem, a transaction wants an expression: the key's own absence is the smallest one.
                let expression = match update::expression(change, None, &mut places)? {
                    Some(expression) => expression,
                    None => format!("REMOVE {}", places.name(attributes::NONCE)),
                };
                let condition = condition::expression(&write.cond, &mut places);
                Update::builder()
                    .table_name(table)
                    .set_key(Some(attributes::from_key(key)))
                    .update_expression(expression)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(places.names())
                    .set_expression_attribute_values(places.values())
                    .return_values_on_condition_check_failure(old)
                    .build()
                    .map(|update| item.update(update))
            }
            Op::Delete(key) => {
                let condition = condition::expression(&write.cond, &mut places);
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(attributes::from_key(key)))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(places.names())
                    .set_expression_attribute_values(places.values())
                    .return_values_on_condition_check_failure(old)
                    .build()
                    .map(|delete| item.delete(delete))
            }
            Op::Check(key) => {
                let condition = condition::expression(&write.cond, &mut places);
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(attributes::from_key(key)))
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(places.names())
                    .set_expression_attribute_values(places.values())
                    .return_values_on_condition_check_failure(old)
                    .build()
                    .map(|check| item.condition_check(check))
            }
        };
        Ok(built.map_err(incomplete)?.build())
    }
}

/// A request of ours lacks a required part.
pub(crate) fn incomplete(error: BuildError) -> Error {
    Error::internal(error)
}

/// What the reasons of a cancelled transaction come to.
enum Verdict {
    /// Position among the items sent, and the item as it was found.
    Conflict(usize, Option<attributes::Attributes>),
    /// Another transaction, or a throttle.
    Busy,
    Bug(String),
}

fn judge(reasons: &[CancellationReason]) -> Verdict {
    let mut verdict = Verdict::Busy;
    for (at, reason) in reasons.iter().enumerate() {
        match reason.code() {
            Some("ConditionalCheckFailed") => {
                return Verdict::Conflict(at, reason.item.clone().filter(|old| !old.is_empty()));
            }
            Some(code @ ("ValidationError" | "ItemCollectionSizeLimitExceeded")) => verdict = Verdict::Bug(code.into()),
            _ => {}
        }
    }
    verdict
}

/// Units that the service reports, if it does, in parts of `1 / parts`.
pub(crate) fn consumed(capacity: &[ConsumedCapacity], parts: f64) -> Option<u64> {
    let units = parts * capacity.iter().filter_map(ConsumedCapacity::capacity_units).sum::<f64>();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive count")]
    (units > 0.0).then(|| units.ceil() as u64)
}

/// Twice what the writes would cost alone, as far as their sizes are known here.
fn estimate(writes: &[Write]) -> u64 {
    let units = |write: &Write| match &write.op {
        Op::Put(item) => meter::write_units(None, Some(item)),
        Op::Update(key, change) => meter::write_units(None, Some(&changed(key, None, change))),
        Op::Delete(_) | Op::Check(_) => 1,
    };
    writes.iter().map(|write| 2 * units(write)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &str) -> CancellationReason {
        CancellationReason::builder().code(code).build()
    }

    #[test]
    fn a_failed_condition_outweighs_a_busy_item() {
        let reasons = [reason("TransactionConflict"), reason("None"), reason("ConditionalCheckFailed")];
        assert!(matches!(judge(&reasons), Verdict::Conflict(2, None)));
        assert!(matches!(judge(&reasons[..2]), Verdict::Busy));
        assert!(matches!(judge(&[reason("ValidationError")]), Verdict::Bug(_)));
    }
}
