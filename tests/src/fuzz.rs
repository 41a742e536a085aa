//! Bad input on every field of every route: a 4xx in the right envelope, never a 5xx, and nothing stored.
//!
//! The table of routes holds a body that passes; one field of it at a time becomes something else. A value of another
//! JSON type must be refused by a 400 that names the field. Any other value may pass or not, but never break anything.

use crate::harness::{Answer, Instance, Server, Tenant};
use crate::routes::{Ids, Query, ROUTES, Route, Whose};
use crate::tenants::group_of;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// JSON of every kind, mostly of the unpleasant one.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        nasty_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((nasty_text(), inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Text with what breaks parsers, queries, keys, headers, paths and logs.
fn nasty_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "",
            " ",
            "\0",
            "\u{feff}",
            "\r\nX-Injected: 1",
            "../../etc/passwd",
            "%00",
            "%2e%2e%2f",
            "#",
            "{}",
            "null",
            "NaN",
            "' OR 1=1 --",
            "\"; DROP TABLE items; --",
            "<script>alert(1)</script>",
            "\u{202e}abc",
            "𝕳𝖊𝖑𝖑𝖔",
            "👩‍👩‍👧‍👦",
            "é",
            "-1",
            "0",
            "1e999",
            "9223372036854775808",
            "0x10",
            "true",
            "[]",
            "2023-02-30T00:00:00Z",
            "9999999-01-01",
            "http://[::1",
            "http://127.0.0.1:99999/",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "//",
            "@",
            "@s.whatsapp.net",
            "@g.us",
            "+",
            "*",
            "**",
            "[a-",
            "a{b",
            "\\",
        ])
        .prop_map(str::to_owned),
        (1_usize..5000).prop_map(|length| "x".repeat(length)),
        (1_usize..500).prop_map(|length| "张".repeat(length)),
    ]
}

/// Pointers to every value inside the body, which may be a list of objects.
fn pointers(body: &Value, at: &str, found: &mut Vec<String>) {
    if let (Value::Array(elements), "") = (body, at) {
        for (index, element) in elements.iter().enumerate() {
            pointers(element, &format!("/{index}"), found);
        }
    }
    if let Value::Object(fields) = body {
        for (name, value) in fields {
            let pointer = format!("{at}/{name}");
            pointers(value, &pointer, found);
            found.push(pointer);
        }
    }
}

/// Whether no reading of the field's type includes the value. `null` may mean "absent"; whole numbers are numbers.
fn wrong_type(example: &Value, value: &Value) -> bool {
    !value.is_null() && std::mem::discriminant(example) != std::mem::discriminant(value)
}

struct World {
    runtime: Runtime,
    server: Server,
    tenant: Tenant,
    instance: Instance,
    ids: Ids,
}

impl World {
    fn new() -> World {
        let runtime = Runtime::new().expect("a runtime");
        let server = Server::start();
        let (tenant, instance, message) = runtime.block_on(async {
            let tenant = Tenant::of(&server).await;
            let instance = Instance::paired(&tenant.client, &json!({})).await;
            let message = instance.send("79001234567", "hello").await;
            instance.wait_message("79001234567", &message, "read").await;
            let device = json!({"name": "device", "platform": "wecom", "credentials": {"guid": "fuzzed-device"}});
            tenant.client.post("/api/instances", &device).await.expect(201);
            (tenant, instance, message)
        });
        let ids = Ids {
            instance: instance.id.clone(),
            phone: "79001234567".into(),
            message,
            delivery: "no-such-delivery".into(),
            job: "no-such-job".into(),
            key: "no-such-key".into(),
            public: "no-such-message".into(),
            user: tenant.id.clone(),
            guid: "fuzzed-device".into(),
            other: runtime.block_on(Tenant::of(&server)).id,
            im_group: runtime.block_on(group_of(&tenant)),
        };
        World { runtime, server, tenant, instance, ids }
    }

    fn ask(&self, route: &Route, path: &str, body: Option<&Value>) -> Answer {
        let admin = self.server.admin();
        let client = if route.whose == Whose::Admin { &admin } else { &self.tenant.client };
        self.runtime.block_on(client.call(route.method(), path, body))
    }

