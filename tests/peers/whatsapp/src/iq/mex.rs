//! Queries in GraphQL, each under an id that WhatsApp has given it.

use serde_json::json;
use wacore::iq::mex_operations::fetch_reachout_timelock::DOC_ID as TIME_LOCK;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use super::{Answer, Asker};
use crate::clock::now_secs;
use crate::stanza::attr;
use crate::state::State;

pub(super) fn answer(state: &State, asker: Asker<'_>, query: &Node) -> Option<Answer> {
    if attr(query, "query_id").as_deref() != Some(TIME_LOCK) {
        return None;
    }
    let until = state.phones.get(asker.pn)?.time_lock.filter(|until| *until > now_secs());
    let lock = json!({
        "is_active": until.is_some(),
        "time_enforcement_ends": until.map(|until| until.to_string()),
        "enforcement_type": "DEFAULT",
    });
    let answer = json!({ "data": { "xwa2_fetch_account_reachout_timelock": lock } });
    Some(Ok(vec![NodeBuilder::new("result").bytes(answer.to_string().into_bytes()).build()]))
}
