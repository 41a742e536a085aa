//! The OpenAPI document: it is what the generator makes, it lists exactly the operations that the routers have, and it is
//! valid. The routes are read from the routers' source, so neither side can be forgotten.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::harness::tools::{python, root, stdout};

const DOCUMENT: &str = include_str!("../../shared/src/edge/openapi/openapi.json");

/// What may be imported from `axum::routing`.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The crate whose source has the route, and the name of its handler.
#[derive(Clone, Debug, PartialEq)]
struct Handler {
    of: String,
    name: String,
}

/// `METHOD /path` → handler, of every router.
type Routes = BTreeMap<String, Handler>;

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
fn routes() -> Routes {
    let mut routes = Routes::new();
    read("edge", &root().join("shared/src/edge"), &mut routes);
    for entry in std::fs::read_dir(root().join("functions")).expect("the deployables") {
        let path = entry.expect("an entry").path();
        if path.join("src").is_dir() {
            let of = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
            read(of, &path.join("src"), &mut routes);
        }
    }
    routes
}

/// `METHOD /path` → operation.
fn operations() -> BTreeMap<String, Value> {
    let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
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
        let id = operation["operationId"].as_str().expect("a text");
        assert!(
            id == name || id == format!("{}_{name}", of.replace('-', "_")),
            "{route}: {id}, but its handler is {name}"
        );
    }
}

#[test]
fn the_document_is_valid_and_so_are_its_examples() {
    let program = std::fs::read_to_string(root().join("tests/openapi/validate.py")).expect("the validator");
    assert_eq!(stdout(&python(&program, DOCUMENT)), "");
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let program = std::fs::read_to_string(root().join("tests/openapi/validate.py")).expect("the validator");
    let mut document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
    document["info"].as_object_mut().expect("an object").remove("title");
    document["paths"]["/api/auth/login"]["post"]["requestBody"]["content"]["application/json"]["example"]["email"] =
        7.into();
    let found = stdout(&python(&program, &document.to_string()));
    assert!(found.contains("document: info") && found.contains("example: /paths//api/auth/login/post"), "{found}");
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
