//! Media: content-addressed per instance, over any object store. What is put twice is stored once; what is larger than
//! one part is streamed, never held whole. Which message refers to what is not known here, nor who may read it.
//!
//! | path | what |
//! |---|---|
//! | `{instance}/{aa}/{id}` | the content; id = the first 32 hex digits of its SHA-256, aa = the first two of them |
//! | `{instance}/{aa}/{id}.json` | its type, where the store cannot keep attributes (a local folder) |
//! | `uploads/{owner}/{reserved id}` | an upload by URL that no message has used yet, for a day |
//! | `tmp/{random}` | on its way; a bucket needs a lifecycle rule for `tmp/` and `uploads/`, a folder is swept |

mod mime;
mod place;
#[cfg(test)]
mod tests;
mod ticket;

use std::{
    path::{Path as FsPath, PathBuf},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures_util::{
    Stream, TryStreamExt as _,
    stream::{BoxStream, StreamExt as _},
};
use object_store::{
    Attribute, Attributes, GetResultPayload, ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions,
    PutPayload, WriteMultipart, local::LocalFileSystem, path::Path,
};
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;

use self::{mime::HEAD, place::content_path};
pub use self::{
    mime::{Kind, OCTET_STREAM, extension_of, kind_of},
    place::{is_reserved, reserve, upload_path},
    ticket::{Ticket, sign_ticket, verify_ticket},
};
use crate::{
    clock::Millis,
    error::{Error, Result},
    id::{InstanceId, MediaId, UserId},
};

/// S3 takes no smaller parts than this.
const REMOTE_PART: usize = 5 * 1024 * 1024;
/// A folder takes any; smaller parts mean less memory for each upload.
const LOCAL_PART: usize = 1024 * 1024;
/// Parts of one upload that may be under way at a time.
const PARTS_AHEAD: usize = 2;
const READ_CHUNK: usize = 256 * 1024;

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub id: MediaId,
    /// 64 hex digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    pub mime: String,
}

/// What is known of stored content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Bytes.
    pub size: u64,
    pub mime: String,
    /// The name of the file, for uploads by URL.
    pub name: Option<String>,
}

/// What is kept beside the content.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Label {
    mime: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    name: Option<String>,
}

/// Content as it is read.
pub type Content = BoxStream<'static, Result<Bytes>>;

/// Media storage. Cloning shares it.
#[derive(Clone)]
pub struct Media {
    store: Arc<Opened>,
    /// The folder, if it is one: it keeps no attributes, and leaves things behind that only the file system shows.
    folder: Option<PathBuf>,
    part: usize,
}

/// Opens the object store.
type Open = dyn Fn() -> Result<Arc<dyn ObjectStore>> + Send + Sync;

/// An object store that is opened when it is needed: the client of a remote one takes milliseconds to make, which most requests
/// to a function that has just started need not wait for.
struct Opened {
    store: OnceLock<Arc<dyn ObjectStore>>,
    open: Box<Open>,
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Media").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Where content goes.
enum Target<'a> {
    Instance(&'a InstanceId),
    Upload { path: Path, id: &'a MediaId, name: Option<&'a str> },
}

impl Media {
    /// In a local folder, which is made if it is missing, readable by its owner only. Writes are on disk when they return.
    pub fn local(folder: &FsPath) -> Result<Self> {
        place::private_folder(folder).map_err(Error::unavailable)?;
        let store: Arc<dyn ObjectStore> =
            Arc::new(LocalFileSystem::new_with_prefix(folder).map_err(Error::unavailable)?.with_fsync(true));
        let open = Box::new(|| Err(Error::internal("a folder is open from the start")));
        let store = Arc::new(Opened { store: OnceLock::from(store), open });
        Ok(Self { store, folder: Some(folder.to_owned()), part: LOCAL_PART })
    }

    /// In a bucket whose objects have attributes; opened by the first who needs it.
    pub fn remote(open: impl Fn() -> Result<Arc<dyn ObjectStore>> + Send + Sync + 'static) -> Self {
        let store = Arc::new(Opened { store: OnceLock::new(), open: Box::new(open) });
        Self { store, folder: None, part: REMOTE_PART }
    }

    /// Nowhere: for a process that has nothing to do with media.
    pub fn none() -> Self {
        Self::remote(|| Err(Error::internal("this process has no media")))
    }

