//! [`Cond`] as a condition expression with the meaning of [`Cond::holds`].

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use shared::store::Cond;

use crate::attributes::{from_value, number};

/// Collects the placeholders of the expressions of one request. Every name and value goes through one: many natural
/// attribute names are reserved words.
#[derive(Debug, Default)]
pub(crate) struct Placeholders {
    names: Vec<String>,
    values: Vec<AttributeValue>,
}

impl Placeholders {
    pub(crate) fn name(&mut self, attribute: &str) -> String {
        let index = self.names.iter().position(|name| name == attribute).unwrap_or_else(|| {
            self.names.push(attribute.to_owned());
            self.names.len() - 1
        });
        format!("#{index}")
    }

    pub(crate) fn value(&mut self, value: AttributeValue) -> String {
        self.values.push(value);
        format!(":{}", self.values.len() - 1)
    }

    /// `None` when there are none: an empty map is refused.
    pub(crate) fn names(&self) -> Option<HashMap<String, String>> {
        let names = self.names.iter().enumerate().map(|(index, name)| (format!("#{index}"), name.clone()));
        Some(names.collect::<HashMap<_, _>>()).filter(|names| !names.is_empty())
    }

    pub(crate) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        let values = self.values.iter().enumerate().map(|(index, value)| (format!(":{index}"), value.clone()));
        Some(values.collect::<HashMap<_, _>>()).filter(|values| !values.is_empty())
    }
}

/// A condition once constants are folded.
enum Folded {
    Always,
    Never,
    Text(String),
}

/// Whether there is nothing to check.
pub(crate) fn is_void(cond: &Cond) -> bool {
    matches!(fold(cond, &mut Placeholders::default()), Folded::Always)
}

/// The expression, or `None` if there is nothing to check.
pub(crate) fn expression(cond: &Cond, places: &mut Placeholders) -> Option<String> {
    match fold(cond, places) {
        Folded::Always => None,
        // There is no literal for it.
        Folded::Never => {
            let pk = places.name("pk");
            Some(format!("attribute_exists({pk}) AND attribute_not_exists({pk})"))
        }
        Folded::Text(text) => Some(text),
    }
}

fn fold(cond: &Cond, places: &mut Placeholders) -> Folded {
    let mut compare = |attribute: &str, operator: &str, value: AttributeValue| {
        let (name, value) = (places.name(attribute), places.value(value));
        Folded::Text(format!("{name} {operator} {value}"))
    };
    match cond {
        Cond::Always => Folded::Always,
        Cond::Absent => Folded::Text(format!("attribute_not_exists({})", places.name("pk"))),
        Cond::Exists => Folded::Text(format!("attribute_exists({})", places.name("pk"))),
        Cond::Eq(attribute, value) => compare(attribute, "=", from_value(value)),
        Cond::Ne(attribute, value) => {
            // Said outright rather than left to how `<>` treats an absent attribute.
            let (name, value) = (places.name(attribute), places.value(from_value(value)));
            Folded::Text(format!("(attribute_not_exists({name}) OR {name} <> {value})"))
        }
        // Comparisons are false for absent attributes and other types, as they shall be.
        Cond::Lt(attribute, value) => compare(attribute, "<", number(*value)),
        Cond::Le(attribute, value) => compare(attribute, "<=", number(*value)),
        Cond::Gt(attribute, value) => compare(attribute, ">", number(*value)),
        Cond::Has(attribute) => Folded::Text(format!("attribute_exists({})", places.name(attribute))),
        Cond::Lacks(attribute) => Folded::Text(format!("attribute_not_exists({})", places.name(attribute))),
        Cond::All(all) => join(all, places, " AND "),
        Cond::Any(any) => join(any, places, " OR "),
    }
}

fn join(conds: &[Cond], places: &mut Placeholders, word: &str) -> Folded {
    let all = word == " AND ";
    let mut texts = Vec::new();
    for cond in conds {
        match (fold(cond, places), all) {
            (Folded::Text(text), _) => texts.push(text),
            (Folded::Always, true) | (Folded::Never, false) => {}
            (Folded::Always, false) => return Folded::Always,
            (Folded::Never, true) => return Folded::Never,
        }
    }
    match (texts.len(), all) {
        (0, true) => Folded::Always,
        (0, false) => Folded::Never,
        _ => Folded::Text(format!("({})", texts.join(word))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(cond: &Cond) -> Option<String> {
        expression(cond, &mut Placeholders::default())
    }

    #[test]
    fn simple_conditions_are_one_comparison() {
        assert_eq!(text(&Cond::Always), None);
        assert_eq!(text(&Cond::Absent).as_deref(), Some("attribute_not_exists(#0)"));
        assert_eq!(text(&Cond::Exists).as_deref(), Some("attribute_exists(#0)"));
        assert_eq!(text(&Cond::eq("status", "sent")).as_deref(), Some("#0 = :0"));
        assert_eq!(text(&Cond::lt("epoch", 4)).as_deref(), Some("#0 < :0"));
        assert_eq!(text(&Cond::Le("epoch".into(), 4)).as_deref(), Some("#0 <= :0"));
        assert_eq!(text(&Cond::Gt("epoch".into(), 4)).as_deref(), Some("#0 > :0"));
        assert_eq!(text(&Cond::has("lease")).as_deref(), Some("attribute_exists(#0)"));
        assert_eq!(text(&Cond::lacks("lease")).as_deref(), Some("attribute_not_exists(#0)"));
    }

    #[test]
    fn an_absent_attribute_differs_from_every_value() {
        assert_eq!(text(&Cond::ne("status", "sent")).as_deref(), Some("(attribute_not_exists(#0) OR #0 <> :0)"));
    }

    #[test]
    fn constants_are_folded() {
        let never = Cond::Any(vec![]);
        assert_eq!(text(&Cond::All(vec![Cond::Always, Cond::All(vec![])])), None);
        assert_eq!(text(&Cond::Any(vec![Cond::Always, Cond::has("a")])), None);
        assert_eq!(text(&Cond::Any(vec![never.clone(), Cond::has("a")])).as_deref(), Some("(attribute_exists(#0))"));
        let impossible = Some("attribute_exists(#0) AND attribute_not_exists(#0)");
        assert_eq!(text(&never).as_deref(), impossible);
    }

    #[test]
    fn names_are_shared_and_values_are_not() {
        let mut places = Placeholders::default();
        let cond = Cond::All(vec![Cond::eq("a", 1), Cond::Any(vec![Cond::lt("a", 2), Cond::eq("b.c", json!(null))])]);
        assert_eq!(expression(&cond, &mut places).as_deref(), Some("(#0 = :0 AND (#0 < :1 OR #1 = :2))"));
        let names = places.names().expect("there are some");
        assert_eq!((names["#0"].as_str(), names["#1"].as_str(), names.len()), ("a", "b.c", 2));
        assert_eq!(places.values().expect("there are some")[":2"], AttributeValue::Null(true));
    }

    #[test]
    fn without_placeholders_there_are_no_maps() {
        assert!(Placeholders::default().names().is_none() && Placeholders::default().values().is_none());
    }
}
