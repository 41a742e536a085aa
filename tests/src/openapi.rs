//! The OpenAPI document: it is what the generator makes, it is valid, it lists exactly the operations that the routers have (the
//! routes are read from their source, so neither side can be forgotten), and a server answers as it says.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::server::on_aws;
use crate::harness::tools::{python, root, stdout};
use crate::harness::{Behaviour, Instance, Receiver, Server};
use crate::routes::{ENDING, Ids, Query, ROUTES, Route, Whose};
use crate::tenants::furnished;

const DOCUMENT: &str = include_str!("../../shared/src/edge/openapi/openapi.json");

/// What may be imported from `axum::routing`.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The crate whose source has the route, and the name of its handler.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Handler {
    pub(crate) of: String,
    name: String,
}

/// `METHOD /path` → handler, of every router.
pub(crate) type Routes = BTreeMap<String, Handler>;

/// Takes the routes out of a source file: `.route("/path", get(a::b).post(c::d).layer(…))`. Fails on anything that it would
/// not understand.
fn parse(of: &str, source: &str, routes: &mut Routes) {
    // Routes that only tests have are at the end of a file.
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    for hiding in [".nest(", ".nest_service(", ".route_service(", "MethodRouter", "MethodFilter"] {
        assert!(!source.contains(hiding), "{of}: {hiding} hides routes from this test");
    }
    for import in source.split("routing::").skip(1) {
        let names = match import.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => import.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default(),
        };
        let strange = names.split(',').map(str::trim).find(|name| !name.is_empty() && !METHODS.contains(name));
        assert_eq!(strange, None, "{of}: this test knows no such method");
    }
    for call in source.split(".route(").skip(1) {
        let path = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
        let path = path.unwrap_or_else(|| panic!("{of}: a route without a literal path: {call:.80}"));
        let mut depth = 1;
        let end = call.find(|c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let handlers = &call[path.len() + 2..end.expect("the call ends")];
        let mut found = 0;
        for method in METHODS {
            for (at, _) in handlers.match_indices(&format!("{method}(")) {
                if handlers[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_') {
                    continue;
                }
                let name = handlers[at + method.len() + 1..].split(')').next().unwrap_or_default();
                let name = name.rsplit("::").next().unwrap_or_default().trim().to_owned();
                assert!(name.chars().all(|c| c.is_alphanumeric() || c == '_'), "{path}: {name} is no handler's name");
                let route = format!("{} {path}", method.to_uppercase());
                let old = routes.insert(route.clone(), Handler { of: of.to_owned(), name });
                assert_eq!(old, None, "{route} is there twice");
                found += 1;
            }
        }
        assert!(found > 0, "{of}: {path} has no method");
    }
}

/// Reads every source file below `folder`, tests left out.
fn read(of: &str, folder: &Path, routes: &mut Routes) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        if path.is_dir() && name != "tests" {
            read(of, &path, routes);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            parse(of, &std::fs::read_to_string(&path).expect("a source file"), routes);
        }
    }
}

/// The routes of all deployables and of the shared edge.
pub(crate) fn routes() -> Routes {
    let mut routes = Routes::new();
    read("edge", &root().join("shared/src/edge"), &mut routes);
    for entry in std::fs::read_dir(root().join("functions")).expect("the deployables") {
        let path = entry.expect("an entry").path();
        // The worker serves its container only.
        if path.join("src").is_dir() && !path.ends_with("worker") {
            let of = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
            read(of, &path.join("src"), &mut routes);
        }
    }
    routes
}

/// `METHOD /path` → operation.
fn operations() -> BTreeMap<String, Value> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("operations");
        methods.iter().map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation.clone()))
    });
    all.collect()
}

#[test]
fn the_document_is_what_the_generator_makes() {
    let program = format!(
        "import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {:?}); import generate; sys.stdout.write(generate.text())",
        root().join("tests/openapi"),
    );
    let made = stdout(&python(&program, ""));
    assert!(made == DOCUMENT, "run tests/openapi/generate.py and commit what it writes");
}

#[test]
fn the_document_lists_the_routes_that_there_are() {
    let (routes, operations) = (routes(), operations());
    let missing: Vec<_> = routes.keys().filter(|route| !operations.contains_key(*route)).collect();
    assert!(missing.is_empty(), "not in the document: {missing:#?}");
    let invented: Vec<_> = operations.keys().filter(|route| !routes.contains_key(*route)).collect();
    assert!(invented.is_empty(), "in the document, but no route: {invented:#?}");
}

#[test]
fn operations_are_named_after_their_handlers() {
    let routes = routes();
    for (route, operation) in operations() {
        let Some(Handler { of, name }) = routes.get(&route) else { continue };
        // Two groups may have handlers of one name: then the group stands before it.
        // An alias has none: its operation has the name elsewhere.
        let Some(id) = operation["operationId"].as_str() else {
            assert!(routes.iter().filter(|(_, handler)| handler.name == *name).count() > 1, "{route} has no name");
            continue;
        };
        assert!(
            id == name || id == format!("{}_{name}", of.replace('-', "_")),
            "{route}: {id}, but its handler is {name}"
        );
    }
}

