//! Create, list, read and change instances.

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error,
    address::Platform,
    app::AppState,
    capability::{self, Transport},
    clock::Millis,
    connector::{Action, Command},
    crypto,
    domain::{
        access::{Caller, Scope},
        activity::{self, Action as Noted},
        cloud::{Credentials, is_cloud},
        endpoint::WEBHOOK,
        im,
        instance::{self, Instance, Mode},
        job, juhe,
        register::{self, New},
        view,
    },
    edge::{Allocated, Json2, Owned, Reject, query::Params},
    id::InstanceId,
    store::{Change, CommitError, Cond, Item, Unit, Write, keys},
    webhook,
};

use crate::{Answer, settings::Settings};

/// What an instance is for as long as it lives.
#[derive(Debug, Deserialize)]
pub(crate) struct Fixed {
    platform: Option<Platform>,
    transport: Option<Transport>,
    mode: Option<Mode>,
}

impl Fixed {
    /// Refuses another platform, transport or mode than the instance has.
    fn check(&self, instance: &Instance) -> shared::Result<()> {
        let differs = [
            ("platform", self.platform.is_some_and(|platform| platform != instance.platform)),
            ("transport", self.transport.is_some_and(|transport| transport != instance.transport)),
            ("mode", self.mode.is_some_and(|mode| mode != instance.mode)),
        ];
        match differs.into_iter().find(|(_, differs)| *differs) {
            Some((field, _)) => Err(Error::invalid(field, format!("{field} cannot be changed")).code("IMMUTABLE")),
            None => Ok(()),
        }
    }
}

/// `POST /api/instances` → 201.
pub(crate) async fn create_instance(
    State(app): State<AppState>,
    caller: Caller,
    allocated: Allocated,
    Json2(body, settings): Json2<Fixed, Settings>,
) -> Result<(StatusCode, axum::Json<Value>), Reject> {
    caller.require(Scope::InstancesManage)?;
    if caller.is_limited_to_instances() {
        return Err(Error::forbidden("This API key is for some instances only").code("SCOPE_REQUIRED").into());
    }
    if settings.name.is_none() {
        return Err(Error::invalid("name", "Name is required").into());
    }
    let platform = body.platform.unwrap_or(Platform::Whatsapp);
    let transport = body.transport.unwrap_or(capability::default_transport(platform));
    capability::capability(platform, transport)?;
    let mode = body.mode.unwrap_or(Mode::Live);
    if platform == Platform::Wecom && mode == Mode::Live {
        let guid = settings.credentials.as_ref().and_then(|credentials| credentials.as_ref()?.get("guid")?.as_str());
        if guid.is_none_or(str::is_empty) {
            return Err(Error::invalid("credentials.guid", "credentials.guid is required for wecom").into());
        }
    }
    if is_cloud(platform, transport, mode) {
        Credentials::read(settings.credentials.as_ref().and_then(Option::as_ref))?;
    }
    // Derived from the allocated ULID, so that a repeated request meets the first row.
    let id = InstanceId::new(allocated.short());
    let mut instance = register::row(&app, New { id, user: caller.id().clone(), platform, transport, mode });
    settings.apply(&app, &mut instance)?;
    let generated = if instance.webhook.secrets.is_empty() {
        let secret = crypto::random_text()?;
        instance.webhook.rotate(&app, &instance.id.clone(), &secret)?;
        Some(secret)
    } else {
        None
    };
    let instance = match (platform, mode) {
        (Platform::Im, Mode::Live) => im::account::create(&app, &caller.user, instance).await?,
        _ => {
            let claim = juhe::device::claim(&app, &instance).await?;
            register::create(&app, instance, claim).await?
        }
    };
    let generated = match generated {
        Some(_) => instance.webhook.live_secrets(&app, &instance.id)?.into_iter().next(),
        None => None,
    };
    let mut doc = view::instance_with_status(&app, &instance);
    if let Some(secret) = generated {
        doc.insert("webhookSecret".into(), secret.reveal().into());
    }
    Ok((StatusCode::CREATED, axum::Json(doc.into())))
}

