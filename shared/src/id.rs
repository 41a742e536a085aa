//! Identifiers: one newtype each, opaque to users, sortable by creation.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes any text: an id that does not exist is a 404, not a malformed request.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

ids! {
    /// A user: 16 characters of Crockford base 32, the first ten the time of creation.
    UserId;
    /// An instance, that is a connected account: same shape as [`UserId`].
    InstanceId;
    /// The public id of a message. Outgoing: 26 characters of ULID + the instance's 16. Incoming: see `domain::message`.
    MessageId;
    /// The opaque key of a chat within its instance: 16 characters of base 32.
    ChatKey;
    /// An open WebSocket: API Gateway's connection id, or a number within the process that holds it.
    SocketId;
    /// A background job: a ULID.
    JobId;
    /// A scoped API key: same shape as [`UserId`].
    KeyId;
    /// Stored media of an instance: 32 hex digits of the content's SHA-256.
    MediaId;
}

/// Makes ids. Within one process they are strictly increasing.
pub struct Ids(Mutex<ulid::Generator>);

impl Default for Ids {
    fn default() -> Self {
        Self(Mutex::new(ulid::Generator::new()))
    }
}

impl Ids {
    /// A ULID, 26 characters, lower case.
    pub fn ulid(&self) -> String {
        let mut generator = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ulid = match generator.generate() {
            Ok(ulid) => ulid,
            // 2^80 ids within one millisecond: take a fresh one.
            Err(_) => ulid::Ulid::generate(),
        };
        ulid.to_string().to_ascii_lowercase()
    }

    /// A snowflake, as IM messages have them: 41 bits of milliseconds since 2021, 22 bits that differ within one.
    pub fn snowflake(&self) -> i64 {
        const EPOCH_MS: u64 = 1_609_459_200_000;
        let mut generator = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ulid = generator.generate().unwrap_or_else(|_| ulid::Ulid::generate());
        let since = ulid.timestamp_ms().saturating_sub(EPOCH_MS) & ((1 << 41) - 1);
        let chance = u64::try_from(ulid.random() & ((1 << 22) - 1)).unwrap_or(0);
        i64::try_from(since << 22 | chance).unwrap_or(i64::MAX)
    }

    /// Ten characters of time and six of chance; creation is a conditional write, so a collision is noticed.
    pub fn short(&self) -> String {
        let ulid = self.ulid();
        let (time, chance) = ulid.split_at(10);
        format!("{time}{}", &chance[chance.len() - 6..])
    }
}

/// Whether the text has the shape of one of our user or instance ids (usernames must not).
pub fn is_id_shaped(text: &str) -> bool {
    matches!(text.len(), 16 | 26)
        && text.starts_with('0')
        && text
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'h' | b'j' | b'k' | b'm' | b'n' | b'p'..=b't' | b'v'..=b'z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_increase_and_have_their_shape() {
        let ids = Ids::default();
        let first = ids.ulid();
        let second = ids.ulid();
        assert!(first < second, "{first} {second}");
        assert_eq!(first.len(), 26);
        assert_eq!(ids.short().len(), 16);
        assert!(is_id_shaped(&ids.short()) && is_id_shaped(&first));
        assert!(!is_id_shaped("alice") && !is_id_shaped("A123456789012345"));
    }
}
