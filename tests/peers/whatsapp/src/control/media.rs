//! The media hosts: uploads and downloads of encrypted files, as clients do them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shares};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Refused, Reply};
use crate::world::Shared;

#[derive(Deserialize)]
pub(crate) struct UploadQuery {
    /// Asks whether there is something to resume, without a body.
    resume: Option<String>,
}

/// `POST /mms/{kind}/{token}?auth=…&token=…`.
pub(crate) async fn post_upload(
    Shares(world): Shares<Shared>,
    Path((_kind, _token)): Path<(String, String)>,
    Query(query): Query<UploadQuery>,
    body: Bytes,
) -> Reply<Json<Value>> {
    if query.resume.is_some() && body.is_empty() {
        return Err(Refused::not_found("nothing was uploaded before"));
    }
    let mut state = world.state();
    state.stats.media_uploads += 1;
    let (url, direct_path) = state.media.keep(body);
    Ok(Json(json!({ "url": url, "direct_path": direct_path })))
}

/// `GET /v/media/{name}`: what was kept, whatever the query says.
pub(crate) async fn get_blob(Shares(world): Shares<Shared>, Path(name): Path<String>) -> Result<Bytes, StatusCode> {
    let mut state = world.state();
    let blob = state.media.get(&format!("/v/media/{name}")).ok_or(StatusCode::NOT_FOUND)?;
    state.stats.media_downloads += 1;
    Ok(blob)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expire {
    path: String,
}

/// `DELETE /media?path=…`: the file is gone from the hosts.
pub(crate) async fn delete_blob(Shares(world): Shares<Shared>, Query(expire): Query<Expire>) -> Reply<Json<Value>> {
    let was_there = world.state().media.expire(&expire.path);
    Ok(Json(json!({ "wasThere": was_there })))
}