/// `GET /api/instances`: one's own; up to 1,000, or `limit` a page, with `nextCursor`.
pub(crate) async fn list_instances(State(app): State<AppState>, caller: Caller, params: Params) -> Answer {
    let (limit, cursor) = (params.limit(1000, 1000)?, params.cursor("cursor")?);
    let (instances, next) = instance::of_user(&app, caller.id(), limit, cursor).await?;
    let instances: Vec<_> = instances
        .iter()
        .filter(|instance| caller.covers(&instance.id))
        .map(|instance| view::instance_with_status(&app, instance))
        .collect();
    Ok(axum::Json(json!({ "instances": instances, "nextCursor": next.map(|next| next.encode()) })))
}

/// `GET /api/instances/{instanceId}`.
pub(crate) async fn get_instance(State(app): State<AppState>, Owned { instance, .. }: Owned) -> Answer {
    Ok(axum::Json(view::instance_with_status(&app, &instance).into()))
}

/// `GET /api/instances/{instanceId}/capabilities`.
pub(crate) async fn get_capabilities(Owned { instance, .. }: Owned) -> Answer {
    Ok(axum::Json(serde_json::to_value(instance.capability()?).map_err(Error::from)?))
}

/// `PUT /api/instances/{instanceId}`: changes what is given.
pub(crate) async fn update_instance(
    State(app): State<AppState>,
    owned: Owned,
    Json2(fixed, settings): Json2<Fixed, Settings>,
) -> Answer {
    let Owned { mut instance, .. } = owned.with(Scope::InstancesManage)?;
    fixed.check(&instance)?;
    if is_cloud(instance.platform, instance.transport, instance.mode)
        && let Some(given) = &settings.credentials
    {
        Credentials::read(given.as_ref())?;
    }
    let before = instance.updated_at;
    let (reachable, was) = ((instance.webhook.enabled, instance.webhook.url.clone()), instance.clone());
    settings.apply(&app, &mut instance)?;
    juhe::device::check_same(&app, &was, &instance)?;
    // Strictly later, so that the condition tells two changes within a millisecond apart.
    instance.updated_at = Millis(app.clock.now().0.max(before.0 + 1));
    let reconfigure = Command::new(instance.id.clone(), Action::Reconfigure);
    let unit = Unit {
        writes: vec![
            Write::update(keys::instance(&instance.id), change(&instance)?)
                .only_if(Cond::All(vec![Cond::eq("updatedAt", before.0), Cond::lacks("deleting")])),
            activity::note(&app, &instance.id, Noted::InstanceUpdated, json!({}))?,
        ],
        enqueue: vec![job::command_message(
            &instance,
            &reconfigure,
            &format!("set/{}/{}", instance.id, instance.updated_at.0),
        )?],
        ..Unit::default()
    };
    match app.store.commit(unit).await {
        Ok(_) => {
            if reachable != (instance.webhook.enabled, instance.webhook.url.clone())
                && let Err(error) = webhook::settings_changed(&app, &instance.id, WEBHOOK).await
            {
                // The change itself is durable: what waits for the webhook comes to it at its next timer.
                tracing::warn!(instance = %instance.id, %error, "waiting deliveries were not woken");
            }
            Ok(axum::Json(view::instance_with_status(&app, &instance).into()))
        }
        Err(CommitError::Conflict { old: Some(old), .. }) if !old.doc.contains_key("deleting") => {
            Err(Error::conflict("CONCURRENT_UPDATE", "The instance was changed at the same time, please try again")
                .into())
        }
        Err(CommitError::Conflict { .. }) => Err(instance::unknown().into()),
        Err(error) => Err(Error::from(error).into()),
    }
}

/// The settings' attributes of the row: what HTTP functions write, and nothing that the owner writes.
fn change(instance: &Instance) -> shared::Result<Change> {
    let row = Item::new(keys::instance(&instance.id), instance)?.doc;
    let mut change = Change::default();
    for name in ["name", "description", "webhook", "credentials", "proxy", "limits", "updatedAt"] {
        change = change.set_or_remove(name, row.get(name).cloned());
    }
    Ok(change)
}