    fn store(&self) -> Result<&dyn ObjectStore> {
        if let Some(store) = self.store.store.get() {
            return Ok(store.as_ref());
        }
        let store = (self.store.open)()?;
        Ok(self.store.store.get_or_init(|| store).as_ref())
    }

    /// Stores content for an instance. `declared` is its type as somebody claims; the content is asked first.
    /// More than `max_bytes` is too large; then, and on any error of `content`, nothing stays behind. The same content
    /// under another type gets that type.
    pub async fn put_stream(
        &self,
        instance: &InstanceId,
        content: impl Stream<Item = Result<Bytes>> + Send,
        declared: Option<&str>,
        max_bytes: u64,
    ) -> Result<Stored> {
        self.put(Target::Instance(instance), content, declared, max_bytes).await
    }

    /// Stores what comes in under an upload ticket, under its reserved id. Doing it again replaces it.
    pub async fn put_upload(
        &self,
        ticket: &Ticket,
        content: impl Stream<Item = Result<Bytes>> + Send,
    ) -> Result<Stored> {
        let path = upload_path(&ticket.owner, &ticket.media)?;
        let target = Target::Upload { path, id: &ticket.media, name: ticket.name.as_deref() };
        self.put(target, content, ticket.mime.as_deref(), ticket.size).await
    }

    /// The content and what is known of it.
    pub async fn open(&self, instance: &InstanceId, id: &MediaId) -> Result<(Meta, Content)> {
        self.open_path(&content_path(instance, id)?).await
    }

    /// What is known of the content, without it.
    pub async fn stat(&self, instance: &InstanceId, id: &MediaId) -> Result<Meta> {
        self.stat_path(&content_path(instance, id)?).await
    }

    /// Turns a `mediaId` as a user gives it into content of the instance: an upload of this owner is copied there, media
    /// of the instance itself is only looked at. Returns the id within the instance.
    pub async fn adopt(
        &self,
        owner: &UserId,
        instance: &InstanceId,
        id: &MediaId,
        max_bytes: u64,
    ) -> Result<(MediaId, Meta)> {
        if !is_reserved(id) {
            let meta = self.stat(instance, id).await?;
            return if meta.size > max_bytes { Err(too_large(max_bytes)) } else { Ok((id.clone(), meta)) };
        }
        let (meta, content) = self.open_path(&upload_path(owner, id)?).await?;
        let stored = self.put_stream(instance, content, Some(&meta.mime), max_bytes).await?;
        Ok((stored.id, Meta { size: stored.size, mime: stored.mime, name: meta.name }))
    }

    /// Puts something aside for another process, under a name that nobody else knows; whoever takes it deletes it, and what
    /// nobody takes goes with the temporary objects. It is stored as it is: seal it before.
    pub async fn put_aside(&self, content: Bytes) -> Result<String> {
        let (name, path) = place::temporary()?;
        self.store()?.put(&path, content.into()).await.map_err(Error::unavailable)?;
        Ok(name)
    }

    /// What [`Media::put_aside`] put there, without deleting it.
    ///
    /// Errors: not found, if it has been taken.
    pub async fn aside(&self, name: &str) -> Result<Bytes> {
        let found = self.store()?.get(&place::temporary_named(name)?).await.map_err(not_there)?;
        found.bytes().await.map_err(Error::unavailable)
    }

    /// Deletes what was put aside. Doing it again is no error.
    pub async fn drop_aside(&self, name: &str) -> Result<()> {
        match self.store()?.delete(&place::temporary_named(name)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::unavailable(error)),
        }
    }

    /// Deletes everything of an instance. Doing it again is no error.
    pub async fn delete_instance(&self, instance: &InstanceId) -> Result<()> {
        let prefix = place::instance_path(instance)?;
        self.delete_where(&prefix, |_| true).await?;
        if let Some(folder) = &self.folder {
            // Half-written files do not show in a listing.
            place::remove_folder(folder.join(instance.as_str())).await.map_err(Error::unavailable)?;
        }
        Ok(())
    }

    /// Deletes temporary objects and unused uploads that were last written before this moment.
    pub async fn remove_stale(&self, before: Millis) -> Result<()> {
        for area in [place::TMP, place::UPLOADS] {
            match &self.folder {
                Some(folder) => place::remove_old(folder.join(area), before).await.map_err(Error::unavailable)?,
                None => self.delete_where(&Path::from(area), move |at| at < before).await?,
            }
        }
        Ok(())
    }

