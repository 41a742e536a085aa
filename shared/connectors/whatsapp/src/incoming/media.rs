//! Media of messages that come in: fetched, decrypted and stored as a stream, or left where they are.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use shared::{
    config::IncomingMedia,
    domain::{
        compose::MAX_MEDIA,
        content::{Content, Media},
    },
};
use tokio_util::{io::ReaderStream, sync::CancellationToken};
use whatsapp_rust::{Client, download::DownloadParams, wacore::download::DownloadWriter};

use super::said::Part;
use crate::line::Inner;

/// For one fetch: what takes longer is told of without its bytes.
const FETCH: Duration = Duration::from_secs(60);
const READ: usize = 64 << 10;

/// The content of a message with media. If they cannot be had the message says where they are.
pub(super) async fn content(inner: &Inner, client: &Client, part: Part) -> Content {
    if inner.settings.media == IncomingMedia::Eager {
        match tokio::time::timeout(FETCH, fetch(inner, client, &part)).await {
            Ok(Ok(media)) => return Content::Media { media_kind: part.kind, media },
            Ok(Err(error)) => {
                tracing::warn!(instance = %inner.instance, cause = %error, "media that came in were not fetched");
            }
            Err(_) => tracing::warn!(instance = %inner.instance, "media that came in were not fetched in time"),
        }
    }
    left(&part)
}

async fn fetch(inner: &Inner, client: &Client, part: &Part) -> Result<Media> {
    let at = part.at.as_ref().context("the message does not say where")?;
    ensure!(at.file_length <= MAX_MEDIA, "too large");
    let file = tokio::task::spawn_blocking(tempfile::tempfile).await??;
    let unwanted = CancellationToken::new();
    // When nobody waits any more the thread that downloads must not go on.
    let _over = unwanted.clone().drop_guard();
    let bounded = Bounded { file, at: 0, unwanted };
    let Bounded { file, .. } = client.download_from_params_to_writer(at, bounded).await?;
    let content = ReaderStream::with_capacity(tokio::fs::File::from_std(file), READ);
    let content = futures_util::TryStreamExt::map_err(content, shared::Error::unavailable);
    let stored = inner.media.put_stream(&inner.instance, content, Some(&part.mime), MAX_MEDIA).await?;
    Ok(Media {
        media_id: stored.id,
        mime: stored.mime,
        size: stored.size,
        filename: part.filename.clone(),
        caption: part.caption.clone(),
    })
}

/// A file that takes [`MAX_MEDIA`] at the most, whatever length the message claims, and nothing once nobody wants it.
struct Bounded {
    file: File,
    at: u64,
    unwanted: CancellationToken,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unwanted.is_cancelled() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        if self.at + bytes.len() as u64 > MAX_MEDIA {
            return Err(io::Error::other("too large"));
        }
        let written = self.file.write(bytes)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

impl DownloadWriter for Bounded {
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

/// The message without its bytes: whoever reads it can fetch and decrypt them.
pub(super) fn left(part: &Part) -> Content {
    let mut detail = json!({ "mimetype": part.mime, "filename": part.filename });
    if let Some(at) = &part.at {
        detail["size"] = at.file_length.into();
        detail["directPath"] = at.direct_path.as_str().into();
        detail["fileSha256"] = STANDARD.encode(&at.file_sha256).into();
        detail["fileEncSha256"] = at.file_enc_sha256.as_ref().map(|hash| STANDARD.encode(hash)).into();
        detail["mediaKey"] = key(at).into();
    }
    Content::Foreign {
        name: part.name.to_owned(),
        text: part.caption.clone().unwrap_or_default(),
        detail: Some(detail),
    }
}

fn key(at: &DownloadParams) -> Option<String> {
    at.media_key.as_ref().map(|key| STANDARD.encode(key))
}
