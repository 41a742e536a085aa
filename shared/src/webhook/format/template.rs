//! Bodies of the user's making. `{{name}}` stands for a value: `event`, `id`, `timestamp`, `instanceId`, `instanceName`,
//! `fromName`, `content`, `line` (what robots post), and `data` with any path into it, such as `data.body`. `{{json name}}`
//! is the value as JSON, with its quotes.
//!
//! A value is escaped as the content type asks: inside a JSON string, a form field or XML it stays one. What an event does
//! not have is empty, or `null` as JSON.

use serde_json::{Value, json};

use super::Words;
use crate::{
    domain::{event::Event, instance::Instance},
    error::{Error, Result},
};

/// Bytes of a template.
pub(super) const MOST: usize = 4096;
const NAMES: [&str; 9] =
    ["event", "id", "timestamp", "instanceId", "instanceName", "fromName", "content", "line", "data"];

/// How values are made safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    Json,
    Form,
    Xml,
    Nothing,
}

impl Escape {
    fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is = |suffix: &str| kind.strip_suffix(suffix).is_some_and(|rest| rest.ends_with(['/', '+']));
        if is("json") {
            Self::Json
        } else if kind == "application/x-www-form-urlencoded" {
            Self::Form
        } else if is("xml") || is("html") {
            Self::Xml
        } else {
            Self::Nothing
        }
    }

    fn apply(self, text: &str) -> String {
        match self {
            Self::Json => {
                let quoted = Value::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            Self::Form => url::form_urlencoded::byte_serialize(text.as_bytes()).collect(),
            Self::Xml => text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
                match c {
                    '&' => out.push_str("&amp;"),
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    '"' => out.push_str("&quot;"),
                    '\'' => out.push_str("&#39;"),
                    c => out.push(c),
                }
                out
            }),
            Self::Nothing => text.to_owned(),
        }
    }
}

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Value { path: &'a str, json: bool },
}

/// `Err`: an expression without an end.
fn pieces(template: &str) -> Result<Vec<Piece<'_>>, ()> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, tail)) = rest.split_once("{{") {
        let (expression, tail) = tail.split_once("}}").ok_or(())?;
        let expression = expression.trim();
        let (path, json) = match expression.strip_prefix("json ") {
            Some(path) => (path.trim(), true),
            None => (expression, false),
        };
        pieces.extend([Piece::Text(text), Piece::Value { path, json }]);
        rest = tail;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// Checks a template and the content type of what it makes before they are saved.
///
/// Errors: `Invalid`, of the field `template` or `contentType`.
pub fn check(template: &str, content_type: &str) -> Result<()> {
    let bad = |text: String| Err(Error::invalid("template", format!("template: {text}")));
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if content_type.len() > 100 || !content_type.contains('/') || !content_type.chars().all(plain) {
        return Err(Error::invalid("contentType", "contentType must be a media type such as application/json"));
    }
    if template.trim().is_empty() || template.len() > MOST {
        return bad(format!("must have 1 to {MOST} bytes"));
    }
    let Ok(pieces) = pieces(template) else { return bad("{{ without }}".into()) };
    for piece in pieces {
        let Piece::Value { path, .. } = piece else { continue };
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        if !NAMES.contains(&name) || rest.is_some_and(|rest| name != "data" || rest.split('.').any(str::is_empty)) {
            let path: String = path.chars().take(60).collect();
            return bad(format!("{{{{{path}}}}} is not known; there are {} and data.<name>", NAMES.join(", ")));
        }
    }
    Ok(())
}

/// What the expressions of a template stand for.
pub(super) fn variables(instance: &Instance, event: &Event, words: &Words) -> Value {
    json!({
        "event": event.kind,
        "id": event.id,
        "timestamp": event.timestamp,
        "instanceId": instance.id,
        "instanceName": instance.name,
        "fromName": words.from_name,
        "content": words.content,
        "line": words.line,
        "data": event.data,
    })
}

/// Fills a template in. One that [`check`] would refuse stays as it is.
pub(super) fn render(template: &str, content_type: &str, variables: &Value) -> String {
    let escape = Escape::of(content_type);
    let Ok(pieces) = pieces(template) else { return template.to_owned() };
    let mut out = String::with_capacity(template.len());
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Value { path, json } => {
                let value = find(variables, path);
                if json {
                    let text = value.unwrap_or(&Value::Null).to_string();
                    // JSON inside JSON is the value itself; elsewhere it is a text like any other.
                    out.push_str(&if escape == Escape::Json { text } else { escape.apply(&text) });
                } else {
                    match value {
                        None | Some(Value::Null) => {}
                        Some(Value::String(text)) => out.push_str(&escape.apply(text)),
                        // Numbers, too: they have nothing to escape.
                        Some(other) => out.push_str(&escape.apply(&other.to_string())),
                    }
                }
            }
        }
    }
    out
}

fn find<'a>(variables: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(variables, |value, name| match value {
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::format::words::tests::{event, instance};

    fn rendered(template: &str, content_type: &str, data: Value) -> String {
        let (instance, event) = (instance(), event("message_received", data));
        check(template, content_type).expect("a good template");
        render(template, content_type, &variables(&instance, &event, &Words::of(&instance, &event)))
    }

    #[test]
    fn json_stays_json_whatever_is_written() {
        let template = r#"{"t": "{{event}}: {{fromName}}", "b": "{{ data.body }}", "d": {{json data}}, "n": {{data.n}},
                           "none": {{json data.none}}, "list": "{{data.l.1}}", "inner": "{{data.o}}"}"#;
        let data = json!({ "pushName": "O\"Brien\\", "body": "a\n\"b\"}}{{event}}", "n": 7, "l": [1, "two"], "o": {"k": "v"} });
        let body: Value =
            serde_json::from_str(&rendered(template, "application/json; charset=utf-8", data.clone())).expect("JSON");
        assert_eq!(body["t"], "message_received: O\"Brien\\");
        assert_eq!(body["b"], data["body"], "values are not looked into");
        assert_eq!(body["d"], data);
        assert_eq!((&body["n"], &body["none"]), (&json!(7), &Value::Null));
        assert_eq!((&body["list"], &body["inner"]), (&json!("two"), &json!(r#"{"k":"v"}"#)));
    }

    #[test]
    fn other_types_escape_their_own_way() {
        let data = json!({ "body": "a&b=<c> '1'" });
        assert_eq!(
            rendered("text={{content}}&x=1", "application/x-www-form-urlencoded", data.clone()),
            "text=a%26b%3D%3Cc%3E+%271%27&x=1"
        );
        assert_eq!(
            rendered("<m>{{content}}</m>", "application/xml", data.clone()),
            "<m>a&amp;b=&lt;c&gt; &#39;1&#39;</m>"
        );
        assert_eq!(rendered("{{content}} {{json content}}", "text/plain", data), "a&b=<c> '1' \"a&b=<c> '1'\"");
    }

    #[test]
    fn bad_templates_are_refused() {
        let long = "x".repeat(MOST + 1);
        for template in
            ["", " ", "{{", "{{event", "{{}}", "{{nothing}}", "{{event.x}}", "{{data.}}", "{{json x}}", &long]
        {
            let error = check(template, "text/plain").expect_err(template);
            assert_eq!(error.field.as_deref(), Some("template"), "{template}");
        }
        for kind in ["", "json", "text/plain\r\nx: y", "text/\u{e9}"] {
            assert_eq!(check("x", kind).expect_err(kind).field.as_deref(), Some("contentType"), "{kind}");
        }
    }
}
