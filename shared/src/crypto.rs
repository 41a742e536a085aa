//! The deployment's keys, and what is done with them: hashing addresses for row keys, encrypting credentials at rest
//! (envelope encryption), deriving API keys and message ids, hashing passwords.
//!
//! `ENCRYPTION_KEY` only wraps the data keys in the keyring item, so it can be changed without touching the data. What
//! depends on a key that rows are found by (the index key) never rotates.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    clock::Millis,
    error::{Error, Result},
    redact::Secret,
};

type Bytes32 = [u8; 32];

/// Crockford's base 32, lower case: what our ids are written in.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 32 bytes from the operating system.
pub fn random() -> Result<Bytes32> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    Ok(bytes)
}

/// A random text of 43 characters for secrets that people copy.
pub fn random_text() -> Result<String> {
    Ok(B64.encode(random()?))
}

/// Lower-case hex SHA-256.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes.as_ref()))
}

/// HMAC-SHA256 over the parts, each with its length before it.
pub fn hmac(key: &[u8], parts: &[&str]) -> Bytes32 {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        // Length first, so that no two lists of parts feed the same bytes.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

fn derive(secret: &[u8], label: &str) -> Bytes32 {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(None, secret).expand(label.as_bytes(), &mut out).expect("32 bytes are a valid length for HKDF");
    out
}

fn base32(bytes: &[u8], characters: usize) -> String {
    let mut text = String::with_capacity(characters);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in bytes {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 && text.len() < characters {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
    }
    text
}

/// The keyring as it is stored: data keys wrapped by `ENCRYPTION_KEY`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wrapped {
    pub v: u32,
    /// Key id → wrapped data key; ids are numbers.
    pub data: BTreeMap<String, String>,
    pub index: String,
    pub api: String,
    /// Key id → wrapped signing key, for deployments that set no `JWT_SECRET`; ids are `k` and a number.
    pub jwt: BTreeMap<String, String>,
    /// Key id → from when on it may be used (ms since 1970), for keys that were added: by then every process knows them.
    #[serde(default)]
    pub since: BTreeMap<String, i64>,
}

/// The keys as they are at the moment.
#[derive(Clone)]
struct Keys {
    data: BTreeMap<String, Bytes32>,
    /// The data key that seals.
    sealing: String,
    index: Bytes32,
    api: Bytes32,
    /// The one to sign with first: (key id, secret).
    jwt: Vec<(String, Bytes32)>,
    since: BTreeMap<String, i64>,
}

/// All keys of the deployment, in memory. They can be exchanged while others use them.
pub struct Keyring(RwLock<Arc<Keys>>);

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}

/// `7` of `7` and of `k7`.
fn number(id: &str) -> u64 {
    id.trim_start_matches('k').parse().unwrap_or(0)
}

impl Keys {
    /// Puts those first that are to be used at `now`: the newest whose time has come.
    fn choose(&mut self, now: Millis) {
        let since = &self.since;
        let ready = |id: &String| since.get(id).is_none_or(|since| *since <= now.0);
        if let Some(id) = self.data.keys().filter(|id| ready(id)).max_by_key(|id| number(id)) {
            self.sealing.clone_from(id);
        }
        self.jwt.sort_by_key(|(id, _)| (!ready(id), Reverse(number(id))));
    }
}

