//! The deployment: the template against the code, and deployed into an emulator that enforces its policies. What is checked is in
//! `tests/infra`, in Python, where the tools for templates are; here is what they are told of the code.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use shared::{clock::SystemClock, store::meter::Meter};
use shared_aws::{Aws, Settings};

use crate::harness::ministack;
use crate::harness::process::binary;
use crate::harness::tools::{python, root, stdout};
use crate::openapi;

/// Shards of the template.
const SHARDS: u16 = 8;

/// Runs a program of `tests/infra`; what it writes are complaints.
#[track_caller]
fn complaints(program: &str, input: &Value) -> String {
    let folder = root().join("tests/infra");
    let start = format!(
        "import sys, runpy; sys.dont_write_bytecode = True; sys.path.insert(0, {folder:?}); \
         runpy.run_path({:?}, run_name='__main__')",
        folder.join(program),
    );
    stdout(&python(&start, &input.to_string()))
}

/// Where the programs under test are.
fn bins() -> Value {
    let folder = binary("auth").parent().expect("a file is in a folder").to_owned();
    json!({ "bins": folder })
}

#[test]
fn the_template_lints_and_refers_to_nothing_that_is_not_there() {
    assert_eq!(complaints("lint.py", &Value::Null), "");
}

#[test]
fn every_route_leads_to_the_function_that_has_it() {
    let routes: Map<String, Value> =
        openapi::routes().into_iter().map(|(route, handler)| (route, handler.of.into())).collect();
    assert!(routes.len() > 100, "only {} routes were read", routes.len());
    assert_eq!(complaints("routes.py", &routes.into()), "");
}

#[test]
fn every_role_may_do_what_its_code_does_and_no_more() {
    assert_eq!(complaints("policies.py", &Value::Null), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn table_and_queues_are_those_that_the_code_makes() {
    let name = format!("infra{}", std::process::id());
    let endpoint = tokio::task::block_in_place(ministack::endpoint).to_owned();
    let settings = Settings {
        table: name.clone(),
        queue_prefix: format!("{name}-"),
        shards: SHARDS,
        emulator: Some(endpoint.clone()),
    };
    let aws = Aws::connect(settings, Arc::new(SystemClock::default()), Arc::new(Meter::default())).await;
    let aws = aws.expect("AWS connects");
    aws.create().await.expect("table and queues are made");
    let made = json!({ "endpoint": endpoint, "table": name, "prefix": format!("{name}-") });
    let found = tokio::task::spawn_blocking(move || complaints("state.py", &made)).await.expect("it ends");
    aws.drop_all().await.expect("table and queues go");
    assert_eq!(found, "");
}

#[test]
fn the_template_deploys_and_works_with_its_policies_enforced() {
    assert_eq!(complaints("deploy.py", &bins()), "");
}

#[test]
fn cargo_lambda_watch_serves_all_http_functions_on_one_port() {
    assert_eq!(complaints("watch.py", &bins()), "");
}
