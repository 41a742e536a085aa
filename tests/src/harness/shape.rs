//! Comparing an answer with a seed's example: field by field, type by type, values aside.

use serde_json::Value;

/// Asserts that `got` has every field of `expected`, each of the same type. Extra fields are fine.
///
/// * Arrays: every element of `got` must have the shape of the first element of `expected`; an example with elements
///   demands at least one, since an empty list proves nothing.
/// * Whole numbers stay whole. A time (ISO 8601, UTC) stays one, with milliseconds and `Z`.
/// * `null` in an example accepts anything, but not a missing field.
///
/// # Panics
/// With every difference, each under its path.
#[track_caller]
pub fn shape(expected: &Value, got: &Value) {
    let differences = differences(expected, got);
    assert!(differences.is_empty(), "not the seed's shape:\n  {}\ngot {got:#}", differences.join("\n  "));
}

/// Every way in which `got` lacks the shape of `expected`.
#[must_use]
pub fn differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("$", expected, got, &mut found);
    found
}

fn compare(path: &str, expected: &Value, got: &Value, found: &mut Vec<String>) {
    match (expected, got) {
        (Value::Null, _) | (Value::Bool(_), Value::Bool(_)) => {}
        (Value::Number(example), Value::Number(number)) => {
            if !example.is_f64() && number.is_f64() {
                found.push(format!("{path}: a whole number in the example, {number} here"));
            }
        }
        (Value::String(example), Value::String(text)) => {
            if is_time(example) && !is_time(text) {
                found.push(format!("{path}: a time in the example, {text:?} here"));
            }
        }
        (Value::Array(examples), Value::Array(elements)) => {
            let Some(example) = examples.first() else { return };
            if elements.is_empty() {
                found.push(format!("{path}: empty, nothing to compare"));
            }
            for (index, element) in elements.iter().enumerate() {
                compare(&format!("{path}[{index}]"), example, element, found);
            }
        }
        (Value::Object(fields), Value::Object(object)) => {
            for (name, example) in fields {
                match object.get(name) {
                    Some(value) => compare(&format!("{path}.{name}"), example, value, found),
                    None => found.push(format!("{path}.{name}: missing")),
                }
            }
        }
        _ => found.push(format!("{path}: {} in the example, {} here", kind(expected), kind(got))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// `2023-01-01T00:00:00.000Z`, exactly in this form.
#[must_use]
pub fn is_time(text: &str) -> bool {
    text.len() == 24
        && text.ends_with('Z')
        && text.as_bytes()[19] == b'.'
        && chrono::DateTime::parse_from_rfc3339(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{differences, is_time};
    use serde_json::json;

    #[test]
    fn extra_fields_are_fine_and_missing_or_retyped_ones_are_not() {
        let example = json!({"id": "a", "n": 1, "at": "2023-01-01T00:00:00.000Z", "list": [{"x": true}]});
        let good =
            json!({"id": "b", "n": 2, "at": "2024-05-01T10:00:00.123Z", "list": [{"x": false, "y": 1}], "more": 1});
        assert_eq!(differences(&example, &good), Vec::<String>::new());
        let bad = json!({"n": 1.5, "at": "2024-05-01T10:00:00Z", "list": [{"x": "false"}]});
        assert_eq!(differences(&example, &bad).len(), 4);
        assert_eq!(differences(&example["list"], &json!([])).len(), 1);
    }

    #[test]
    fn a_time_has_milliseconds_and_z() {
        assert!(is_time("2023-01-01T00:00:00.000Z"));
        assert!(!is_time("2023-01-01T00:00:00Z"));
        assert!(!is_time("2023-01-01T00:00:00.000000Z"));
        assert!(!is_time("2023-13-01T00:00:00.000Z"));
    }
}