impl Keyring {
    fn of(keys: Keys) -> Self {
        Self(RwLock::new(Arc::new(keys)))
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the keys of another ring over.
    pub fn replace(&self, other: &Self) {
        let keys = other.keys();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// New random keys, and their wrapped form to store.
    pub fn generate(encryption_key: &Secret) -> Result<(Self, Wrapped)> {
        let ring = Self::of(Keys {
            data: BTreeMap::from([("1".to_owned(), random()?)]),
            sealing: "1".into(),
            index: random()?,
            api: random()?,
            jwt: vec![("k1".to_owned(), random()?)],
            since: BTreeMap::new(),
        });
        let wrapped = ring.wrap(encryption_key)?;
        Ok((ring, wrapped))
    }

    /// The same with another data key and another signing key, which are used from `since` on. What was sealed or signed with
    /// the ones before stays readable.
    pub fn grown(&self, since: Millis) -> Result<Self> {
        let mut keys = (*self.keys()).clone();
        let data = keys.data.keys().map(|id| number(id)).max().unwrap_or(0) + 1;
        let jwt = keys.jwt.iter().map(|(id, _)| number(id)).max().unwrap_or(0) + 1;
        let (data, jwt) = (data.to_string(), format!("k{jwt}"));
        keys.since.extend([(data.clone(), since.0), (jwt.clone(), since.0)]);
        keys.data.insert(data, random()?);
        keys.jwt.push((jwt, random()?));
        Ok(Self::of(keys))
    }

    /// The keys under another `ENCRYPTION_KEY`: how it is rotated.
    pub fn wrap(&self, encryption_key: &Secret) -> Result<Wrapped> {
        let keys = self.keys();
        let kek = derive(encryption_key.reveal().as_bytes(), "trunkline/keyring");
        let wrap_all = |keys: &mut dyn Iterator<Item = (&String, &Bytes32)>| {
            keys.map(|(id, key)| Ok((id.clone(), seal(&kek, id, key)?))).collect::<Result<BTreeMap<_, _>>>()
        };
        Ok(Wrapped {
            v: 1,
            data: wrap_all(&mut keys.data.iter())?,
            index: seal(&kek, "index", &keys.index)?,
            api: seal(&kek, "api", &keys.api)?,
            jwt: wrap_all(&mut keys.jwt.iter().map(|(id, key)| (id, key)))?,
            since: keys.since.clone(),
        })
    }

    /// Opens a stored keyring; `now` decides which of its keys are used. Errors if `ENCRYPTION_KEY` is not the one that it was
    /// wrapped with.
    pub fn unwrap(wrapped: &Wrapped, encryption_key: &Secret, now: Millis) -> Result<Self> {
        let kek = derive(encryption_key.reveal().as_bytes(), "trunkline/keyring");
        let open = |id: &str, text: &str| -> Result<Bytes32> {
            unseal(&kek, id, text)?.try_into().map_err(|_| Error::internal("a key of the keyring has a wrong length"))
        };
        let open_all = |keys: &BTreeMap<String, String>| {
            keys.iter().map(|(id, text)| Ok((id.clone(), open(id, text)?))).collect::<Result<BTreeMap<_, _>>>()
        };
        let mut keys = Keys {
            data: open_all(&wrapped.data)?,
            sealing: String::new(),
            index: open("index", &wrapped.index)?,
            api: open("api", &wrapped.api)?,
            jwt: open_all(&wrapped.jwt)?.into_iter().collect(),
            since: wrapped.since.clone(),
        };
        keys.choose(now);
        Ok(Self::of(keys))
    }

    /// Signs with these secrets instead (`JWT_SECRET`: newest first, separated by commas). Key ids follow from the secrets.
    pub fn with_jwt_secrets(self, secrets: &[&str]) -> Self {
        let mut keys = (*self.keys()).clone();
        keys.jwt = secrets
            .iter()
            .map(|secret| {
                let key = derive(secret.as_bytes(), "trunkline/jwt");
                (sha256_hex(key)[..8].to_owned(), key)
            })
            .collect();
        Self::of(keys)
    }

    /// The key to sign tokens with, and its id.
    pub fn jwt_newest(&self) -> Option<(String, Bytes32)> {
        self.keys().jwt.first().cloned()
    }

    pub fn jwt_key(&self, id: &str) -> Option<Bytes32> {
        self.keys().jwt.iter().find(|(kid, _)| kid == id).map(|(_, key)| *key)
    }

    /// A keyed hash for row keys: 16 characters of base 32 (80 bits). `scope` keeps uses apart, for example `email`.
    pub fn index(&self, scope: &str, text: &str) -> String {
        base32(&hmac(&self.keys().index, &[scope, text]), 16)
    }

    /// A keyed hash of two texts, for example an address within an instance.
    pub fn index2(&self, scope: &str, within: &str, text: &str) -> String {
        base32(&hmac(&self.keys().index, &[scope, within, text]), 16)
    }

    /// 18 upper-case hex digits that follow from an instance and a ULID: the tail of a WhatsApp message id.
    pub fn message_id_tail(&self, instance: &str, ulid: &str) -> String {
        hex::encode_upper(&hmac(&self.keys().index, &["message", instance, ulid])[..9])
    }

    /// The derived part of an account's API key. `version` is raised by a rotation.
    pub fn api_key(&self, user: &str, version: u64) -> String {
        B64.encode(hmac(&self.keys().api, &["api-key", user, &version.to_string()]))
    }

    /// A signature over `text` for links that we hand out (uploads), base64url.
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        B64.encode(hmac(&self.keys().api, &[purpose, text]))
    }

    /// A key of its own for a purpose, for parts that sign by themselves.
    pub fn derived(&self, purpose: &str) -> Bytes32 {
        hmac(&self.keys().api, &["derived", purpose])
    }

    /// Encrypts with the newest data key whose time has come. `context` (say, `instance/webhook`) must be the same when opening.
    pub fn seal(&self, context: &str, plain: impl AsRef<[u8]>) -> Result<String> {
        let keys = self.keys();
        let key = keys.data.get(&keys.sealing).ok_or_else(|| Error::internal("the keyring is empty"))?;
        Ok(format!("{}.{}", keys.sealing, seal(key, context, plain.as_ref())?))
    }

    /// Opens what [`Keyring::seal`] made.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Vec<u8>> {
        let (id, text) = sealed.split_once('.').ok_or_else(|| Error::internal("a sealed value without key id"))?;
        let keys = self.keys();
        let key = keys.data.get(id).ok_or_else(|| Error::internal(format!("data key {id} is not in the keyring")))?;
        unseal(key, context, text)
    }

