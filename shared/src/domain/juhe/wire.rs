//! Reading the service's JSON: ids come as texts or as numbers, names of fields differ between its versions, and nothing in a
//! notification may be trusted to be there.

use serde_json::{Map, Value};

use crate::clock::Millis;

/// The fields of a notification.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The first of these fields that holds something that can be read as a text.
    pub(super) fn text(self, names: &[&str]) -> String {
        names.iter().filter_map(|name| text(self.get(name)?)).find(|text| !text.is_empty()).unwrap_or_default()
    }

    /// The first of these fields that holds an id: `0` stands for none.
    pub(super) fn id(self, names: &[&str]) -> String {
        let ids = names.iter().filter_map(|name| text(self.get(name)?)).map(|id| id.trim().to_owned());
        ids.into_iter().find(|id| !id.is_empty() && id != "0").unwrap_or_default()
    }

    /// The first of these fields that holds a whole number.
    pub(super) fn number(self, names: &[&str]) -> Option<i64> {
        names.iter().find_map(|name| number(self.get(name)?))
    }

    /// The first of these fields that holds a moment: seconds, or milliseconds.
    pub(super) fn time(self, names: &[&str]) -> Option<Millis> {
        names.iter().find_map(|name| moment(number(self.get(name)?)?))
    }

    /// The first of these fields that holds a list.
    pub(super) fn list(self, names: &[&str]) -> Option<&'a Vec<Value>> {
        names.iter().find_map(|name| self.get(name)?.as_array())
    }
}

/// A text, or a number as it was written.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match number.as_f64() {
            // Beyond 64 bits, or written as 1e3: without a fraction it is still an id.
            Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.0}"),
            _ => number.to_string(),
        }),
        _ => None,
    }
}

pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Numbers beyond this are milliseconds: as seconds they would be in the year 5138.
const SECONDS: i64 = 100_000_000_000;
/// The last moment that has thirteen digits of milliseconds.
const LAST: i64 = 9_999_999_999_999;

fn moment(number: i64) -> Option<Millis> {
    let millis = if number < SECONDS { number.checked_mul(1000)? } else { number };
    (1..=LAST).contains(&millis).then_some(Millis(millis))
}

/// What stands between `<name>` (or `<name …>`) and `</name>`, without its CDATA and with its entities resolved.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let open = format!("<{name}");
    let mut rest = xml;
    let body = loop {
        let at = rest.find(&open)?;
        rest = &rest[at + open.len()..];
        // `<titles>` is not `<title>`.
        let next = rest.chars().next()?;
        if next == '>' || next.is_whitespace() {
            break &rest[rest.find('>')? + 1..];
        }
    };
    let text = body[..body.find(&format!("</{name}>"))?].trim();
    let plain = match text.strip_prefix("<![CDATA[").and_then(|text| text.strip_suffix("]]>")) {
        Some(data) => data.to_owned(),
        None => text
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&"),
    };
    Some(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_texts_or_numbers_of_any_size() {
        let data = json!({"a": "7881303217905494", "b": 10957014854528966_u64, "c": 18446744073709551615_u64, "d": 0,
                          "e": "0", "f": "", "g": null, "h": [1], "i": -5, "j": 1.5});
        let fields = Fields::of(&data).expect("an object");
        assert_eq!(fields.id(&["x", "a"]), "7881303217905494");
        assert_eq!(fields.id(&["b"]), "10957014854528966");
        assert_eq!(fields.id(&["c"]), "18446744073709551615");
        for none in ["d", "e", "f", "g", "h", "x"] {
            assert_eq!(fields.id(&[none]), "", "{none}");
        }
        assert_eq!((fields.id(&["i"]), fields.id(&["j"])), ("-5".into(), "1.5".into()));
        assert_eq!(fields.id(&["d", "b"]), "10957014854528966");
    }

    #[test]
    fn times_are_seconds_or_milliseconds() {
        let data =
            json!({"s": 1711649467, "t": "1711649467", "m": 1711649467123_i64, "z": 0, "n": -1, "far": i64::MAX});
        let fields = Fields::of(&data).expect("an object");
        assert_eq!(fields.time(&["s"]), Some(Millis(1_711_649_467_000)));
        assert_eq!(fields.time(&["t"]), Some(Millis(1_711_649_467_000)));
        assert_eq!(fields.time(&["m"]), Some(Millis(1_711_649_467_123)));
        for none in ["z", "n", "far", "x"] {
            assert_eq!(fields.time(&[none]), None, "{none}");
        }
        assert_eq!(fields.time(&["z", "s"]), Some(Millis(1_711_649_467_000)));
    }

    #[test]
    fn elements_are_found_in_xml() {
        let xml = "<msg><titles>no</titles><title><![CDATA[a < b]]></title><url attr=\"1\">x&amp;y</url><type>5</type>";
        assert_eq!(element(xml, "title").as_deref(), Some("a < b"));
        assert_eq!(element(xml, "url").as_deref(), Some("x&y"));
        assert_eq!(element(xml, "none"), None);
        for broken in ["", "<title", "<title>", "<title>x", "</title><title>"] {
            assert_eq!(element(broken, "title"), None, "{broken}");
        }
    }
}
