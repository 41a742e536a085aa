//! What the service reports of a device's connection.

use super::{
    device::Device,
    fact::Fact,
    facts::Person,
    intake::{Delivery, device_group},
    notice::{Notice, kind},
    people,
    wire::Fields,
};
use crate::{
    app::App,
    connector::Closed,
    domain::{
        instance::Status,
        job::{self, Work},
        owner::{Author, Report},
    },
    error::Result,
    store::{Change, CommitError, Unit, Write, keys},
};

/// `reason` of an instance that waits for its account to be verified.
const VERIFICATION: &str = "verification";

/// Applies one report; `which` of the delivery it is.
pub(super) async fn apply(
    app: &App,
    author: &Author<'_>,
    device: &Device,
    delivery: &Delivery,
    which: usize,
    notice: &Notice,
) -> Result<(), CommitError> {
    let nothing = serde_json::Map::new();
    let fields = Fields(notice.data.as_object().unwrap_or(&nothing));
    let report = match notice.kind {
        Some(kind::READY) => Report::Connecting,
        Some(kind::QR) => {
            let code = fields.text(&["qrcode", "qr_code", "qrcode_content", "qrcode_url"]);
            let scan = fields.number(&["status"]);
            Report::Qr { code: Some(code).filter(|code| !code.is_empty()), scan }
        }
        Some(kind::LOGIN) => login(app, device, delivery, which, fields).await?,
        Some(kind::LOGOUT) => {
            set(app, device, Change::default().set("synced", false)).await?;
            closed(Status::LoggedOut, Closed::Logout, Closed::Logout.name(), false)
        }
        Some(kind::CONTACTS_SYNCED) => return set(app, device, Change::default().set("synced", true)).await,
        // Everything that was there has been told; the login said the rest.
        Some(kind::INITIALISED) => Report::Opened { account: None },
        // The service connects again by itself.
        Some(kind::HEARTBEAT_LOST) => closed(Status::Disconnected, Closed::Unreachable, UNREACHABLE, true),
        Some(kind::SESSION_OVER) => closed(Status::AuthExpired, Closed::Error, "session_timeout", false),
        Some(kind::LOGIN_FAILED) => closed(Status::Error, Closed::Error, "login_failed", false),
        Some(kind::REPLACED) => closed(Status::Disconnected, Closed::Replaced, Closed::Replaced.name(), false),
        Some(kind::VERIFICATION) => closed(Status::AuthExpired, Closed::Error, VERIFICATION, false),
        _ => return Ok(()),
    };
    let id = format!("{}.{which}", delivery.id);
    author.reported(&report, &id, delivery.received, delivery.from).await
}

/// `reason` of a line that broke and comes back.
const UNREACHABLE: &str = "unreachable";

fn closed(status: Status, reason: Closed, detail: &'static str, will_reconnect: bool) -> Report {
    Report::Closed { status, reason, detail, will_reconnect }
}

/// Who the account is decides what it wrote itself: what came before that was known is looked through once.
async fn login(
    app: &App,
    device: &Device,
    delivery: &Delivery,
    which: usize,
    fields: Fields<'_>,
) -> Result<Report, CommitError> {
    let Some(person) = Person::read(fields) else { return Ok(Report::Opened { account: None }) };
    if !person.corp.is_empty() {
        let corp = Fact::new(person.corp.clone(), delivery.received);
        set(app, device, Change::default().set("corp", serde_json::to_value(&corp).map_err(crate::Error::from)?))
            .await?;
    }
    if device.own() != Some(person.id.as_str()) {
        let work = Work::JuheOwn { instance: device.id().clone(), own: person.id.clone(), after: None };
        let dedup = format!("{}.{which}/own", delivery.id);
        let enqueue = vec![job::background(device_group(device.id()), dedup, work)?];
        app.store.commit(Unit { enqueue, ..Unit::default() }).await?;
        people::forget_own(app, device, &person.id).await?;
    }
    Ok(Report::Opened { account: Some((person.id, person.name)) })
}

async fn set(app: &App, device: &Device, change: Change) -> Result<(), CommitError> {
    app.store.commit(Unit::write(Write::update(keys::device(device.id()), change.set("v", 1)))).await.map(drop)
}

/// Messages come: whatever was wrong with the line is over.
pub(super) async fn alive(
    app: &App,
    author: &Author<'_>,
    device: &Device,
    delivery: &Delivery,
) -> Result<(), CommitError> {
    let instance = &device.instance;
    let waits = match instance.status {
        Status::Connecting => true,
        Status::Disconnected => instance.reason.as_deref() == Some(UNREACHABLE),
        _ => false,
    };
    if !waits {
        return Ok(());
    }
    let from = app.store.tail(device.id().as_str()).await?.seq;
    author.reported(&Report::Opened { account: None }, &format!("{}/alive", delivery.id), delivery.received, from).await
}