/// What the validator says of the document and of answers.
fn complaints(document: &Value, answers: &[Value]) -> String {
    let program = std::fs::read_to_string(root().join("tests/openapi/validate.py")).expect("the validator");
    stdout(&python(&program, &json!({"document": document, "answers": answers}).to_string()))
}

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("JSON")
}

#[test]
fn the_document_is_valid_and_so_are_its_examples() {
    assert_eq!(complaints(&document(), &[]), "");
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let mut wrong = document();
    wrong["info"].as_object_mut().expect("an object").remove("title");
    wrong["paths"]["/api/auth/login"]["post"]["requestBody"]["content"]["application/json"]["example"]["email"] =
        7.into();
    let answer = |status: u16, body: Value| json!({"method": "GET", "path": "/health", "status": status, "body": body});
    let strange = answer(200, json!({"status": "ok", "timestamp": "2023-01-01T12:00:00.000Z", "more": 1}));
    let found = complaints(&wrong, &[strange, answer(418, Value::Null)]);
    for expected in
        ["document: info", "example: /paths//api/auth/login/post", "answer: GET /health 200", "answer: GET /health 418"]
    {
        assert!(found.contains(expected), "{expected} is not in {found}");
    }
}

/// A path without the names of its parameters, and without a query.
fn shape(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// The path as the document writes it, of a route of the suite's table.
fn documented(route: &Route) -> String {
    let wanted = format!("{} {}", route.method, shape(route.path));
    let found = operations().into_keys().find(|key| shape(key) == wanted);
    let found = found.unwrap_or_else(|| panic!("{wanted} is not in the document"));
    found.split_once(' ').expect("a method and a path").1.to_owned()
}

#[test]
fn ranges_are_those_that_the_server_is_tested_with() {
    let operations = operations();
    for route in ROUTES.iter() {
        let path = documented(route);
        let parameters = &operations[&format!("{} {path}", route.method)]["parameters"];
        for query in route.query {
            let (Query::Number(name, ..) | Query::Time(name) | Query::Word(name) | Query::Cursor(name)) = *query;
            let parameter = parameters.as_array().and_then(|all| all.iter().find(|one| one["name"] == name));
            let schema = &parameter.unwrap_or_else(|| panic!("{path} has no {name}"))["schema"];
            if let Query::Number(_, least, most) = *query {
                assert_eq!(schema["minimum"], least, "{path} {name}");
                assert!(most == i64::MAX || schema["maximum"] == most, "{path} {name}");
            }
        }
    }
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let server = Server::start();
    let receiver = Receiver::start().await;
    receiver.behave("/hook", Behaviour::Ok);
    let (tenant, instance, ids) = furnished(&server, &receiver).await;
    let group = json!({"subject": "a group", "participants": ["79001234567"]});
    let group = instance.wa_post("/groups", &group).await.expect(201)["id"].as_str().expect("an id").to_owned();
    // Another instance, that waits to be scanned.
    let waiting = Instance::create(&tenant.client, &json!({})).await;
    waiting.qr().await;
    let waiting = Ids { instance: waiting.id, ..ids.clone() };

    // What takes something away from the others comes late, and what ends something last, in an order that lets each find
    // what it ends.
    let late = |(index, route): &(usize, &Route)| match (route.method, route.path) {
        pair if ENDING.contains(&pair) => (2, ROUTES.len() - index),
        ("PUT", "/api/instances/{instance}") | ("POST", "/api/instances/{instance}/sandbox/disconnect") => (1, *index),
        _ => (0, *index),
    };
    let mut routes: Vec<_> = ROUTES.iter().enumerate().filter(|(_, route)| !route.path.ends_with("/stream")).collect();
    routes.sort_by_key(late);
    let (mut answers, mut worked) = (Vec::new(), 0);
    for (_, route) in routes {
        if on_aws() && route.path.starts_with("/ws") {
            // The WebSocket API answers for itself.
            continue;
        }
        let ids = if route.path.ends_with("/qr") { &waiting } else { &ids };
        let fill = |text: &str| ids.fill(&text.replace("{group}", &group));
        let admin = server.admin();
        let client = if route.whose == Whose::Admin { &admin } else { &tenant.client };
        let answer = client.call(route.method(), &fill(route.path), route.json(fill).as_ref()).await;
        let body = if answer.header("content-type") == "application/json" { answer.json() } else { Value::Null };
        worked += usize::from(answer.status < 400);
        answers.push(json!({"method": route.method, "path": documented(route), "status": answer.status, "body": body}));
    }
    // The others want an administrator, a wrong password not to be wrong, or a state that only one of them can find.
    assert!(worked >= 60, "only {worked} of {} requests worked: too few to say much", answers.len());
    assert_eq!(complaints(&document(), &answers), "");
}

#[test]
fn routes_are_read_from_source() {
    let source = r#"
        Router::new()
            .route("/a", get(one))
            .route(
                "/a/{id}",
                put(x::two).delete(y::z::three).layer(Limit::max(widget(3))),
            )
    "#;
    let mut routes = Routes::new();
    parse("crate", source, &mut routes);
    let found: Vec<_> = routes.iter().map(|(route, handler)| format!("{route} {}", handler.name)).collect();
    assert_eq!(found, ["DELETE /a/{id} three", "GET /a one", "PUT /a/{id} two"]);
}