    async fn delete_where(&self, prefix: &Path, matching: impl Fn(Millis) -> bool + Send + 'static) -> Result<()> {
        let found = self.store()?.list(Some(prefix));
        let doomed = found
            .try_filter(move |object| std::future::ready(matching(Millis(object.last_modified.timestamp_millis()))))
            .map_ok(|object| object.location)
            .boxed();
        let mut deleted = self.store()?.delete_stream(doomed);
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(Error::unavailable(error)),
            }
        }
        Ok(())
    }

    async fn put(
        &self,
        target: Target<'_>,
        content: impl Stream<Item = Result<Bytes>> + Send,
        declared: Option<&str>,
        max_bytes: u64,
    ) -> Result<Stored> {
        if let Target::Instance(instance) = target {
            // A bad id is found before anything is read.
            place::instance_path(instance)?;
        }
        let mut content = std::pin::pin!(content);
        let mut taken = Taken::new(max_bytes);
        // Most media fit into one part: those are written at once under their final name.
        let mut first = Vec::new();
        let mut first_bytes = 0;
        while first_bytes <= self.part {
            let Some(chunk) = content.try_next().await? else {
                let label = target.label(mime::determine(&taken.head, taken.is_whole(), declared));
                let stored = taken.finish(&target, &label);
                let path = target.path(&stored)?;
                if !self.is_there(&path, stored.size, &label).await? {
                    self.write_label(&path, &label).await?;
                    let options = PutOptions::from(self.attributes(&label)?);
                    let payload: PutPayload = first.into_iter().collect();
                    self.store()?.put_opts(&path, payload, options).await.map_err(Error::unavailable)?;
                }
                return Ok(stored);
            };
            taken.add(&chunk)?;
            first_bytes += chunk.len();
            first.push(chunk);
        }

        let label = target.label(mime::determine(&taken.head, taken.is_whole(), declared));
        let temporary = place::temporary_path()?;
        let options = PutMultipartOptions::from(self.attributes(&label)?);
        let upload = self.store()?.put_multipart_opts(&temporary, options).await.map_err(Error::unavailable)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, self.part);
        for chunk in first {
            upload.put(chunk);
        }
        let copied: Result<()> = async {
            while let Some(chunk) = content.try_next().await? {
                taken.add(&chunk)?;
                upload.wait_for_capacity(PARTS_AHEAD).await.map_err(Error::unavailable)?;
                upload.put(chunk);
            }
            Ok(())
        }
        .await;
        if let Err(error) = copied {
            if let Err(leftover) = upload.abort().await {
                tracing::warn!(error = %leftover, "an interrupted media upload could not be removed");
            }
            return Err(error);
        }
        upload.finish().await.map_err(Error::unavailable)?;

        let stored = taken.finish(&target, &label);
        let placed = self.put_in_place(&temporary, &target.path(&stored)?, stored.size, &label).await;
        if !matches!(placed, Ok(true))
            && let Err(leftover) = self.store()?.delete(&temporary).await
        {
            tracing::warn!(error = %leftover, "a temporary media object could not be removed");
        }
        placed.map(|_| stored)
    }

    /// Moves the temporary object to its name. `false`: the same was there already, and the temporary object still is.
    async fn put_in_place(&self, temporary: &Path, path: &Path, size: u64, label: &Label) -> Result<bool> {
        if self.is_there(path, size, label).await? {
            return Ok(false);
        }
        self.write_label(path, label).await?;
        self.store()?.rename(temporary, path).await.map_err(Error::unavailable)?;
        Ok(true)
    }

    /// An upload may change under its name, so only content of an instance can be there already.
    async fn is_there(&self, path: &Path, size: u64, label: &Label) -> Result<bool> {
        if path.prefix_matches(&Path::from(place::UPLOADS)) {
            return Ok(false);
        }
        match self.stat_path(path).await {
            Ok(meta) => Ok(meta.size == size && meta.mime == label.mime),
            Err(error) if error.kind == crate::Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn attributes(&self, label: &Label) -> Result<Attributes> {
        let mut attributes = Attributes::new();
        if self.folder.is_none() {
            attributes.insert(Attribute::ContentType, label.mime.clone().into());
            if label.name.is_some() {
                // Headers are ASCII; JSON with escapes is, too.
                attributes.insert(Attribute::Metadata(LABEL.into()), place::ascii_json(label)?.into());
            }
        }
        Ok(attributes)
    }

    /// Before the content, so that content is never seen without its type.
    async fn write_label(&self, path: &Path, label: &Label) -> Result<()> {
        if self.folder.is_none() {
            return Ok(());
        }
        let json = serde_json::to_vec(label)?;
        self.store()?.put(&place::label_path(path)?, json.into()).await.map_err(Error::unavailable)?;
        Ok(())
    }

    async fn label(&self, path: &Path, attributes: &Attributes) -> Result<Label> {
        if self.folder.is_none() {
            if let Some(json) = attributes.get(&Attribute::Metadata(LABEL.into())) {
                return Ok(serde_json::from_str(json)?);
            }
            let mime = attributes.get(&Attribute::ContentType).map_or(OCTET_STREAM, |mime| mime.as_ref());
            return Ok(Label { mime: mime.to_owned(), name: None });
        }
        match self.store()?.get(&place::label_path(path)?).await {
            Ok(found) => Ok(serde_json::from_slice(&found.bytes().await.map_err(Error::unavailable)?)?),
            Err(object_store::Error::NotFound { .. }) => Ok(Label { mime: OCTET_STREAM.to_owned(), name: None }),
            Err(error) => Err(Error::unavailable(error)),
        }
    }

    async fn stat_path(&self, path: &Path) -> Result<Meta> {
        let options = object_store::GetOptions { head: true, ..Default::default() };
        let found = self.store()?.get_opts(path, options).await.map_err(not_there)?;
        let label = self.label(path, &found.attributes).await?;
        Ok(Meta { size: found.meta.size, mime: label.mime, name: label.name })
    }

    async fn open_path(&self, path: &Path) -> Result<(Meta, Content)> {
        let found = self.store()?.get(path).await.map_err(not_there)?;
        let label = self.label(path, &found.attributes).await?;
        let meta = Meta { size: found.meta.size, mime: label.mime, name: label.name };
        let content = match found.payload {
            // The store's own stream of a file goes to a thread for each 8 KiB.
            GetResultPayload::File(file, _) => {
                let reader = ReaderStream::with_capacity(tokio::fs::File::from_std(file), READ_CHUNK);
                reader.map_err(Error::unavailable).boxed()
            }
            GetResultPayload::Stream(content) => content.map_err(Error::unavailable).boxed(),
        };
        Ok((meta, content))
    }
}

/// The attribute that holds a [`Label`] with more than a type in it.
const LABEL: &str = "label";

impl Target<'_> {
    fn label(&self, mime: String) -> Label {
        let name = match self {
            Self::Instance(_) => None,
            Self::Upload { name, .. } => name.map(str::to_owned),
        };
        Label { mime, name }
    }

    fn path(&self, stored: &Stored) -> Result<Path> {
        match self {
            Self::Instance(instance) => content_path(instance, &stored.id),
            Self::Upload { path, .. } => Ok(path.clone()),
        }
    }
}

/// What has come in so far.
struct Taken {
    hash: Sha256,
    /// The first [`HEAD`] bytes.
    head: Vec<u8>,
    size: u64,
    max: u64,
}

impl Taken {
    fn new(max: u64) -> Self {
        Self { hash: Sha256::new(), head: Vec::new(), size: 0, max }
    }

    fn add(&mut self, chunk: &Bytes) -> Result<()> {
        self.size = self.size.saturating_add(chunk.len() as u64);
        if self.size > self.max {
            return Err(too_large(self.max));
        }
        self.hash.update(chunk);
        let room = HEAD.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend_from_slice(&chunk[..room]);
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.head.len() as u64 == self.size
    }

    fn finish(self, target: &Target<'_>, label: &Label) -> Stored {
        let sha256 = hex::encode(self.hash.finalize());
        let id = match target {
            Target::Instance(_) => MediaId::new(&sha256[..32]),
            Target::Upload { id, .. } => (*id).clone(),
        };
        Stored { id, sha256, size: self.size, mime: label.mime.clone() }
    }
}

fn too_large(max: u64) -> Error {
    Error::too_large(format!("The media is larger than {max} bytes"))
}

fn not_there(error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::not_found("Media not found"),
        other => Error::unavailable(other),
    }
}
