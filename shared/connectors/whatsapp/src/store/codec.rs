//! How state lies in values: MessagePack with named fields, so that a field which is new to a type is no new format.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::Failure;

pub(crate) fn encode(value: &impl Serialize) -> Bytes {
    Bytes::from(rmp_serde::to_vec_named(value).expect("plain data without foreign errors always encodes"))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    rmp_serde::from_slice(bytes).map_err(|error| Failure::Serialization(Box::new(error)))
}
