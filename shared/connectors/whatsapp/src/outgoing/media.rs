//! Media of messages that go out: read from media storage, encrypted into a file, uploaded from there. Nothing is held whole in memory.

use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom},
};

use anyhow::Result;
use futures_util::TryStreamExt as _;
use shared::{Kind, domain::content::MediaKind, id::MediaId};
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

pub(super) async fn upload(
    inner: &Inner,
    client: &Client,
    kind: MediaKind,
    id: &MediaId,
) -> Result<UploadResponse, Trouble> {
    let (_, content) = inner.media.open(&inner.instance, id).await.map_err(|error| match error.kind {
        Kind::NotFound => Trouble::refused(reason::MEDIA_GONE),
        _ => Trouble::Failed(error.into()),
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
    uploading.await.map_err(Trouble::Failed)
}
