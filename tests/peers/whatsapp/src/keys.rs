//! The Signal state of one simulated phone: its identity, its sessions with the linked devices of every account, its sender
//! keys. All in memory, so no call ever waits: the library's futures are polled once.

use std::collections::HashMap;

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use futures_util::FutureExt as _;
use rand::RngExt as _;
use wacore_libsignal::protocol::{
    CiphertextMessage, CiphertextMessageType, Direction, GenericSignedPreKey as _, IdentityChange, IdentityKey,
    IdentityKeyPair, IdentityKeyStore, KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord, PreKeySignalMessage, PreKeyStore,
    ProtocolAddress, PublicKey, SenderKeyDistributionMessage, SenderKeyName, SenderKeyRecord, SenderKeyStore,
    SessionRecord, SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord,
    SignedPreKeyStore, Timestamp, UsePQRatchet, create_sender_key_distribution_message, group_decrypt, group_encrypt,
    message_decrypt, message_encrypt, process_prekey_bundle, process_sender_key_distribution_message,
};

type SignalResult<T> = std::result::Result<T, SignalProtocolError>;

/// Id of the only signed prekey a phone has.
const SIGNED_PREKEY: u32 = 1;

/// One device as Signal addresses it: the account's phone number and the device number, however it was addressed on the wire.
pub(crate) fn address(pn: &str, device: u16) -> ProtocolAddress {
    ProtocolAddress::new(pn, u32::from(device).into())
}

/// Public halves that the server hands out for a device.
#[derive(Clone)]
pub(crate) struct PublicBundle {
    pub(crate) registration_id: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed_prekey_id: u32,
    pub(crate) signed_prekey: [u8; 32],
    pub(crate) signed_prekey_signature: Vec<u8>,
    pub(crate) prekey: Option<(u32, [u8; 32])>,
}

impl PublicBundle {
    fn for_device(&self, device: u16) -> Result<PreKeyBundle> {
        let prekey = match &self.prekey {
            Some((id, key)) => Some((PreKeyId::from(*id), PublicKey::from_djb_public_key_bytes(key)?)),
            None => None,
        };
        let signature: [u8; 64] = self
            .signed_prekey_signature
            .as_slice()
            .try_into()
            .map_err(|_| anyhow!("a signed prekey signature that is not 64 bytes"))?;
        Ok(PreKeyBundle::new(
            self.registration_id,
            u32::from(device).into(),
            prekey,
            self.signed_prekey_id.into(),
            PublicKey::from_djb_public_key_bytes(&self.signed_prekey)?,
            signature.to_vec(),
            IdentityKey::new(PublicKey::from_djb_public_key_bytes(&self.identity)?),
        )?)
    }
}

/// One ciphertext and its `type` on the wire: `pkmsg` or `msg`.
pub(crate) struct Encrypted {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// Keys and sessions of one phone.
pub(crate) struct PhoneKeys {
    identities: Identities,
    sessions: Sessions,
    prekeys: Prekeys,
    signed_prekey: SignedPrekey,
    sender_keys: SenderKeys,
    next_prekey: u32,
}

impl PhoneKeys {
    pub(crate) fn generate() -> Result<Self> {
        let mut rng = rand::rng();
        let identity = IdentityKeyPair::generate(&mut rng);
        let pair = KeyPair::generate(&mut rng);
        let signature = identity.private_key().calculate_signature(&pair.public_key.serialize(), &mut rng)?;
        let signed_prekey = SignedPreKeyRecord::new(
            SIGNED_PREKEY.into(),
            Timestamp::from_epoch_millis(crate::clock::now_millis()),
            &pair,
            &signature,
        );
        Ok(Self {
            identities: Identities {
                own: identity,
                registration_id: rng.random_range(1..=0x3fff),
                known: HashMap::new(),
            },
            sessions: Sessions(HashMap::new()),
            prekeys: Prekeys(HashMap::new()),
            signed_prekey: SignedPrekey(signed_prekey),
            sender_keys: SenderKeys(HashMap::new()),
            next_prekey: 1,
        })
    }

    /// The account's identity key, which also signs linked devices.
    pub(crate) fn identity(&self) -> &IdentityKeyPair {
        &self.identities.own
    }

    /// The raw 32 bytes of the public identity key.
    pub(crate) fn identity_bytes(&self) -> Result<[u8; 32]> {
        raw(self.identities.own.public_key())
    }

