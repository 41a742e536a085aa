//! [`Change`] as an update expression with the meaning of [`Change::apply`].

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use shared::{
    Result,
    store::{Change, IndexKey},
};

use crate::{
    attributes::{check_name, from_value, number, text},
    condition::Placeholders,
};

/// What happens to one attribute in the end. An expression may name each only once.
enum Action {
    Set(AttributeValue),
    Remove,
    Add(i64),
}

/// The expression, or `None` if nothing changes (the item is still created if it is not there).
pub(crate) fn expression(change: &Change, nonce: Option<&str>, places: &mut Placeholders) -> Result<Option<String>> {
    let mut sets = Vec::new();
    let mut removes = Vec::new();
    let mut adds = Vec::new();
    for (name, action) in actions(change, nonce)? {
        let name = places.name(&name);
        match action {
            Action::Set(value) => sets.push(format!("{name} = {}", places.value(value))),
            Action::Remove => removes.push(name),
            Action::Add(by) => adds.push(format!("{name} {}", places.value(number(by)))),
        }
    }
    let clauses: Vec<String> = [("SET", sets), ("REMOVE", removes), ("ADD", adds)]
        .into_iter()
        .filter(|(_, parts)| !parts.is_empty())
        .map(|(word, parts)| format!("{word} {}", parts.join(", ")))
        .collect();
    Ok((!clauses.is_empty()).then(|| clauses.join(" ")))
}

/// Folds the three lists in the order in which [`Change::apply`] does them.
fn actions(change: &Change, nonce: Option<&str>) -> Result<BTreeMap<String, Action>> {
    let mut actions = BTreeMap::new();
    for (name, value) in &change.set {
        check_name(name)?;
        actions.insert(name.clone(), Action::Set(from_value(value)));
    }
    for name in &change.remove {
        check_name(name)?;
        actions.insert(name.clone(), Action::Remove);
    }
    for (name, by) in &change.add {
        check_name(name)?;
        let action = match actions.get(name) {
            Some(Action::Set(AttributeValue::N(old))) => Action::Set(number(old.parse().unwrap_or(0) + by)),
            Some(Action::Set(_) | Action::Remove) => Action::Set(number(*by)),
            Some(Action::Add(before)) => Action::Add(before + by),
            None => Action::Add(*by),
        };
        actions.insert(name.clone(), action);
    }
    match &change.index {
        Some(Some(IndexKey { h, hs })) => {
            actions.insert("h".into(), Action::Set(text(h)));
            actions.insert("hs".into(), Action::Set(text(hs)));
        }
        Some(None) => {
            actions.insert("h".into(), Action::Remove);
            actions.insert("hs".into(), Action::Remove);
        }
        None => {}
    }
    if let Some(ttl) = change.ttl {
        actions.insert("ttl".into(), Action::Set(number(ttl)));
    }
    if let Some(nonce) = nonce {
        actions.insert(crate::attributes::NONCE.into(), Action::Set(text(nonce)));
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(change: &Change) -> Option<String> {
        expression(change, None, &mut Placeholders::default()).expect("a lawful change")
    }

    #[test]
    fn each_kind_of_change_has_its_clause() {
        let mut change = Change::default().set("b", "x").add("n", 2).remove("c");
        assert_eq!(text(&change).as_deref(), Some("SET #0 = :0 REMOVE #1 ADD #2 :1"));
        change = Change { index: Some(Some(IndexKey { h: "1".into(), hs: "2".into() })), ..Change::default() };
        assert_eq!(text(&change).as_deref(), Some("SET #0 = :0, #1 = :1"));
        change.index = Some(None);
        assert_eq!(text(&change).as_deref(), Some("REMOVE #0, #1"));
        assert_eq!(text(&Change::default()), None);
    }

    #[test]
    fn an_attribute_is_named_once_and_ends_as_apply_leaves_it() {
        assert_eq!(text(&Change::default().set("a", 1).set("a", 2)).as_deref(), Some("SET #0 = :0"));
        assert_eq!(text(&Change::default().set("a", 1).remove("a")).as_deref(), Some("REMOVE #0"));
        assert_eq!(text(&Change::default().add("a", 1).add("a", 2)).as_deref(), Some("ADD #0 :0"));
        let mut places = Placeholders::default();
        let change = Change::default().set("a", 5).add("a", 2);
        expression(&change, None, &mut places).expect("a lawful change");
        assert_eq!(places.values().expect("one")[":0"], number(7));
    }

    #[test]
    fn the_stores_own_attributes_are_out_of_reach() {
        for change in [Change::default().set("ttl", 1), Change::default().remove("pk"), Change::default().add("_n", 1)]
        {
            assert!(expression(&change, None, &mut Placeholders::default()).is_err());
        }
    }

    #[test]
    fn a_mark_and_an_expiry_are_set() {
        let mut places = Placeholders::default();
        let change = Change { ttl: Some(9), ..Change::default() };
        let text = expression(&change, Some("abc"), &mut places).expect("a lawful change");
        assert_eq!(text.as_deref(), Some("SET #0 = :0, #1 = :1"));
        assert_eq!(places.names().expect("two")["#0"], "_n");
    }
}