    /// What refused requests must leave as it was.
    fn stored(&self) -> Value {
        self.runtime.block_on(async {
            let mut total = Vec::new();
            for phone in ["79001234567", "0", "1"] {
                total.push(self.instance.get(&format!("/chats/{phone}/messages")).await["pagination"]["total"].clone());
            }
            json!({
                "instances": self.tenant.client.get("/api/instances").await.expect(200)["instances"].as_array().map(Vec::len),
                "instance": self.instance.get("").await["updatedAt"],
                "keys": self.tenant.client.get("/api/auth/keys").await.expect(200)["keys"].as_array().map(Vec::len),
                "totals": total,
                "activity": self.instance.get("/activity").await["pagination"]["total"],
                "outbox": self.instance.outbox().await.len(),
                "conversations": self.tenant.client.get("/api/conversations").await.expect(200),
                "users": self.server.admin().get("/api/admin/users").await.expect(200),
                "groups": self.server.admin().get("/api/admin/groups").await.expect(200),
                "audit": self.server.admin().get("/api/admin/audit").await.expect(200),
            })
        })
    }
}

fn cases(count: u32) -> TestRunner {
    TestRunner::new(Config { cases: count, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })
}

/// A refusal as it must be; anything else fails the case with the answer in its text.
fn is_refusal(answer: &Answer, field: Option<&str>) -> Result<(), TestCaseError> {
    prop_assert!((400..500).contains(&answer.status), "not refused: {answer}");
    let error = answer.try_envelope().map_err(|wrong| TestCaseError::fail(format!("{wrong}: {answer}")))?.error;
    if let Some(field) = field.filter(|_| answer.status == 400) {
        prop_assert!(error.to_lowercase().contains(&field.to_lowercase()), "does not name {field}: {answer}");
    }
    Ok(())
}

fn is_no_fault(answer: &Answer) -> Result<(), TestCaseError> {
    prop_assert!(answer.status < 500, "a fault of the server: {answer}");
    if answer.status >= 400 { is_refusal(answer, None) } else { Ok(()) }
}

fn report(
    route: &Route,
    what: &str,
    outcome: Result<(), proptest::test_runner::TestError<Value>>,
    found: &mut Vec<String>,
) {
    if let Err(failure) = outcome {
        found.push(format!("{} {} {what}: {failure}", route.method, route.path));
    }
}

