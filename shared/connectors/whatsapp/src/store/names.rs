//! Names of rows: addresses, numbers and ids of messages only appear hashed.

use shared::crypto;

#[derive(Clone)]
pub(crate) struct Names {
    key: [u8; 32],
}

impl Names {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.key
    }

    fn hash(&self, parts: &[&str]) -> [u8; 32] {
        crypto::hmac(&self.key, parts)
    }

    /// A name for these texts together: 24 characters.
    pub(crate) fn of(&self, parts: &[&str]) -> String {
        hex::encode(&self.hash(parts)[..12])
    }

    /// One of `count` buckets, at most 256.
    pub(crate) fn bucket(&self, text: &str, count: u8) -> String {
        format!("{:02x}", self.hash(&["bucket", text])[0] % count)
    }

    /// A name of a device's address (`user@server`, `user:device@server`, with what follows) that begins with
    /// [`Names::user`] of its user.
    pub(crate) fn address(&self, address: &str) -> String {
        let user = address.split(['@', ':']).next().unwrap_or(address);
        format!("{}{}", self.user(user), self.of(&["address", address]))
    }

    pub(crate) fn user(&self, user: &str) -> String {
        hex::encode(&self.hash(&["user", user])[..8])
    }
}
