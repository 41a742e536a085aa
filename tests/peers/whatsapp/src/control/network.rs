//! The network between clients and server, and what went over it.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State as Shares;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Reply;
use crate::state::{Cut, Peer};
use crate::world::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CutRequest {
    /// For how long no connection gets through; 0 only breaks those there are.
    seconds: f64,
    /// Only these phones; absent: everybody.
    #[serde(default)]
    phones: Vec<String>,
    /// Connections stay open, and what is written meanwhile arrives afterwards.
    #[serde(default)]
    silent: bool,
}

pub(crate) async fn post_cut(Shares(world): Shares<Shared>, Json(cut): Json<CutRequest>) -> Reply<Json<Value>> {
    let mut state = world.state();
    let mut broken = 0;
    for conn in state.conns.values() {
        let concerned = match &conn.peer {
            _ if cut.phones.is_empty() => true,
            Peer::Device { pn, .. } => cut.phones.contains(pn),
            Peer::Registering(_) => false,
        };
        if concerned && !cut.silent {
            conn.abort.abort();
            broken += 1;
        }
    }
    state.cut = Some(Cut {
        until: Instant::now() + Duration::from_secs_f64(cut.seconds.clamp(0.0, 3600.0)),
        phones: cut.phones,
        silent: cut.silent,
    });
    Ok(Json(json!({ "broken": broken })))
}

pub(crate) async fn get_stats(Shares(world): Shares<Shared>) -> Json<Value> {
    let state = world.state();
    let mut stats = json!(state.stats);
    if let Value::Object(fields) = &mut stats {
        fields.insert("phones".to_owned(), json!(state.phones.len()));
        fields.insert("connections".to_owned(), json!(state.conns.len()));
        let linked: usize = state.phones.values().map(|phone| phone.devices.len()).sum();
        fields.insert("linkedDevices".to_owned(), json!(linked));
    }
    Json(stats)
}
