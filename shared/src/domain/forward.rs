//! Messages that somebody hands over to be forwarded to WeCom (seed 004, `POST /api/webhook/wechat`). Each becomes an entry of
//! the log of an instance of theirs, with the dispatch for the one endpoint that it is for: from there on it is a delivery
//! like any other.

use serde_json::json;

use crate::{
    address::Platform,
    app::App,
    clock::{DAY_MS, Millis},
    domain::{
        access::Caller,
        endpoint::ROBOT,
        event::{self, Kind},
        forwarder::{Format, Forwarder},
        im::account,
        instance::{self, Instance},
    },
    error::{Error, Result},
    store::{
        Append, CommitError, Item, Stamp, Unit, Write, keys,
        log::{self, Writer},
    },
    webhook,
};

/// Attribute of a gate: the position of its entry.
const SEQ: &str = "seq";

/// A message, as it was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub from_name: String,
    pub content: String,
}

/// Where it goes.
#[derive(Debug)]
pub struct Target {
    /// Whose log tells of it.
    pub instance: Instance,
    pub endpoint: String,
}

/// The WeCom robot of a caller: the first forwarder to WeCom that is on, those of the `im` instance before those of others
/// and older instances before newer ones; else the deployment's own.
///
/// Errors: `NO_FORWARDER` (409) when there is neither.
pub async fn to_wecom(app: &App, caller: &Caller) -> Result<Target> {
    let robot = |instance: &Instance| {
        let mut all = instance.forwarders.iter();
        all.find(|forwarder| forwarder.enabled && forwarder.format == Format::Wecom).map(Forwarder::endpoint)
    };
    let mut instances = instance::all_of_user(app, caller.id()).await?;
    instances.retain(|instance| caller.covers(&instance.id));
    // Stable: among the others their order stays.
    instances.sort_by_key(|instance| instance.platform != Platform::Im);
    let own = instances.into_iter().find_map(|instance| Some((robot(&instance)?, instance)));
    if let Some((endpoint, instance)) = own {
        return Ok(Target { instance, endpoint });
    }
    if app.config.wecom_robot.is_none() || caller.is_limited_to_instances() {
        return Err(Error::conflict(
            "NO_FORWARDER",
            "There is nowhere to forward to: add a forwarder of type wecom to one of your instances, or set WECOM_ROBOT_KEY",
        ));
    }
    let instance = account::find_or_create(app, &caller.user).await?;
    Ok(Target { instance, endpoint: ROBOT.to_owned() })
}

/// Makes the delivery durable and returns its id. `id`: the same again is the same delivery, for a day.
pub async fn hand_over(app: &App, target: &Target, id: &str, message: &Message) -> Result<String> {
    let Target { instance, endpoint } = target;
    let now = app.clock.now();
    let mut entry = event::entry(Kind::ForwardedMessage, format!("forward/{id}"), now);
    entry.data = json!({
        "event": "new_message",
        "fromName": message.from_name,
        "content": message.content,
        "endpoint": endpoint,
    });
    let entries = vec![entry];
    let unit = |writes: Vec<Write>, look_from: Option<u64>| Unit {
        writes,
        enqueue: event::dispatches(instance, &entries, 0),
        append: vec![Append {
            log: instance.id.to_string(),
            writer: Writer::Foreign,
            entries: entries.clone(),
            look_from,
        }],
        done: None,
    };
    let gate = Item::new(keys::forwarded(&instance.id, id), &json!({ "v": 1 }))?.expires(Millis(now.0 + DAY_MS));
    let gate = Write::create(gate).stamped(SEQ, Stamp::FIRST);
    let (seq, at) = match app.store.commit(unit(vec![gate], None)).await {
        Ok(committed) => (committed.first(), now),
        Err(CommitError::Conflict { old: Some(old), .. }) => {
            let from = old.u64(SEQ).ok_or_else(|| Error::internal("a gate says where its entry is"))?;
            let seq = app.store.commit(unit(Vec::new(), Some(from))).await?.first();
            let found = log::read(&*app.store, instance.id.as_str(), seq - 1, 1).await?;
            (seq, found.first().map_or(now, |entry| entry.body.at))
        }
        Err(error) => return Err(error.into()),
    };
    Ok(webhook::id_of(&instance.id, at, seq, endpoint))
}
