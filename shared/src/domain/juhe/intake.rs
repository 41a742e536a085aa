//! Taking a callback in: what it holds is queued in one unit, and only then answered.
//!
//! Notifications of one conversation are in one group of the queue, in the order in which they came; conversations do not
//! wait for each other. What belongs to no conversation is in a group of its own.

use serde::{Deserialize, Serialize};

use super::{
    device::Device,
    notice::{Callback, News, Notice},
};
use crate::{
    app::App,
    clock::Millis,
    domain::job::{self, Work},
    error::{Error, Result},
    id::InstanceId,
    store::Unit,
};

/// Bytes of a notification at the most: a queue message has room for 256 KiB.
pub const MAX_NOTICE: usize = 192 * 1024;

/// Notifications that are worked off together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub instance: InstanceId,
    /// Unique.
    pub id: String,
    pub received: Millis,
    /// Where the instance's log ended then.
    pub from: u64,
    pub notices: Vec<Notice>,
}

/// The queue's group of everything that belongs to no conversation.
pub fn device_group(instance: &InstanceId) -> String {
    format!("{GROUP}{instance}")
}

/// What the groups of all devices begin with.
pub const GROUP: &str = "juhe/";

/// Queues what the callback holds. Durable when it returns.
///
/// Errors: too large for a single notification that no queue takes.
pub async fn accept(app: &App, device: &Device, callback: Callback) -> Result<()> {
    let id = device.id();
    let mut groups: Vec<(String, Vec<Vec<Notice>>, usize)> = Vec::new();
    let mut connection = false;
    for notice in callback.notices {
        let bytes = serde_json::to_string(&notice)?.len();
        if bytes > MAX_NOTICE {
            return Err(Error::too_large(format!("A notification must not be larger than {MAX_NOTICE} bytes")));
        }
        connection |= notice.news() == News::Connection;
        let group = match notice.conversation() {
            Some(conversation) => {
                format!("{GROUP}{id}/{}", app.keyring.index2("conversation", id.as_str(), &conversation))
            }
            None => device_group(id),
        };
        let place = groups.iter().position(|(known, ..)| *known == group).unwrap_or_else(|| {
            groups.push((group, vec![Vec::new()], 0));
            groups.len() - 1
        });
        let (_, parts, filled) = &mut groups[place];
        if *filled + bytes > MAX_NOTICE {
            parts.push(Vec::new());
            *filled = 0;
        }
        *filled += bytes;
        if let Some(part) = parts.last_mut() {
            part.push(notice);
        }
    }
    let (received, ulid) = (app.clock.now(), app.ids.ulid());
    let from = if connection { app.store.tail(id.as_str()).await?.seq } else { 0 };
    let mut enqueue = Vec::new();
    for (group, parts, _) in groups {
        for notices in parts {
            let delivery =
                Delivery { instance: id.clone(), id: format!("{ulid}.{}", enqueue.len()), received, from, notices };
            let dedup = delivery.id.clone();
            enqueue.push(job::background(group.clone(), dedup, Work::Juhe(Box::new(delivery)))?);
        }
    }
    app.store.commit(Unit { enqueue, ..Unit::default() }).await?;
    Ok(())
}
