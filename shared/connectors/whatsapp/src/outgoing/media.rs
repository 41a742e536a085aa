//! Media of messages that go out: read from media storage, encrypted into a file, uploaded from there. Nothing is held whole in memory.

use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use futures_util::{FutureExt as _, TryStreamExt as _};
use shared::{
    Kind,
    domain::content::MediaKind,
    id::{InstanceId, MediaId},
    media::Media,
    uploads,
};
use tempfile::NamedTempFile;
use tokio_util::io::{StreamReader, SyncIoBridge};
use whatsapp_rust::{
    Client,
    upload::UploadResponse,
    wacore::{
        download::MediaType,
        upload::{UploadSource, encrypt_media_streaming},
    },
};

use super::{Trouble, reason};
use crate::line::Inner;

/// WhatsApp keeps uploads for weeks; for a day one is certainly there.
const REUSED_FOR: Duration = Duration::from_secs(86_400);
/// When a send looks again for an upload that goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why there is no upload.
#[derive(Debug, Clone)]
pub(crate) enum NoUpload {
    /// The line ended under it.
    NoLine,
    /// Our storage does not have it, and never will.
    Missing,
    Failed(Arc<anyhow::Error>),
}

type Outcome = Result<UploadResponse, NoUpload>;
/// The same file is encrypted differently for each kind.
pub(crate) type Uploads = uploads::Uploads<(MediaId, MediaKind), UploadResponse, NoUpload>;

/// None yet.
pub(crate) fn none() -> Uploads {
    Uploads::new(REUSED_FOR)
}

/// What a message needs to refer to this media, which is uploaded if need be.
pub(super) async fn uploaded(
    inner: &Inner,
    client: &Arc<Client>,
    kind: MediaKind,
    id: &MediaId,
) -> Result<UploadResponse, Trouble> {
    let make = || {
        let (media, instance, client) = (inner.media.clone(), inner.instance.clone(), Arc::clone(client));
        let (id, ended) = (id.clone(), inner.ended.clone());
        async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => Err(NoUpload::NoLine),
                outcome = upload(&media, &instance, &client, kind, &id) => outcome,
            }
        }
        .boxed()
    };
    match inner.account.uploads.get((id.clone(), kind), make).await {
        Some(Ok(upload)) => Ok(upload),
        Some(Err(NoUpload::NoLine)) => Err(Trouble::NoLine),
        Some(Err(NoUpload::Missing)) => Err(Trouble::refused(reason::MEDIA_GONE)),
        Some(Err(NoUpload::Failed(error))) => Err(Trouble::Failed(anyhow::anyhow!("{error:#}"))),
        None => Err(Trouble::Later(LOOK_AGAIN)),
    }
}

fn media_type(kind: MediaKind) -> MediaType {
    match kind {
        MediaKind::Image => MediaType::Image,
        MediaKind::Video => MediaType::Video,
        MediaKind::Audio => MediaType::Audio,
        MediaKind::Document => MediaType::Document,
        MediaKind::Sticker => MediaType::Sticker,
    }
}

/// Ciphertext in a file that goes when it is dropped.
struct Encrypted {
    file: NamedTempFile,
    bytes: u64,
}

impl UploadSource for Encrypted {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn reader_from(&self, offset: u64) -> std::io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(self.file.path())?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

async fn upload(media: &Media, instance: &InstanceId, client: &Client, kind: MediaKind, id: &MediaId) -> Outcome {
    let (_, content) = media.open(instance, id).await.map_err(|error| match error.kind {
        Kind::NotFound => NoUpload::Missing,
        _ => NoUpload::Failed(Arc::new(error.into())),
    })?;
    let media_type = media_type(kind);
    let uploading = async {
        let plain = SyncIoBridge::new(StreamReader::new(content.map_err(std::io::Error::other)));
        let encrypting = tokio::task::spawn_blocking(move || -> Result<_> {
            let file = NamedTempFile::new()?;
            let info = encrypt_media_streaming(plain, file.as_file(), media_type)?;
            let bytes = file.as_file().metadata()?.len();
            Ok((Encrypted { file, bytes }, info))
        });
        let (encrypted, info) = encrypting.await??;
        client.upload_stream(encrypted, info, media_type).await
    };
    uploading.await.map_err(|error| NoUpload::Failed(Arc::new(error)))
}
