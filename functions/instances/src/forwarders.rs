//! The forwarders of an instance: list, make, change, delete, test.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error,
    app::App,
    app::AppState,
    clock::Millis,
    connector::{Action, Command},
    domain::{
        access::Scope,
        activity::{self, Action as Noted},
        compose,
        forwarder::{self, Format, Forwarder},
        instance::{self, Instance},
        job,
    },
    edge::{Allocated, Json, Owned, Reject},
    id::InstanceId,
    store::{Change, CommitError, Cond, Unit, Write, keys},
    webhook,
};
use url::Url;

use crate::{
    Answer, deliveries,
    settings::{globs, nullable, retries, retry_interval},
};

/// Changes that met another one before the caller is told to try again.
const TRIES: usize = 8;
/// Bytes of a URL, and of a key or secret.
const LONGEST_URL: usize = 2048;
const LONGEST_SECRET: usize = 255;

/// What POST and PUT take; POST needs `type`, and `url` or `key`.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Given {
    #[serde(rename = "type")]
    format: Option<Format>,
    name: Option<String>,
    url: Option<String>,
    key: Option<String>,
    #[serde(deserialize_with = "nullable")]
    secret: Option<Option<String>>,
    events: Option<Vec<String>>,
    enabled: Option<bool>,
    max_retries: Option<u32>,
    retry_interval: Option<u64>,
    content_type: Option<String>,
    template: Option<String>,
}

