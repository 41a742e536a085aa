//! Making an instance: its row, its place in its shard, the command that starts it. What the settings are is the caller's.

use serde_json::json;

use crate::{
    address::Platform,
    app::App,
    capability::Transport,
    connector::{Action, Command},
    domain::{
        activity::{self, Action as Noted},
        endpoint::Webhook,
        instance::{self, Instance, Mode, Status},
        job,
    },
    error::{Error, Result},
    id::{InstanceId, UserId},
    store::{CommitError, Item, Unit, Write},
};

/// What an account is, fixed for good.
#[derive(Debug, Clone)]
pub struct New {
    /// Derived from an allocated id, so that a repeated request meets the first row.
    pub id: InstanceId,
    pub user: UserId,
    pub platform: Platform,
    pub transport: Transport,
    pub mode: Mode,
}

/// The row of a new instance, with the settings' defaults.
pub fn row(app: &App, new: New) -> Instance {
    let now = app.clock.now();
    Instance {
        v: instance::VERSION,
        shard: shard_of(app, &new.id),
        id: new.id,
        user_id: new.user,
        platform: new.platform,
        transport: new.transport,
        mode: new.mode,
        name: String::new(),
        description: None,
        created_at: now,
        updated_at: now,
        webhook: Webhook::default(),
        forwarders: Vec::new(),
        credentials: None,
        proxy: None,
        limits: None,
        watched_until: None,
        reconnect_asked_at: None,
        imported_by: None,
        deleting: false,
        epoch: 0,
        status: Status::Connecting,
        reason: None,
        status_at: now,
        paired: false,
        address: None,
        aliases: Vec::new(),
        account_name: None,
        qr: None,
        last_seen_at: None,
        history_sync: None,
        restriction: None,
    }
}

/// Spreads instances over the shards by their id.
fn shard_of(app: &App, id: &InstanceId) -> u16 {
    let hash = id.as_str().bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    u16::try_from(hash % u32::from(app.config.worker_shards.max(1))).unwrap_or(0)
}

/// Something that only one instance may have: an item that names its instance in the attribute `instance`.
#[derive(Debug)]
pub struct Claim {
    pub item: Item,
    /// What to say when another instance has it.
    pub taken: Error,
}

/// Makes the instance durable and has it started. The same id again, of the same user: the first row counts and is answered.
///
/// Errors: [`Claim::taken`]; `INSTANCE_EXISTS` if the id is another's.
pub async fn create(app: &App, mut instance: Instance, claim: Option<Claim>) -> Result<Instance> {
    // Who follows the user's events follows this instance's from the first.
    instance.watched_until = app.realtime.watches(&instance.user_id).await?;
    let start = Command::new(instance.id.clone(), Action::Start);
    let unit = Unit {
        writes: vec![
            Write::create(instance::item(&instance)?),
            Write::put(instance::placement(&instance)?),
            activity::note(app, &instance.id, Noted::InstanceCreated, json!({}))?,
        ],
        enqueue: vec![job::command_message(&instance, &start, &format!("start/{}", instance.id))?],
        ..Unit::default()
    };
    if let Some(Claim { item, taken }) = claim {
        match app.store.commit(Unit::write(Write::create(item))).await {
            Ok(_) => {}
            // This very request came before.
            Err(CommitError::Conflict { old: Some(old), .. }) if old.str("instance") == Some(instance.id.as_str()) => {}
            Err(CommitError::Conflict { .. }) => return Err(taken),
            Err(error) => return Err(error.into()),
        }
    }
    let mut rest = unit.clone();
    rest.writes.remove(0);
    // A fresh row is the gate; behind it everything can be repeated.
    match app.store.commit(unit).await {
        Ok(_) => {
            app.realtime.look(&instance.user_id).await;
            Ok(instance)
        }
        Err(CommitError::Conflict { which: 0, old: Some(old) }) => {
            let first: Instance = (*old).into()?;
            if first.user_id != instance.user_id || first.deleting {
                return Err(Error::conflict("INSTANCE_EXISTS", "Please try again"));
            }
            app.store.commit(rest).await.map_err(Error::from)?;
            Ok(first)
        }
        Err(error) => Err(error.into()),
    }
}
