//! One write of one item: PutItem, UpdateItem or DeleteItem.
//!
//! A conditional write carries a mark of its own ([`NONCE`]). When the SDK repeats a request whose answer was lost, the
//! condition of the repetition fails on our own first try; the mark on the old item then tells success from a conflict.

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError},
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use shared::{
    Error, Result,
    store::{Change, CommitError, Cond, Item, Key, Op, Write, meter},
};

use crate::{
    Aws,
    attributes::{self, Attributes, NONCE},
    condition::{self, Placeholders},
    error, pause, update,
};

/// Tries of a write that a transaction on the same item keeps out.
pub(crate) const TRIES: u32 = 6;

/// Why a write did not happen.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The condition does not hold for the item as it was found.
    Condition(Option<Box<Item>>),
    Failed(Error),
}

impl Refused {
    /// As the answer to write `which` of a unit.
    pub(crate) fn at(self, which: usize) -> CommitError {
        match self {
            Self::Condition(old) => CommitError::Conflict { which, old },
            Self::Failed(error) => CommitError::Store(error),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The errors of the three operations, as far as they have the refusal of a condition in common.
trait Rejection: ProvideErrorMetadata {
    /// `Some(old)` if the condition did not hold.
    fn refused(&self) -> Option<Option<Attributes>>;
}

macro_rules! rejections {
    ($($error:ident),*) => {$(
        impl Rejection for $error {
            fn refused(&self) -> Option<Option<Attributes>> {
                match self {
                    Self::ConditionalCheckFailedException(refused) => Some(refused.item.clone()),
                    _ => None,
                }
            }
        }
    )*};
}

rejections!(PutItemError, UpdateItemError, DeleteItemError);

/// Calls until no transaction is in the way.
async fn unhindered<T, E, F>(call: impl Fn() -> F) -> Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    let mut attempt = 0;
    loop {
        match call().await {
            Err(error) if attempt + 1 < TRIES && error::code(&error) == Some("TransactionConflictException") => {
                attempt += 1;
                pause(attempt).await;
            }
            other => return other,
        }
    }
}

/// The write with the predicted sequence number in place.
fn stamped(write: &Write, stamp: Option<u64>) -> Result<Op> {
    let mut op = write.op.clone();
    if let (Some((attribute, _)), Some(seq)) = (&write.stamp, stamp) {
        match &mut op {
            Op::Put(item) => {
                item.doc.insert(attribute.clone(), seq.into());
            }
            Op::Update(_, change) => change.set.push((attribute.clone(), seq.into())),
            Op::Delete(key) | Op::Check(key) => {
                return Err(Error::internal(format!("nothing of {key} is there to be stamped")));
            }
        }
    }
    Ok(op)
}

impl Aws {
    /// Does one write of a unit; `stamp` is the predicted sequence number for the attribute that the write names.
    pub(crate) async fn write_one(&self, write: &Write, stamp: Option<u64>) -> Result<(), Refused> {
        match stamped(write, stamp)? {
            Op::Put(item) => self.put(&item, &write.cond, "commit.put").await,
            Op::Update(key, change) => self.update(&key, &change, &write.cond).await,
            Op::Delete(key) => self.delete_item(&key, &write.cond).await,
            Op::Check(key) => Err(Error::internal(format!("check of {key} outside a transaction")).into()),
        }
    }

    pub(crate) async fn put(&self, item: &Item, cond: &Cond, operation: &'static str) -> Result<(), Refused> {
        let nonce = mark(cond)?;
        let mut attributes = attributes::from_item(item)?;
        if let Some(nonce) = &nonce {
            attributes.insert(NONCE.into(), attributes::text(nonce));
        }
        let mut places = Placeholders::default();
        let request = self
            .db
            .put_item()
            .table_name(&self.settings.table)
            .set_item(Some(attributes))
            .set_condition_expression(condition::expression(cond, &mut places))
            .set_expression_attribute_names(places.names())
            .set_expression_attribute_values(places.values())
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match unhindered(|| request.clone().send()).await {
            Ok(done) => {
                let old = done.attributes.map(attributes::to_item).transpose()?;
                self.note(operation, 0, meter::write_units(old.as_ref(), Some(item)));
                Ok(())
            }
            Err(error) => self.refused("PutItem", operation, &error, nonce.as_deref()),
        }
    }

    async fn update(&self, key: &Key, change: &Change, cond: &Cond) -> Result<(), Refused> {
        let nonce = mark(cond)?;
        let mut places = Placeholders::default();
        let expression = update::expression(change, nonce.as_deref(), &mut places)?;
        let request = self
            .db
            .update_item()
            .table_name(&self.settings.table)
            .set_key(Some(attributes::from_key(key)))
            .set_update_expression(expression)
            .set_condition_expression(condition::expression(cond, &mut places))
            .set_expression_attribute_names(places.names())
            .set_expression_attribute_values(places.values())
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match unhindered(|| request.clone().send()).await {
            Ok(done) => {
                let old = done.attributes.filter(|old| !old.is_empty()).map(attributes::to_item).transpose()?;
                let new = changed(key, old.as_ref(), change);
                self.note("commit.update", 0, meter::write_units(old.as_ref(), Some(&new)));
                Ok(())
            }
            Err(error) => self.refused("UpdateItem", "commit.update", &error, nonce.as_deref()),
        }
    }

    async fn delete_item(&self, key: &Key, cond: &Cond) -> Result<(), Refused> {
        let mut places = Placeholders::default();
        let request = self
            .db
            .delete_item()
            .table_name(&self.settings.table)
            .set_key(Some(attributes::from_key(key)))
            .set_condition_expression(condition::expression(cond, &mut places))
            .set_expression_attribute_names(places.names())
            .set_expression_attribute_values(places.values())
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match unhindered(|| request.clone().send()).await {
            Ok(done) => {
                let old = done.attributes.filter(|old| !old.is_empty()).map(attributes::to_item).transpose()?;
                self.note("commit.delete", 0, meter::write_units(old.as_ref(), None));
                Ok(())
            }
            Err(error) => self.refused("DeleteItem", "commit.delete", &error, None),
        }
    }

    /// Success after all if the old item is our own, else a conflict, else a failure.
    fn refused<E: Rejection>(
        &self,
        call: &'static str,
        operation: &'static str,
        error: &SdkError<E, HttpResponse>,
        nonce: Option<&str>,
    ) -> Result<(), Refused> {
        let Some(old) = error.as_service_error().and_then(Rejection::refused) else {
            return Err(error::failure(call, error).into());
        };
        let old = old.filter(|old| !old.is_empty());
        let own = old.as_ref().zip(nonce).is_some_and(|(old, nonce)| attributes::has_nonce(old, nonce));
        let old = old.map(attributes::to_item).transpose()?;
        // A refused write is charged by the size of what is there.
        let units = meter::write_units(old.as_ref(), old.as_ref());
        if own {
            self.note(operation, 0, units);
            return Ok(());
        }
        self.note("commit.conflict", 0, units);
        Err(Refused::Condition(old.map(Box::new)))
    }
}

/// A mark for a conditional write; an unconditional one may be repeated as it is.
fn mark(cond: &Cond) -> Result<Option<String>> {
    if *cond == Cond::Always { Ok(None) } else { attributes::nonce().map(Some) }
}

/// The item after the change.
pub(crate) fn changed(key: &Key, old: Option<&Item>, change: &Change) -> Item {
    let mut item =
        old.cloned().unwrap_or_else(|| Item { key: key.clone(), index: None, ttl: None, doc: Default::default() });
    change.apply(&mut item.doc);
    if let Some(index) = &change.index {
        item.index.clone_from(index);
    }
    item.ttl = change.ttl.or(item.ttl);
    item
}