#[test]
fn a_value_of_another_type_is_refused_by_name_and_leaves_nothing() {
    let world = World::new();
    let before = world.stored();
    let mut failures = Vec::new();
    for route in ROUTES.iter().filter(|route| !route.body.is_empty()) {
        let good = route.json(|text| world.ids.fill(text)).expect("a body");
        let path = world.ids.fill(route.path);
        let mut fields = Vec::new();
        pointers(&good, "", &mut fields);
        for pointer in fields {
            // `metadata` comes back as it was given: it has no types inside.
            if pointer.starts_with("/metadata/") {
                continue;
            }
            let example = good.pointer(&pointer).expect("a pointer from the body").clone();
            let name = pointer.rsplit('/').next().unwrap_or_default().to_owned();
            let strategy = any_json().prop_filter("another type", move |value| wrong_type(&example, value));
            let outcome = cases(12).run(&strategy, |value| {
                let mut body = good.clone();
                *body.pointer_mut(&pointer).expect("a pointer from the body") = value;
                is_refusal(&world.ask(route, &path, Some(&body)), Some(&name))
            });
            report(route, &pointer, outcome, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(world.stored(), before, "a refused request left something");
}

#[test]
fn no_value_of_the_right_type_breaks_anything() {
    let world = World::new();
    let mut failures = Vec::new();
    for route in ROUTES.iter().filter(|route| !route.body.is_empty()) {
        let good = route.json(|text| world.ids.fill(text)).expect("a body");
        let path = world.ids.fill(route.path);
        let mut fields = Vec::new();
        pointers(&good, "", &mut fields);
        for pointer in fields {
            let outcome = cases(12).run(&any_json(), |value| {
                let mut body = good.clone();
                *body.pointer_mut(&pointer).expect("a pointer from the body") = value;
                is_no_fault(&world.ask(route, &path, Some(&body)))
            });
            report(route, &pointer, outcome, &mut failures);
            let missing = Value::Null;
            let mut body = good.clone();
            remove(&mut body, &pointer);
            let outcome = is_no_fault(&world.ask(route, &path, Some(&body)));
            if let Err(failure) = outcome {
                failures.push(format!("{} {} without {pointer} ({missing}): {failure}", route.method, route.path));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(world.runtime.block_on(world.server.anonymous().get("/ready")).status, 200);
    world.runtime.block_on(world.tenant.client.get("/api/auth/me")).expect(200);
}

fn remove(body: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    if let Some(Value::Object(fields)) = body.pointer_mut(parent) {
        fields.remove(name);
    }
}

#[test]
fn whole_bodies_of_anything_are_refused_or_understood() {
    let world = World::new();
    let mut failures = Vec::new();
    for route in ROUTES.iter().filter(|route| !route.body.is_empty()) {
        let path = world.ids.fill(route.path);
        let outcome = cases(16).run(&any_json(), |value| is_no_fault(&world.ask(route, &path, Some(&value))));
        report(route, "body", outcome, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn query_values_are_refused_by_name() {
    let world = World::new();
    let before = world.stored();
    let mut failures = Vec::new();
    for route in ROUTES.iter().filter(|route| !route.path.ends_with("/stream")) {
        for query in route.query {
            let path = world.ids.fill(route.path);
            let name = match query {
                Query::Number(name, ..) | Query::Time(name) | Query::Word(name) | Query::Cursor(name) => *name,
            };
            let values = match query {
                Query::Number(_, low, high) => {
                    let (low, high) = (*low, *high);
                    prop_oneof![
                        any::<i64>().prop_filter("outside", move |n| *n < low || *n > high).prop_map(|n| n.to_string()),
                        nasty_text().prop_filter("no number", |text| {
                            let trimmed = text.trim();
                            !trimmed.is_empty() && trimmed.parse::<f64>().is_err()
                        }),
                    ]
                    .boxed()
                }
                Query::Time(_) => {
                    nasty_text().prop_filter("no time", |text| !text.trim().is_empty() && text.len() < 900).boxed()
                }
                // A number may well be a cursor.
                Query::Word(_) | Query::Cursor(_) => {
                    let bad =
                        |text: &String| !text.trim().is_empty() && text.len() < 900 && text.parse::<u64>().is_err();
                    nasty_text().prop_filter("no cursor", bad).boxed()
                }
            };
            let values = values.prop_map(Value::from);
            let outcome = cases(16).run(&values, |value| {
                let text = value.as_str().unwrap_or_default();
                if text.len() > 2000 {
                    return Ok(());
                }
                let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
                let mark = if path.contains('?') { '&' } else { '?' };
                let answer = world.ask(route, &format!("{path}{mark}{name}={encoded}"), None);
                is_refusal(&answer, Some(name))
            });
            report(route, name, outcome, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(world.stored(), before);
}

#[test]
fn no_path_breaks_anything() {
    let world = World::new();
    let mut failures = Vec::new();
    for route in ROUTES.iter().filter(|route| route.path.contains('{') && route.whose != Whose::Public) {
        let values =
            nasty_text().prop_filter("short", |text| !text.is_empty() && text.len() < 900).prop_map(Value::from);
        let outcome = cases(16).run(&values, |value| {
            let encoded: String =
                value.as_str().unwrap_or_default().bytes().map(|byte| format!("%{byte:02X}")).collect();
            // The last of the path's ids is the one that is replaced; an instance keeps its place in longer paths.
            let last = route.path.rfind('{').unwrap_or_default();
            let end = route.path[last..].find('}').map_or(route.path.len(), |end| last + end + 1);
            let path = world.ids.fill(&route.path[..last]) + &encoded + &route.path[end..];
            let answer = world.ask(route, &path, route.json(|text| world.ids.fill(text)).as_ref());
            is_no_fault(&answer)
        });
        report(route, "path", outcome, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(world.runtime.block_on(world.server.anonymous().get("/ready")).status, 200);
}
