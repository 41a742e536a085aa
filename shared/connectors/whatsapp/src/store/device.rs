//! The device itself.

use async_trait::async_trait;
use whatsapp_rust::{
    traits::DeviceStore,
    wacore::{stats::StorageResourceReport, store::Device},
};

use super::{Failure, Store, codec, now};

const DEVICE: &str = "dev";
/// A store holds one account.
const ID: i32 = 1;

/// When the account was paired, in seconds since 1970.
const PAIRED: &str = "paired";

impl Store {
    /// The phone has linked this device now.
    pub(crate) fn paired(&self) {
        self.journal.set(PAIRED.to_owned(), Some(codec::encode(&now())), None);
    }

    /// When the phone has linked this device; now, if it has not.
    pub(crate) async fn paired_at(&self) -> shared::Result<i64> {
        let found = self.journal.get(PAIRED, false).await?;
        Ok(found.and_then(|bytes| codec::decode(&bytes).ok()).unwrap_or_else(now))
    }
}

#[async_trait]
impl DeviceStore for Store {
    async fn save(&self, device: &Device) -> Result<(), Failure> {
        self.journal.set(DEVICE.to_owned(), Some(codec::encode(device)), None);
        self.durable().await
    }

    async fn load(&self) -> Result<Option<Device>, Failure> {
        let found = self.bytes(DEVICE).await?;
        found.map(|bytes| codec::decode(&bytes)).transpose()
    }

    async fn exists(&self) -> Result<bool, Failure> {
        Ok(self.bytes(DEVICE).await?.is_some())
    }

    async fn create(&self) -> Result<i32, Failure> {
        self.save(&Device::new()).await?;
        Ok(ID)
    }

    async fn resource_report(&self) -> StorageResourceReport {
        StorageResourceReport::default()
    }
}
