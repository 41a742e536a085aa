//! A device: the instance that a GUID belongs to, and what is known of it beyond the instance's own row.
//!
//! A GUID is claimed by one instance: by who creates the instance with it among its credentials, or by the first callback
//! that comes from it. Personal WeChat accounts get the same sort of instance as WeCom ones: a GUID does not tell them apart
//! before its first message, and nothing that an instance promises differs.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{fact::Fact, notice};
use crate::{
    address::Platform,
    app::App,
    capability::Transport,
    clock::Millis,
    crypto,
    domain::{
        instance::{Instance, Mode},
        register::{self, Claim, New},
        user,
    },
    error::{Error, Result},
    id::InstanceId,
    store::{Change, CommitError, Cond, Item, Read, Unit, Write, keys},
};

/// A claim whose instance was never made is left by a process that ended in between; after that long anybody may take it.
const ORPHANED_AFTER_MS: i64 = 60_000;
/// Tries to take a GUID that others take at the same moment.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// `keys::device`: what the service told of the account. Absent before the first notification.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct State {
    pub(super) v: u32,
    /// The account's own company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) corp: Option<Fact<String>>,
    /// The service has told all that was there before.
    pub(super) synced: bool,
    /// When the last callback came.
    pub(super) last_at: Millis,
}

/// An instance and its device's state.
#[derive(Debug, Clone)]
pub struct Device {
    pub instance: Arc<Instance>,
    pub(super) state: State,
}

impl Device {
    pub fn id(&self) -> &InstanceId {
        &self.instance.id
    }

    /// The account's own id, once it is known.
    pub(super) fn own(&self) -> Option<&str> {
        self.instance.address.as_deref()
    }
}

/// What a GUID leads to.
#[derive(Debug)]
pub enum Found {
    Device(Box<Device>),
    /// Nobody has it.
    Nobody,
    /// Its instance is being made, or being deleted.
    Between,
}

/// A GUID as callbacks and queries give it. Errors: `INVALID_PARAMS` `Invalid GUID`.
pub fn guid(text: Option<&str>) -> Result<String> {
    notice::guid(text.unwrap_or_default())
}

/// What is said of a GUID that leads to nothing.
pub fn unknown() -> Error {
    Error::not_found("Unknown GUID").code("GUID_NOT_FOUND")
}

fn hash(app: &App, guid: &str) -> String {
    app.keyring.index("guid", guid)
}

/// Looks up who has this GUID. Two strong reads.
pub async fn find(app: &App, guid: &str) -> Result<Found> {
    let Some(claim) = app.store.get(&keys::device_guid(&hash(app, guid)), Read::Strong).await? else {
        return Ok(Found::Nobody);
    };
    let id = InstanceId::new(claim.str("instance").unwrap_or_default());
    Ok(match load(app, &id).await? {
        Some(device) => Found::Device(Box::new(device)),
        None => Found::Between,
    })
}

/// The device of an instance; `None` if it is gone, or going.
pub(super) async fn load(app: &App, id: &InstanceId) -> Result<Option<Device>> {
    let rows = app.store.batch_get(&[keys::instance(id), keys::device(id)], Read::Strong).await?;
    let mut rows = rows.into_iter();
    let (Some(Some(row)), Some(state)) = (rows.next(), rows.next()) else { return Ok(None) };
    let instance: Instance = row.into()?;
    let state = state.map(Item::into).transpose()?.unwrap_or_default();
    Ok((!instance.deleting).then(|| Device { instance: Arc::new(instance), state }))
}

/// The claim that an instance with these credentials needs; `None` for instances that are no devices.
///
/// Errors: invalid without a GUID.
pub async fn claim(app: &App, instance: &Instance) -> Result<Option<Claim>> {
    if !instance.is_reported() {
        return Ok(None);
    }
    let wanted = guid_of(app, instance)?.ok_or_else(|| {
        Error::invalid("credentials.guid", "credentials.guid is required: a text of at most 200 characters")
    })?;
    free_if_orphaned(app, &wanted, &instance.id).await?;
    let item = Item::new(
        keys::device_guid(&hash(app, &wanted)),
        &json!({ "v": 1, "instance": instance.id, "at": app.clock.now() }),
    )?;
    let taken = Error::conflict("GUID_TAKEN", "This GUID belongs to another instance").field("credentials.guid");
    Ok(Some(Claim { item, taken }))
}

