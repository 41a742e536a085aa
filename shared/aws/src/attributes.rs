//! Items as DynamoDB attributes. Top-level attributes of the document are native (numbers `N`, texts `S`, …), so that
//! conditions and changes work on them; keys, index place and expiry sit beside them under the store's own names.
//!
//! DynamoDB normalises numbers: `1.0` comes back as `1`. They carry at most 38 digits.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Number, Value};
use shared::{
    Error, Result,
    store::{Doc, IndexKey, Item, Key},
};

pub(crate) type Attributes = HashMap<String, AttributeValue>;

/// A random mark of one logical write: found on the old item of a refused retry, it shows that the first try was applied.
/// Stripped on reads.
pub(crate) const NONCE: &str = "_n";

const RESERVED: [&str; 6] = ["pk", "sk", "h", "hs", "ttl", NONCE];

/// Fails for names that are the store's own.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if RESERVED.contains(&name) || name.is_empty() {
        return Err(Error::internal(format!("attribute {name:?} is the store's own")));
    }
    Ok(())
}

pub(crate) fn from_value(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(bool) => AttributeValue::Bool(*bool),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(list) => AttributeValue::L(list.iter().map(from_value).collect()),
        Value::Object(map) => {
            AttributeValue::M(map.iter().map(|(name, value)| (name.clone(), from_value(value))).collect())
        }
    }
}

pub(crate) fn to_value(value: AttributeValue) -> Result<Value> {
    Ok(match value {
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Bool(bool) => Value::Bool(bool),
        AttributeValue::N(number) => Value::Number(to_number(&number)?),
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::L(list) => Value::Array(list.into_iter().map(to_value).collect::<Result<_>>()?),
        AttributeValue::M(map) => {
            Value::Object(map.into_iter().map(|(name, value)| Ok((name, to_value(value)?))).collect::<Result<Doc>>()?)
        }
        AttributeValue::B(_) | AttributeValue::Bs(_) | AttributeValue::Ns(_) | AttributeValue::Ss(_) => {
            return Err(Error::internal("an attribute has a type that is never written"));
        }
        // The enum is open; a type that this version does not know was not written by it.
        _ => return Err(Error::internal("an attribute has an unknown type")),
    })
}

fn to_number(text: &str) -> Result<Number> {
    if let Ok(number) = text.parse::<i64>() {
        return Ok(number.into());
    }
    if let Ok(number) = text.parse::<u64>() {
        return Ok(number.into());
    }
    text.parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .ok_or_else(|| Error::internal("a stored number is out of range"))
}

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

pub(crate) fn from_key(key: &Key) -> Attributes {
    HashMap::from([("pk".into(), text(&key.pk)), ("sk".into(), text(&key.sk))])
}

pub(crate) fn from_item(item: &Item) -> Result<Attributes> {
    let mut attributes = from_key(&item.key);
    if let Some(IndexKey { h, hs }) = &item.index {
        attributes.insert("h".into(), text(h));
        attributes.insert("hs".into(), text(hs));
    }
    if let Some(ttl) = item.ttl {
        attributes.insert("ttl".into(), number(ttl));
    }
    for (name, value) in &item.doc {
        check_name(name)?;
        attributes.insert(name.clone(), from_value(value));
    }
    Ok(attributes)
}

pub(crate) fn to_item(mut attributes: Attributes) -> Result<Item> {
    let key = to_key(&mut attributes)?;
    let index = match (take_text(&mut attributes, "h"), take_text(&mut attributes, "hs")) {
        (Some(h), Some(hs)) => Some(IndexKey { h, hs }),
        _ => None,
    };
    let ttl = match attributes.remove("ttl") {
        Some(AttributeValue::N(number)) => number.parse().ok(),
        _ => None,
    };
    attributes.remove(NONCE);
    let doc = attributes.into_iter().map(|(name, value)| Ok((name, to_value(value)?))).collect::<Result<_>>()?;
    Ok(Item { key, index, ttl, doc })
}

fn to_key(attributes: &mut Attributes) -> Result<Key> {
    match (take_text(attributes, "pk"), take_text(attributes, "sk")) {
        (Some(pk), Some(sk)) => Ok(Key { pk, sk }),
        _ => Err(Error::internal("an item came back without its key")),
    }
}

fn take_text(attributes: &mut Attributes, name: &str) -> Option<String> {
    match attributes.remove(name) {
        Some(AttributeValue::S(text)) => Some(text),
        _ => None,
    }
}

/// Whether the item carries this mark.
pub(crate) fn has_nonce(attributes: &Attributes, nonce: &str) -> bool {
    matches!(attributes.get(NONCE), Some(AttributeValue::S(found)) if found == nonce)
}

/// A fresh mark: 64 random bits.
pub(crate) fn nonce() -> Result<String> {
    getrandom::u64().map(|bits| format!("{bits:016x}")).map_err(|error| Error::unavailable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(doc: &Value) -> Item {
        Item::new(Key::new("p", "s"), doc).expect("an object")
    }

    #[test]
    fn an_item_comes_back_as_it_was() {
        let doc = json!({
            "null": null, "yes": true, "zero": 0, "low": i64::MIN, "high": u64::MAX, "half": 0.5,
            "text": "汉字", "empty": "", "list": [1, "a", [], {}], "map": {"ttl": 1, "pk": {"x": null}},
        });
        let mut item = item(&doc).indexed("h1", "hs1");
        item.ttl = Some(1_700_000_000);
        assert_eq!(to_item(from_item(&item).expect("writes")).expect("reads"), item);
    }

    #[test]
    fn documents_keep_out_of_the_stores_names() {
        for name in RESERVED {
            assert!(from_item(&item(&json!({ name: 1 }))).is_err(), "{name}");
        }
    }

    #[test]
    fn the_mark_is_found_and_stripped() {
        let mut attributes = from_item(&item(&json!({"a": 1}))).expect("writes");
        attributes.insert(NONCE.into(), text("abc"));
        assert!(has_nonce(&attributes, "abc") && !has_nonce(&attributes, "abd"));
        assert_eq!(to_item(attributes).expect("reads").doc, *json!({"a": 1}).as_object().expect("an object"));
    }

    #[test]
    fn numbers_are_whole_where_they_can_be() {
        assert_eq!(to_number("18446744073709551615").expect("u64"), Number::from(u64::MAX));
        assert_eq!(to_number("1E+2").expect("f64").as_f64(), Some(100.0));
        assert!(to_number("1e999").is_err());
    }
}