    /// [`Keyring::open`] for text.
    pub fn open_text(&self, context: &str, sealed: &str) -> Result<Secret> {
        String::from_utf8(self.open(context, sealed)?).map(Secret::new).map_err(Error::internal)
    }
}

/// [`encrypt`] as text: base64url, bound to `context`.
fn seal(key: &Bytes32, context: &str, plain: &[u8]) -> Result<String> {
    Ok(B64.encode(encrypt(key, context.as_bytes(), plain)?))
}

fn unseal(key: &Bytes32, context: &str, text: &str) -> Result<Vec<u8>> {
    let bytes = B64.decode(text).map_err(Error::internal)?;
    decrypt(key, context.as_bytes(), &bytes)
        .ok_or_else(|| Error::internal("a sealed value does not open with this key"))
}

/// AES-256-GCM: nonce ‖ ciphertext ‖ tag, bound to `context`.
pub(crate) fn encrypt(key: &Bytes32, context: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let mut nonce = [0u8; 12];
    getrandom::fill(&mut nonce).map_err(Error::internal)?;
    let sealed = cipher(key)
        .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: context })
        .map_err(|_| Error::internal("encryption failed"))?;
    let mut bytes = nonce.to_vec();
    bytes.extend(sealed);
    Ok(bytes)
}

/// Opens what [`encrypt`] made. `None`: not with this key and context, or it was changed.
pub(crate) fn decrypt(key: &Bytes32, context: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = bytes.split_at_checked(12)?;
    let nonce: [u8; 12] = nonce.try_into().ok()?;
    cipher(key).decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: context }).ok()
}

fn cipher(key: &Bytes32) -> Aes256Gcm {
    <Aes256Gcm as KeyInit>::new(key.into())
}

/// Compares in constant time.
pub fn same(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    a.as_ref().ct_eq(b.as_ref()).into()
}

/// What making a key of a passphrase costs (argon2id).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

/// A key of a passphrase: argon2id. Takes a tenth of a second of processor time: call it off the event loop.
///
/// Errors: the salt or the cost is not one that argon2 takes.
pub(crate) fn passphrase_key(passphrase: &Secret, salt: &[u8], cost: Cost) -> Result<Bytes32> {
    let wrong = |error: argon2::Error| Error::internal(format!("argon2: {error}"));
    let params = argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(wrong)?;
    let mut key = [0; 32];
    Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.reveal().as_bytes(), salt, &mut key)
        .map_err(wrong)?;
    Ok(key)
}

/// argon2id with the crate's defaults (19 MiB, two passes), as a PHC string. Takes tens of milliseconds of processor time:
/// call it off the event loop.
pub fn hash_password(password: &str) -> Result<String> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| Error::internal(format!("argon2: {error}")))?;
    Ok(hash.to_string())
}

/// Whether the password belongs to the hash. As slow as [`hash_password`].
pub fn verify_password(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyring_opens_with_its_key_only() {
        let (ring, wrapped) = Keyring::generate(&Secret::new("correct horse battery")).expect("keys");
        let sealed = ring.seal("i/webhook", "s3cret").expect("seals");
        let again = Keyring::unwrap(&wrapped, &Secret::new("correct horse battery"), Millis(0)).expect("opens");
        assert_eq!(again.open("i/webhook", &sealed).expect("opens"), b"s3cret");
        assert!(again.open("j/webhook", &sealed).is_err(), "bound to its context");
        assert_eq!(ring.index("email", "a@b"), again.index("email", "a@b"));
        assert!(Keyring::unwrap(&wrapped, &Secret::new("wrong"), Millis(0)).is_err());
    }

    #[test]
    fn hashes_keep_scopes_apart() {
        let (ring, _) = Keyring::generate(&Secret::new("x")).expect("keys");
        assert_ne!(ring.index("email", "a"), ring.index("name", "a"));
        assert_ne!(ring.index2("a", "b", "c"), ring.index2("a", "bc", ""));
        assert_eq!(ring.index("email", "a").len(), 16);
        assert_eq!(ring.message_id_tail("i", "u").len(), 18);
        assert_ne!(ring.api_key("u", 1), ring.api_key("u", 2));
    }

    #[test]
    fn passwords_verify() {
        let hash = hash_password("hunter42").expect("hashes");
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify_password("hunter42", &hash) && !verify_password("hunter43", &hash));
        assert!(!verify_password("x", "not a hash"));
    }
}