    /// A bundle with a one-time prekey that was never handed out before.
    pub(crate) fn mint_bundle(&mut self) -> Result<PublicBundle> {
        let id = self.next_prekey;
        self.next_prekey += 1;
        let pair = KeyPair::generate(&mut rand::rng());
        self.prekeys.0.insert(id, PreKeyRecord::new(id.into(), &pair));
        let signed = &self.signed_prekey.0;
        Ok(PublicBundle {
            registration_id: self.identities.registration_id,
            identity: self.identity_bytes()?,
            signed_prekey_id: SIGNED_PREKEY,
            signed_prekey: raw(&signed.public_key()?)?,
            signed_prekey_signature: signed.signature()?.to_vec(),
            prekey: Some((id, raw(&pair.public_key)?)),
        })
    }

    pub(crate) fn has_session(&self, peer: &ProtocolAddress) -> bool {
        self.sessions.0.contains_key(peer)
    }

    /// Starts a session from the keys of the other side; an older one is archived within the record.
    pub(crate) fn start_session(&mut self, peer: &ProtocolAddress, device: u16, bundle: &PublicBundle) -> Result<()> {
        let bundle = bundle.for_device(device)?;
        at_once(process_prekey_bundle(
            peer,
            &mut self.sessions,
            &mut self.identities,
            &bundle,
            &mut rand::rng(),
            UsePQRatchet::No,
        ))?
        .context("a session from a prekey bundle")?;
        Ok(())
    }

    /// Encrypts already padded plaintext within an existing session.
    pub(crate) fn encrypt(&mut self, peer: &ProtocolAddress, padded: &[u8]) -> Result<Encrypted> {
        let message = at_once(message_encrypt(padded, peer, &mut self.sessions, &mut self.identities))?
            .with_context(|| format!("encrypting for {peer}"))?;
        let kind = match message.message_type() {
            CiphertextMessageType::PreKey => "pkmsg",
            CiphertextMessageType::Whisper => "msg",
            other => bail!("a pairwise message of type {other:?}"),
        };
        Ok(Encrypted { kind, bytes: message.serialize().to_vec() })
    }

    /// Decrypts one pairwise ciphertext; the padding is still on it.
    pub(crate) fn decrypt(&mut self, peer: &ProtocolAddress, kind: &str, ciphertext: &[u8]) -> Result<Vec<u8>> {
        let message = match kind {
            "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(ciphertext)?),
            "msg" => CiphertextMessage::SignalMessage(SignalMessage::try_from(ciphertext)?),
            other => bail!("an enc of type {other}"),
        };
        let result = at_once(message_decrypt(
            &message,
            peer,
            &mut self.sessions,
            &mut self.identities,
            &mut self.prekeys,
            &self.signed_prekey,
            &mut rand::rng(),
            UsePQRatchet::No,
        ))?
        .with_context(|| format!("decrypting from {peer}"))?;
        if let Some(used) = result.consumed_prekey_id {
            self.prekeys.0.remove(&u32::from(used));
        }
        Ok(result.plaintext)
    }

    /// Takes over the sender key that `sender` announced for `group`.
    pub(crate) fn accept_sender_key(
        &mut self,
        group: &str,
        sender: &ProtocolAddress,
        announcement: &[u8],
    ) -> Result<()> {
        let message = SenderKeyDistributionMessage::try_from(announcement)?;
        at_once(process_sender_key_distribution_message(
            &SenderKeyName::from_parts(group, sender.as_str()),
            &message,
            &mut self.sender_keys,
        ))?
        .context("taking over a sender key")
    }

    /// Decrypts a group message; the padding is still on it.
    pub(crate) fn group_decrypt(
        &mut self,
        group: &str,
        sender: &ProtocolAddress,
        ciphertext: &[u8],
    ) -> Result<Vec<u8>> {
        at_once(group_decrypt(ciphertext, &mut self.sender_keys, &SenderKeyName::from_parts(group, sender.as_str())))?
            .with_context(|| format!("decrypting from {sender} in {group}"))
    }

    /// This phone's own sender key for a group, as it is announced to the members' devices; made at the first call.
    pub(crate) fn announce_sender_key(&mut self, group: &str, own: &ProtocolAddress) -> Result<Vec<u8>> {
        let message = at_once(create_sender_key_distribution_message(
            &SenderKeyName::from_parts(group, own.as_str()),
            &mut self.sender_keys,
            &mut rand::rng(),
        ))?
        .context("announcing a sender key")?;
        Ok(message.serialized().to_vec())
    }

