//! Whose device may be asked about: by the pair of key and secret that the deployment's synchronisation clients have, by
//! credentials of ours, or, in open mode, by anybody.

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, request::Parts},
};
use shared::{
    Error,
    app::AppState,
    crypto,
    domain::{
        access::{Caller, Scope},
        juhe::device::{self, Device, Found},
    },
    edge::{OpenMode, Reject, query::Params},
};

/// The device that a query names, checked against whoever asks, and the query itself.
pub(crate) struct Asked {
    pub(crate) guid: String,
    pub(crate) device: Device,
    pub(crate) params: Params,
}

impl FromRequestParts<AppState> for Asked {
    type Rejection = Reject;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Reject> {
        let caller = who(parts, app).await?;
        if let Some(caller) = &caller {
            caller.require(Scope::MessagesRead)?;
        }
        let params = Params::parse(parts.uri.query().unwrap_or_default());
        let guid = device::guid(params.text("guid"))?;
        let Found::Device(device) = device::find(app, &guid).await? else { return Err(device::unknown().into()) };
        // Somebody else's is not there (spec/http.md, "Everywhere").
        let instance = &device.instance;
        if caller.is_some_and(|caller| caller.require_instance(&instance.user_id, &instance.id).is_err()) {
            return Err(device::unknown().into());
        }
        Ok(Self { guid, device: *device, params })
    }
}

/// Who asks; `None` for whoever may ask about every device.
async fn who(parts: &mut Parts, app: &AppState) -> Result<Option<Caller>, Reject> {
    let shown = (header(&parts.headers, "x-app-key"), header(&parts.headers, "x-app-secret"));
    if let (Some(key), Some(secret)) = shown {
        let right = app.config.juhe_app.as_ref().is_some_and(|(right_key, right_secret)| {
            crypto::same(crypto::sha256_hex(right_key.reveal()), crypto::sha256_hex(key))
                & crypto::same(crypto::sha256_hex(right_secret.reveal()), crypto::sha256_hex(secret))
        });
        return if right { Ok(None) } else { Err(Error::unauthenticated("Invalid X-App-Key or X-App-Secret").into()) };
    }
    if let Some(caller) = <Caller as OptionalFromRequestParts<AppState>>::from_request_parts(parts, app).await? {
        return Ok(Some(caller));
    }
    let OpenMode(open) = match OpenMode::from_request_parts(parts, app).await {
        Ok(open) => open,
        Err(never) => match never {},
    };
    if open && app.config.juhe_app.is_none() {
        return Ok(None);
    }
    Err(Error::unauthenticated("X-App-Key and X-App-Secret are required").into())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|text| !text.is_empty())
}
