//! Media of messages that go out: read from media storage, encrypted into a file, uploaded from there. Nothing is held whole in memory.
//!
//! An upload is the account's, not an attempt's: as long as its line lives, one that takes longer than an attempt may goes on, and the
//! next attempt finds it.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek as _, SeekFrom},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use futures_util::{
    FutureExt as _, TryStreamExt as _,
    future::{BoxFuture, Shared},
};
use shared::{
    Kind,
    domain::content::MediaKind,
    id::{InstanceId, MediaId},
    media::Media,
};
use tempfile::NamedTempFile;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
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
/// Uploads that an account remembers.
const REMEMBERED: usize = 64;
/// How long an attempt waits for its upload: less than an attempt may take, with the sending behind it.
const WAIT: Duration = Duration::from_secs(20);
/// When a send looks again for an upload that goes on.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Uploads of an account at the same time: each has a file and a thread.
const AT_ONCE: usize = 4;

/// Why there is no upload.
#[derive(Debug, Clone)]
enum NoUpload {
    /// The line ended under it.
    NoLine,
    /// Our storage does not have it, and never will.
    Missing,
    Failed(Arc<anyhow::Error>),
}

type Outcome = Result<UploadResponse, NoUpload>;
/// Under way, or done.
type Upload = Shared<BoxFuture<'static, Outcome>>;
/// The same file is encrypted differently for each kind.
type Key = (MediaId, MediaKind);

/// What is uploaded, or was lately: a campaign sends the same picture a thousand times.
pub(crate) struct Uploads {
    all: Mutex<HashMap<Key, (Upload, Instant)>>,
    slots: Arc<Semaphore>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { all: Mutex::default(), slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Uploads {
    /// What a message needs to refer to this media, which is uploaded if need be.
    pub(super) async fn of(
        &self,
        inner: &Inner,
        client: &Arc<Client>,
        kind: MediaKind,
        id: &MediaId,
    ) -> Result<UploadResponse, Trouble> {
        let key = (id.clone(), kind);
        let upload = self.begin(&key, || {
            let (media, instance, client) = (inner.media.clone(), inner.instance.clone(), Arc::clone(client));
            let (id, ended, slots) = (id.clone(), inner.ended.clone(), Arc::clone(&self.slots));
            async move {
                let uploading = async {
                    let _slot = slots.acquire().await;
                    upload(&media, &instance, &client, kind, &id).await
                };
                tokio::select! {
                    outcome = uploading => outcome,
                    () = ended.cancelled() => Err(NoUpload::NoLine),
                }
            }
            .boxed()
        });
        let Ok(outcome) = timeout(WAIT, upload.clone()).await else { return Err(Trouble::Later(LOOK_AGAIN)) };
        outcome.map_err(|no| {
            self.forget(&key, &upload);
            match no {
                NoUpload::NoLine => Trouble::NoLine,
                NoUpload::Missing => Trouble::refused(reason::MEDIA_GONE),
                NoUpload::Failed(error) => Trouble::Failed(anyhow::anyhow!("{error:#}")),
            }
        })
    }

    fn begin(&self, key: &Key, make: impl FnOnce() -> BoxFuture<'static, Outcome>) -> Upload {
        let mut all = self.all();
        if let Some((upload, at)) = all.get(key)
            && at.elapsed() < REUSED_FOR
            && !matches!(upload.peek(), Some(Err(_)))
        {
            return upload.clone();
        }
        if all.len() >= REMEMBERED {
            all.retain(|_, (upload, at)| upload.peek().is_none() && at.elapsed() < REUSED_FOR);
        }
        let upload = make().shared();
        all.insert(key.clone(), (upload.clone(), Instant::now()));
        // Also when nobody waits for it.
        tokio::spawn(upload.clone());
        upload
    }

    /// One that failed: the next attempt uploads anew, unless another has begun to.
    fn forget(&self, key: &Key, failed: &Upload) {
        let mut all = self.all();
        if all.get(key).is_some_and(|(upload, _)| upload.ptr_eq(failed)) {
            all.remove(key);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, (Upload, Instant)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        (MediaId::new("m"), MediaKind::Image)
    }

    fn failing() -> BoxFuture<'static, Outcome> {
        async { Err(NoUpload::Missing) }.boxed()
    }

    #[tokio::test]
    async fn an_upload_is_shared_until_it_failed() {
        let uploads = Uploads::default();
        let first = uploads.begin(&key(), failing);
        let same = uploads.begin(&key(), || panic!("there is one"));
        assert!(first.ptr_eq(&same));
        assert!(matches!(first.clone().await, Err(NoUpload::Missing)));
        let second = uploads.begin(&key(), failing);
        assert!(!second.ptr_eq(&first));
        uploads.forget(&key(), &first);
        assert!(
            uploads.begin(&key(), || panic!("there is one")).ptr_eq(&second),
            "another's failure says nothing of it"
        );
    }
}
