//! Encrypted media as the media hosts keep them: uploaded by clients or phones, served by path.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use wacore::download::{DownloadUtils, MediaType};
use wacore::upload::encrypt_media;

/// What a message says about its media.
pub(crate) struct Uploaded {
    pub(crate) url: String,
    pub(crate) direct_path: String,
    pub(crate) media_key: Vec<u8>,
    pub(crate) file_sha256: Vec<u8>,
    pub(crate) file_enc_sha256: Vec<u8>,
    pub(crate) file_length: u64,
}

/// All blobs, by path. They live as long as the process.
pub(crate) struct MediaStore {
    host: SocketAddr,
    blobs: HashMap<String, Bytes>,
    next: u64,
}

impl Default for MediaStore {
    fn default() -> Self {
        Self::new(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

impl MediaStore {
    pub(crate) fn new(host: SocketAddr) -> Self {
        Self { host, blobs: HashMap::new(), next: 0 }
    }

    /// Keeps a blob; returns its URL and path.
    pub(crate) fn keep(&mut self, blob: Bytes) -> (String, String) {
        self.next += 1;
        let path = format!("/v/media/{}.enc", self.next);
        self.blobs.insert(path.clone(), blob);
        (format!("https://{}{path}", self.host), path)
    }

    pub(crate) fn get(&self, path: &str) -> Option<Bytes> {
        self.blobs.get(path).cloned()
    }

    /// Forgets a blob, as the real hosts do after some weeks.
    pub(crate) fn expire(&mut self, path: &str) -> bool {
        self.blobs.remove(path).is_some()
    }

    /// Encrypts and keeps a file for a message of a phone.
    pub(crate) fn upload(&mut self, plain: &[u8], kind: MediaType) -> Result<Uploaded> {
        let encrypted = encrypt_media(plain, kind)?;
        let (url, direct_path) = self.keep(encrypted.data_to_upload.into());
        Ok(Uploaded {
            url,
            direct_path,
            media_key: encrypted.media_key.to_vec(),
            file_sha256: encrypted.file_sha256.to_vec(),
            file_enc_sha256: encrypted.file_enc_sha256.to_vec(),
            file_length: plain.len() as u64,
        })
    }

    /// Decrypts what a message refers to.
    pub(crate) fn open(&self, direct_path: &str, key: &[u8], kind: MediaType) -> Result<Vec<u8>> {
        let path = direct_path.split_once('?').map_or(direct_path, |(path, _)| path);
        let blob = self.get(path).ok_or_else(|| anyhow!("nothing was uploaded as {path}"))?;
        Ok(DownloadUtils::verify_and_decrypt(&blob, key, kind)?)
    }
}