impl Given {
    /// Checks everything that is given and puts it into the forwarder. What is not given stays.
    fn apply(self, app: &App, instance: &InstanceId, forwarder: &mut Forwarder) -> shared::Result<()> {
        let format = forwarder.format;
        if self.format.is_some_and(|given| given != format) {
            return Err(Error::invalid("type", "type cannot be changed: make another forwarder"));
        }
        if let Some(name) = self.name {
            if name.trim().is_empty() {
                return Err(Error::invalid("name", "name must not be empty"));
            }
            forwarder.name = compose::text("name", name.trim(), 100)?;
        }
        if let Some(url) = url_of(app, format, self.url.as_deref(), self.key.as_deref())? {
            forwarder.set_url(app, instance, &url)?;
            // A new address is a new chance.
            forwarder.enabled = true;
            forwarder.disabled_reason = None;
        }
        if let Some(secret) = self.secret {
            let secret = compose::optional("secret", secret, LONGEST_SECRET)?;
            if secret.is_some() && matches!(format, Format::Wecom | Format::Slack) {
                return Err(Error::invalid("secret", format!("secret: {} has no signatures", format.name())));
            }
            forwarder.set_secret(app, instance, secret.as_deref())?;
        }
        if let Some(events) = self.events {
            forwarder.events = globs("events", events)?;
        }
        if let Some(enabled) = self.enabled {
            forwarder.enabled = enabled;
            if enabled {
                forwarder.disabled_reason = None;
            }
        }
        if let Some(given) = self.max_retries {
            forwarder.max_retries = retries(given)?;
        }
        if let Some(given) = self.retry_interval {
            forwarder.retry_interval = retry_interval(given)?;
        }
        match format {
            Format::Template => {
                let kind = self.content_type.or(forwarder.content_type.take());
                let kind = kind.unwrap_or_else(|| "application/json".into());
                let template = self.template.or(forwarder.template.take()).unwrap_or_default();
                webhook::check_template(&template, &kind)?;
                (forwarder.content_type, forwarder.template) = (Some(kind), Some(template));
            }
            _ => {
                for (field, given) in [("contentType", self.content_type), ("template", self.template)] {
                    if given.is_some() {
                        return Err(Error::invalid(field, format!("{field} is for type template only")));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where to call, if anything says so.
fn url_of(app: &App, format: Format, url: Option<&str>, key: Option<&str>) -> shared::Result<Option<Url>> {
    let url = url
        .map(|url| {
            if url.len() > LONGEST_URL {
                return Err(Error::invalid("url", format!("url must have at most {LONGEST_URL} bytes")));
            }
            app.guard.check_url(url, "url")
        })
        .transpose()?;
    let Some(key) = key else { return Ok(url) };
    if key.is_empty() || key.len() > LONGEST_SECRET || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid("key", format!("key must have 1 to {LONGEST_SECRET} characters, without spaces")));
    }
    match format.url_of_key(url.as_ref(), key) {
        Some(url) => Ok(Some(url)),
        None => Err(Error::invalid("key", format!("key: a forwarder of type {} has a url", format.name()))),
    }
}

fn unknown() -> Error {
    Error::not_found("Forwarder not found").code("FORWARDER_NOT_FOUND")
}

/// What a change has come to.
struct Changed {
    instance: Instance,
    noted: Noted,
    forwarder: Forwarder,
}

/// Changes the list of forwarders: again and again, while others change the row at the same time. `change` says what to
/// note, and of which forwarder; `None`: there is nothing to do.
async fn edit(
    app: &App,
    mut instance: Instance,
    change: impl Fn(&mut Instance, Millis) -> shared::Result<Option<(Noted, Forwarder)>>,
) -> shared::Result<Option<Changed>> {
    for _ in 0..TRIES {
        let before = instance.updated_at;
        // Strictly later, so that the condition tells two changes within a millisecond apart.
        let now = Millis(app.clock.now().0.max(before.0 + 1));
        let Some((noted, forwarder)) = change(&mut instance, now)? else { return Ok(None) };
        instance.updated_at = now;
        let list = serde_json::to_value(&instance.forwarders)?;
        let change = Change::default().set("forwarders", list).set("updatedAt", now.0);
        let reconfigure = Command::new(instance.id.clone(), Action::Reconfigure);
        let details = json!({ "forwarderId": forwarder.id, "type": forwarder.format, "name": forwarder.name });
        let unit = Unit {
            writes: vec![
                Write::update(keys::instance(&instance.id), change)
                    .only_if(Cond::All(vec![Cond::eq("updatedAt", before.0), Cond::lacks("deleting")])),
                activity::note(app, &instance.id, noted, details)?,
            ],
            enqueue: vec![job::command_message(&instance, &reconfigure, &format!("set/{}/{}", instance.id, now.0))?],
            ..Unit::default()
        };
        match app.store.commit(unit).await {
            Ok(_) => return Ok(Some(Changed { instance, noted, forwarder })),
            Err(CommitError::Conflict { .. }) => {
                instance = instance::find(app, &instance.id).await?.ok_or_else(instance::unknown)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::conflict("CONCURRENT_UPDATE", "The instance was changed at the same time, please try again"))
}

/// Wakes what waits for the forwarder. The change itself is durable: without this, it comes to it at its next timer.
async fn wake(app: &App, changed: &Changed) {
    let (id, endpoint) = (&changed.instance.id, changed.forwarder.endpoint());
    let woken = match changed.noted {
        Noted::ForwarderDeleted => webhook::removed(app, id, &endpoint).await,
        _ => webhook::settings_changed(app, id, &endpoint).await,
    };
    if let Err(error) = woken {
        tracing::warn!(instance = %id, endpoint, %error, "waiting deliveries were not woken");
    }
}

/// `GET …/forwarders`.
pub(crate) async fn list_forwarders(owned: Owned) -> Answer {
    let instance = owned.with(Scope::InstancesManage)?.instance;
    let forwarders: Vec<_> = instance.forwarders.iter().map(Forwarder::view).collect();
    Ok(axum::Json(json!({ "forwarders": forwarders })))
}

/// `POST …/forwarders` → 201.
pub(crate) async fn create_forwarder(
    State(app): State<AppState>,
    owned: Owned,
    allocated: Allocated,
    Json(given): Json<Given>,
) -> Result<(StatusCode, axum::Json<Value>), Reject> {
    let instance = owned.with(Scope::InstancesManage)?.instance;
    let format = given.format.ok_or_else(|| Error::invalid("type", "type is required"))?;
    if given.url.is_none() && given.key.is_none() {
        return Err(
            Error::invalid("url", format!("url{} is required", if has_keys(format) { " or key" } else { "" })).into()
        );
    }
    let (id, instance_id) = (allocated.short(), instance.id.clone());
    // This very request may have come before, and its answer been lost: then it is there.
    let made =
        |instance: &Instance| instance.forwarders.iter().find(|forwarder| forwarder.id == id).map(Forwarder::view);
    if let Some(view) = made(&instance) {
        return Ok((StatusCode::CREATED, axum::Json(view)));
    }
    let changed = edit(&app, instance, |instance, now| {
        if instance.forwarders.len() >= forwarder::MOST {
            let text = format!("An instance has at most {} forwarders", forwarder::MOST);
            return Err(Error::conflict("TOO_MANY_FORWARDERS", text));
        }
        let mut forwarder = Forwarder::new(id.clone(), format, now);
        let enabled = given.enabled;
        given.clone().apply(&app, &instance_id, &mut forwarder)?;
        forwarder.enabled = enabled.unwrap_or(true);
        instance.forwarders.push(forwarder.clone());
        Ok(Some((Noted::ForwarderCreated, forwarder)))
    })
    .await?;
    let view = changed.map_or(Value::Null, |changed| changed.forwarder.view());
    Ok((StatusCode::CREATED, axum::Json(view)))
}

fn has_keys(format: Format) -> bool {
    matches!(format, Format::Wecom | Format::Dingtalk | Format::Feishu)
}

/// `PUT …/forwarders/{forwarderId}`: changes what is given.
pub(crate) async fn update_forwarder(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    owned: Owned,
    Json(given): Json<Given>,
) -> Answer {
    let instance = owned.with(Scope::InstancesManage)?.instance;
    let instance_id = instance.id.clone();
    let changed = edit(&app, instance, |instance, now| {
        let forwarder = instance.forwarders.iter_mut().find(|forwarder| forwarder.id == id).ok_or_else(unknown)?;
        given.clone().apply(&app, &instance_id, forwarder)?;
        forwarder.updated_at = now;
        Ok(Some((Noted::ForwarderUpdated, forwarder.clone())))
    })
    .await?;
    let changed = changed.ok_or_else(unknown)?;
    wake(&app, &changed).await;
    Ok(axum::Json(changed.forwarder.view()))
}

/// `DELETE …/forwarders/{forwarderId}`: what waits for it ends.
pub(crate) async fn delete_forwarder(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    owned: Owned,
) -> Answer {
    let instance = owned.with(Scope::InstancesManage)?.instance;
    let changed = edit(&app, instance, |instance, _| {
        let at = instance.forwarders.iter().position(|forwarder| forwarder.id == id).ok_or_else(unknown)?;
        Ok(Some((Noted::ForwarderDeleted, instance.forwarders.remove(at))))
    })
    .await?;
    let changed = changed.ok_or_else(unknown)?;
    wake(&app, &changed).await;
    Ok(axum::Json(json!({ "success": true })))
}

/// `POST …/forwarders/{forwarderId}/test`: posts a `webhook_test` in the forwarder's form at once, and tells how it went.
pub(crate) async fn test_forwarder(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    owned: Owned,
) -> Answer {
    let instance = owned.with(Scope::InstancesManage)?.instance;
    let forwarder = instance.forwarders.iter().find(|forwarder| forwarder.id == id).ok_or_else(unknown)?;
    let delivery = webhook::test(&app, &instance, &forwarder.endpoint()).await?;
    Ok(axum::Json(deliveries::tested(&delivery)))
}