/// The GUID among an instance's credentials.
fn guid_of(app: &App, instance: &Instance) -> Result<Option<String>> {
    let Some(sealed) = &instance.credentials else { return Ok(None) };
    let text = app.keyring.open_text(&format!("{}/credentials", instance.id), sealed)?;
    let credentials: Value = serde_json::from_str(text.reveal())?;
    Ok(credentials.get("guid").and_then(Value::as_str).and_then(|text| notice::guid(text).ok()))
}

/// Refuses to give a device another GUID: its messages are those of the one that it has.
pub fn check_same(app: &App, before: &Instance, after: &Instance) -> Result<()> {
    if before.is_reported() && guid_of(app, before)? != guid_of(app, after)? {
        let text = "The GUID of a device cannot be changed: create another instance for another device";
        return Err(Error::invalid("credentials.guid", text));
    }
    Ok(())
}

/// Gives the GUID of an instance that is being deleted back.
pub async fn release(app: &App, instance: &Instance) -> Result<()> {
    if !instance.is_reported() {
        return Ok(());
    }
    let Some(guid) = guid_of(app, instance)? else { return Ok(()) };
    drop_claim(app, &guid, &instance.id).await
}

async fn drop_claim(app: &App, guid: &str, of: &InstanceId) -> Result<()> {
    let write = Write::delete(keys::device_guid(&hash(app, guid))).only_if(Cond::eq("instance", of.as_str()));
    match app.store.commit(Unit::write(write)).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn free_if_orphaned(app: &App, guid: &str, wants: &InstanceId) -> Result<()> {
    let Some(claim) = app.store.get(&keys::device_guid(&hash(app, guid)), Read::Strong).await? else { return Ok(()) };
    let id = InstanceId::new(claim.str("instance").unwrap_or_default());
    let at = claim.doc.get("at").and_then(Value::as_i64).unwrap_or(0);
    let old = app.clock.now().0 - at > ORPHANED_AFTER_MS;
    if id != *wants && old && app.store.get(&keys::instance(&id), Read::Strong).await?.is_none() {
        drop_claim(app, guid, &id).await?;
    }
    Ok(())
}

/// Makes an instance for a GUID that nobody has, for the first administrator. Many may do that at once: all get the same.
///
/// Errors: `GUID_NOT_FOUND` if there is no administrator; unavailable while the GUID stays between two instances.
pub async fn register(app: &App, guid: &str) -> Result<Device> {
    let owner = user::first_admin(app).await?.ok_or_else(unknown)?;
    for _ in 0..TRIES {
        let new = New {
            id: InstanceId::new(app.ids.short()),
            user: owner.id.clone(),
            platform: Platform::Wecom,
            transport: Transport::Juhe,
            mode: Mode::Live,
        };
        let mut instance = register::row(app, new);
        instance.name = format!("Device {}", guid.chars().take(64).collect::<String>());
        let context = format!("{}/credentials", instance.id);
        instance.credentials = Some(app.keyring.seal(&context, json!({ "guid": guid }).to_string())?);
        let secret = crypto::random_text()?;
        instance.webhook.rotate(app, &instance.id.clone(), &secret)?;
        let claim = claim(app, &instance).await?;
        match register::create(app, instance, claim).await {
            Ok(instance) => {
                tracing::info!(instance = %instance.id, "a device was registered by its first callback");
                return Ok(Device { instance: Arc::new(instance), state: State::default() });
            }
            Err(error) if error.code == "GUID_TAKEN" => match find(app, guid).await? {
                Found::Device(device) => return Ok(*device),
                // Whoever was faster is about to write the instance.
                Found::Between => tokio::time::sleep(PAUSE).await,
                Found::Nobody => {}
            },
            Err(error) => return Err(error),
        }
    }
    Err(Error::unavailable("the GUID is between two instances"))
}

/// Notes when the last callback came.
pub(super) async fn note_last(app: &App, id: &InstanceId, at: Millis) -> Result<(), CommitError> {
    let later = Cond::Any(vec![Cond::lacks("lastAt"), Cond::lt("lastAt", at.0)]);
    let write = Write::update(keys::device(id), Change::default().set("v", 1).set("lastAt", at.0));
    match app.store.commit(Unit::write(write.only_if(Cond::Any(vec![Cond::Absent, later])))).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