    /// Encrypts padded plaintext for a group.
    pub(crate) fn group_encrypt(&mut self, group: &str, own: &ProtocolAddress, padded: &[u8]) -> Result<Vec<u8>> {
        let message = at_once(group_encrypt(
            &mut self.sender_keys,
            &SenderKeyName::from_parts(group, own.as_str()),
            padded,
            &mut rand::rng(),
        ))?
        .with_context(|| format!("encrypting for {group}"))?;
        Ok(message.serialized().to_vec())
    }

    /// Throws the own sender key of a group away, as a phone does when a member leaves.
    pub(crate) fn forget_sender_key(&mut self, group: &str, own: &ProtocolAddress) {
        let name = SenderKeyName::from_parts(group, own.as_str());
        self.sender_keys.0.remove(name.cache_key());
    }
}

/// Polls a future of the library once: over stores in memory it is finished then.
fn at_once<F: Future>(future: F) -> Result<F::Output> {
    future.now_or_never().ok_or_else(|| anyhow!("a Signal operation over memory waited"))
}

fn raw(key: &PublicKey) -> Result<[u8; 32]> {
    key.public_key_bytes().try_into().map_err(|_| anyhow!("a public key that is not 32 bytes"))
}

struct Sessions(HashMap<ProtocolAddress, SessionRecord>);

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> SignalResult<Option<SessionRecord>> {
        Ok(self.0.get(address).cloned())
    }

    async fn has_session(&self, address: &ProtocolAddress) -> SignalResult<bool> {
        Ok(self.0.contains_key(address))
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> SignalResult<()> {
        self.0.insert(address.clone(), record);
        Ok(())
    }
}

struct Identities {
    own: IdentityKeyPair,
    registration_id: u32,
    known: HashMap<ProtocolAddress, IdentityKey>,
}

#[async_trait]
impl IdentityKeyStore for Identities {
    async fn get_identity_key_pair(&self) -> SignalResult<IdentityKeyPair> {
        Ok(self.own.clone())
    }

    async fn get_local_registration_id(&self) -> SignalResult<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(
        &mut self,
        address: &ProtocolAddress,
        identity: &IdentityKey,
    ) -> SignalResult<IdentityChange> {
        Ok(match self.known.insert(address.clone(), *identity) {
            Some(earlier) if earlier != *identity => IdentityChange::ReplacedExisting,
            _ => IdentityChange::NewOrUnchanged,
        })
    }

    /// A simulated phone trusts whoever the server shows it.
    async fn is_trusted_identity(
        &self,
        _address: &ProtocolAddress,
        _identity: &IdentityKey,
        _direction: Direction,
    ) -> SignalResult<bool> {
        Ok(true)
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> SignalResult<Option<IdentityKey>> {
        Ok(self.known.get(address).copied())
    }
}

struct Prekeys(HashMap<u32, PreKeyRecord>);

#[async_trait]
impl PreKeyStore for Prekeys {
    async fn get_pre_key(&self, id: PreKeyId) -> SignalResult<PreKeyRecord> {
        self.0.get(&u32::from(id)).cloned().ok_or(SignalProtocolError::InvalidPreKeyId)
    }

    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> SignalResult<()> {
        self.0.insert(id.into(), record.clone());
        Ok(())
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> SignalResult<()> {
        self.0.remove(&u32::from(id));
        Ok(())
    }
}

struct SignedPrekey(SignedPreKeyRecord);

#[async_trait]
impl SignedPreKeyStore for SignedPrekey {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> SignalResult<SignedPreKeyRecord> {
        if u32::from(id) == SIGNED_PREKEY {
            Ok(self.0.clone())
        } else {
            Err(SignalProtocolError::InvalidSignedPreKeyId)
        }
    }

    async fn save_signed_pre_key(&mut self, _id: SignedPreKeyId, record: &SignedPreKeyRecord) -> SignalResult<()> {
        self.0 = record.clone();
        Ok(())
    }
}

struct SenderKeys(HashMap<String, SenderKeyRecord>);

#[async_trait]
impl SenderKeyStore for SenderKeys {
    async fn store_sender_key(&mut self, name: &SenderKeyName, record: SenderKeyRecord) -> SignalResult<()> {
        self.0.insert(name.cache_key().to_owned(), record);
        Ok(())
    }

    async fn load_sender_key(&self, name: &SenderKeyName) -> SignalResult<Option<SenderKeyRecord>> {
        Ok(self.0.get(name.cache_key()).cloned())
    }
}
