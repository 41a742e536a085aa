//! Linking a device: refs for the QR, the scan of the simulated phone, pairing by code, and the restart afterwards.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use tokio::sync::oneshot;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};
use wacore_libsignal::crypto::CryptographicMac;
use wacore_libsignal::protocol::{KeyPair, PublicKey};
use waproto::whatsapp as wa;

use crate::clock::now_secs;
use crate::device::Device;
use crate::dispatch::send;
use crate::keys::PublicBundle;
use crate::stanza::{attr, child_bytes, server_jid, uint};
use crate::state::{ConnId, Peer, State};
use crate::world::Shared;
use crate::{companion, login, topology};

/// Refs offered to a client at once: the first is shown for 60 s, the others for 20 s each.
const REFS: usize = 6;

/// The real server waits about this long before it asks a newly linked client to reconnect.
const RESTART_AFTER: Duration = Duration::from_millis(400);

/// What a client that wants to be linked says about itself.
pub(crate) struct Registration {
    noise_key: [u8; 32],
    bundle: PublicBundle,
    /// A scan that waits for the client's signature.
    awaiting: Option<AwaitingSignature>,
}

struct AwaitingSignature {
    pn: String,
    device: u16,
    key_index: u32,
    iq: String,
    done: oneshot::Sender<Result<u16>>,
}

/// A pairing by code between the client's two messages.
pub(crate) struct CodePairing {
    pub(crate) conn: ConnId,
    pub(crate) reference: Vec<u8>,
    /// The client's ephemeral key, encrypted with the code.
    pub(crate) wrapped_ephemeral: Vec<u8>,
    /// Set when the phone's user has typed the code.
    primary: Option<PrimaryHello>,
}

struct PrimaryHello {
    ephemeral: KeyPair,
    companion_ephemeral: [u8; 32],
    done: oneshot::Sender<Result<u16>>,
}

impl Registration {
    pub(crate) fn read(data: &wa::client_payload::DevicePairingRegistrationData, noise_key: [u8; 32]) -> Result<Self> {
        let bytes =
            |field: &Option<Vec<u8>>, name: &str| field.clone().ok_or_else(|| anyhow!("pairing data without {name}"));
        let key = |field: &Option<Vec<u8>>, name: &str| -> Result<[u8; 32]> {
            bytes(field, name)?.try_into().map_err(|_| anyhow!("{name} is not 32 bytes"))
        };
        Ok(Self {
            noise_key,
            bundle: PublicBundle {
                registration_id: uint(&bytes(&data.e_regid, "eRegid")?),
                identity: key(&data.e_ident, "eIdent")?,
                signed_prekey_id: uint(&bytes(&data.e_skey_id, "eSkeyId")?),
                signed_prekey: key(&data.e_skey_val, "eSkeyVal")?,
                signed_prekey_signature: bytes(&data.e_skey_sig, "eSkeySig")?,
                prekey: None,
            },
            awaiting: None,
        })
    }
}

/// Gives a client the refs that it shows as QR.
pub(crate) fn offer_refs(state: &mut State, conn: ConnId) {
    let refs: Vec<String> =
        (0..REFS).map(|_| format!("2@{}", BASE64_STANDARD.encode(rand::random::<[u8; 32]>()))).collect();
    let id = state.stanza_id();
    let pair_device = NodeBuilder::new("pair-device")
        .children(refs.iter().map(|reference| NodeBuilder::new("ref").bytes(reference.as_bytes()).build()))
        .build();
    let iq = NodeBuilder::new("iq")
        .attr("from", server_jid())
        .attr("type", "set")
        .attr("id", id)
        .attr("xmlns", "md")
        .children([pair_device])
        .build();
    state.refs.extend(refs.into_iter().map(|reference| (reference, conn)));
    send(state, conn, iq);
}

/// The phone scans a QR text. The receiver gets the number of the linked device, or why the client refused.
pub(crate) fn scan(state: &mut State, pn: &str, qr: &str) -> Result<oneshot::Receiver<Result<u16>>> {
    // Five parts, or six with the address that some clients put in front: ref, Noise key, identity key, secret, client type.
    let text = qr.rsplit_once('#').map_or(qr, |(_, text)| text);
    let parts: Vec<&str> = text.split(',').collect();
    let [reference, noise, identity, secret, ..] = parts.as_slice() else {
        bail!("a QR has at least four parts, this one has {}", parts.len());
    };
    let conn = *state.refs.get(*reference).ok_or_else(|| anyhow!("this QR is not valid (any more)"))?;
    let decode = |part: &str, name: &str| -> Result<[u8; 32]> {
        BASE64_STANDARD
            .decode(part)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| anyhow!("the {name} in the QR is not 32 bytes in base64"))
    };
    let (noise, identity, secret) =
        (decode(noise, "Noise key")?, decode(identity, "identity key")?, decode(secret, "secret")?);
    let registration = registration(state, conn)?;
    if registration.noise_key != noise || registration.bundle.identity != identity {
        bail!("the keys in the QR are not those of the client that shows it");
    }
    link(state, pn, conn, &secret)
}

fn registration(state: &mut State, conn: ConnId) -> Result<&mut Registration> {
    match state.conns.get_mut(&conn).map(|conn| &mut conn.peer) {
        Some(Peer::Registering(registration)) => Ok(registration),
        _ => bail!("the client that wanted to be linked is gone"),
    }
}

/// Signs the client's identity and sends `pair-success`.
fn link(state: &mut State, pn: &str, conn: ConnId, secret: &[u8; 32]) -> Result<oneshot::Receiver<Result<u16>>> {
    let iq = state.stanza_id();
    let identity = registration(state, conn)?.bundle.identity;
    let phone = state.phone_mut(pn)?;
    if let Some(ban) = &phone.ban {
        bail!("this phone is blocked ({})", ban.reason);
    }
    if phone.passkey {
        send(state, conn, passkey_request(iq));
        bail!("this account asks for a passkey");
    }
    let (device, key_index) = phone.next_device();
    let platform = phone.platform.clone();
    let details = waproto_bytes(&wa::ADVDeviceIdentity {
        raw_id: Some(phone.raw_id),
        timestamp: Some(now_secs()),
        key_index: Some(key_index),
        ..Default::default()
    });
    let account = phone.keys.identity();
    let signature =
        account.private_key().calculate_signature(&[&[6, 0][..], &details, &identity].concat(), &mut rand::rng())?;
    let signed = waproto_bytes(&wa::ADVSignedDeviceIdentity {
        details: Some(details),
        account_signature_key: Some(account.public_key().public_key_bytes().to_vec()),
        account_signature: Some(signature.to_vec()),
        device_signature: None,
    });
    let mut mac = CryptographicMac::new("HmacSha256", secret)
        .map_err(|error| anyhow!("the HMAC of the device identity: {error:?}"))?;
    mac.update(&signed);
    let container = waproto_bytes(&wa::ADVSignedDeviceIdentityHMAC {
        details: Some(signed),
        hmac: Some(mac.finalize()),
        ..Default::default()
    });
    let device_node = NodeBuilder::new("device")
        .attr("jid", Jid::pn_device(pn.to_owned(), device))
        .attr("lid", Jid::lid_device(phone.lid.clone(), device))
        .build();
    let success = NodeBuilder::new("pair-success")
        .children([
            NodeBuilder::new("device-identity").bytes(container).build(),
            NodeBuilder::new("platform").attr("name", platform).build(),
            device_node,
        ])
        .build();
    let node = NodeBuilder::new("iq")
        .attr("from", server_jid())
        .attr("type", "set")
        .attr("id", iq.as_str())
        .attr("xmlns", "md")
        .attr("t", now_secs())
        .children([success])
        .build();
    let (done, receiver) = oneshot::channel();
    registration(state, conn)?.awaiting = Some(AwaitingSignature { pn: pn.to_owned(), device, key_index, iq, done });
    send(state, conn, node);
    Ok(receiver)
}

/// Asks the client for a WebAuthn assertion. The ceremony ends here: the phone of the fake has no passkey.
fn passkey_request(id: String) -> Node {
    let options = serde_json::json!({
        "challenge": BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()),
        "rpId": "whatsapp.com",
        "allowCredentials": [],
        "userVerification": "required",
        "timeout": 60_000,
    });
    NodeBuilder::new("notification")
        .attr("from", server_jid())
        .attr("type", "passkey_prologue_request")
        .attr("id", id)
        .attr("t", now_secs())
        .children([NodeBuilder::new("passkey_request_options").bytes(options.to_string().into_bytes()).build()])
        .build()
}

/// The client's answer to `pair-success`: from here on the device is linked.
pub(crate) fn signed(world: &Shared, state: &mut State, conn: ConnId, node: &Node) {
    let Some((registered, awaiting)) = take_awaited(state, conn, node) else {
        // The answer to `pair-device`.
        return;
    };
    match add_device(state, registered, &awaiting, node) {
        Ok(()) => {
            state.stats.pairings += 1;
            state.refs.retain(|_, owner| *owner != conn);
            let device = awaiting.device;
            awaiting.done.send(Ok(device)).ok();
            let world = world.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RESTART_AFTER).await;
                let state = world.state();
                send(&state, conn, login::stream_error(515));
                login::close(&state, conn);
            });
        }
        Err(error) => {
            awaiting.done.send(Err(error)).ok();
        }
    }
}

/// The client refused `pair-success`.
pub(crate) fn rejected(state: &mut State, conn: ConnId, node: &Node) {
    if let Some((_, awaiting)) = take_awaited(state, conn, node) {
        let text = node.get_optional_child("error").and_then(|error| attr(error, "text")).unwrap_or_default();
        awaiting.done.send(Err(anyhow!("the client refused to be linked: {text}"))).ok();
    }
}

fn take_awaited(state: &mut State, conn: ConnId, node: &Node) -> Option<((PublicBundle, [u8; 32]), AwaitingSignature)> {
    let registration = registration(state, conn).ok()?;
    let id = attr(node, "id")?;
    let awaiting = registration.awaiting.take_if(|awaiting| awaiting.iq == id)?;
    Some(((registration.bundle.clone(), registration.noise_key), awaiting))
}

fn add_device(
    state: &mut State,
    (bundle, noise_key): (PublicBundle, [u8; 32]),
    awaiting: &AwaitingSignature,
    node: &Node,
) -> Result<()> {
    let signed = node
        .get_optional_child("pair-device-sign")
        .and_then(|sign| child_bytes(sign, "device-identity"))
        .ok_or_else(|| anyhow!("the client's answer carries no device-identity"))?
        .to_vec();
    let phone = state.phone_mut(&awaiting.pn)?;
    let account = phone.keys.identity_bytes()?;
    match wacore::adv::validate_adv_with_identity_key(&signed, &bundle.identity, Some(&account)) {
        wacore::adv::AdvValidation::Valid => {}
        other => bail!("the client's signature over its identity is {other:?}"),
    }
    phone.devices.insert(awaiting.device, Device::new(awaiting.device, awaiting.key_index, noise_key, bundle, signed));
    topology::tell_of_device(state, &awaiting.pn, awaiting.device, awaiting.key_index, true);
    companion::welcome(state, &awaiting.pn, awaiting.device)
}

/// The client asks for pairing by code: remembers its key and answers with a ref.
pub(crate) fn companion_hello(state: &mut State, conn: ConnId, request: &Node) -> Result<Node> {
    let pn = phone_of_request(request)?;
    state.phone(&pn)?;
    let wrapped = child_bytes(request, "link_code_pairing_wrapped_companion_ephemeral_pub")
        .ok_or_else(|| anyhow!("companion_hello without an ephemeral key"))?
        .to_vec();
    let reference = format!("code-{}", state.next_number()).into_bytes();
    state
        .codes
        .insert(pn, CodePairing { conn, reference: reference.clone(), wrapped_ephemeral: wrapped, primary: None });
    Ok(NodeBuilder::new("link_code_companion_reg")
        .attr("stage", "companion_hello")
        .children([NodeBuilder::new("link_code_pairing_ref").bytes(reference).build()])
        .build())
}

/// The phone's user typed the code. `unwrapped` is the client's ephemeral key as the code opens it, `wrapped` our own encrypted
/// with the code: both take so long to compute that they are made outside of the lock.
pub(crate) fn primary_hello(
    state: &mut State,
    pn: &str,
    unwrapped: [u8; 32],
    ephemeral: KeyPair,
    wrapped: &[u8; 80],
) -> Result<oneshot::Receiver<Result<u16>>> {
    let identity = state.phone(pn)?.keys.identity_bytes()?;
    let id = state.stanza_id();
    let pairing = state.codes.get_mut(pn).ok_or_else(|| anyhow!("no client waits for a code for {pn}"))?;
    let (done, receiver) = oneshot::channel();
    pairing.primary = Some(PrimaryHello { ephemeral, companion_ephemeral: unwrapped, done });
    let conn = pairing.conn;
    let hello = NodeBuilder::new("link_code_companion_reg")
        .attr("stage", "primary_hello")
        .children([
            NodeBuilder::new("link_code_pairing_wrapped_primary_ephemeral_pub").bytes(wrapped.to_vec()).build(),
            NodeBuilder::new("primary_identity_pub").bytes(identity.to_vec()).build(),
            NodeBuilder::new("link_code_pairing_ref").bytes(pairing.reference.clone()).build(),
        ])
        .build();
    let notification = NodeBuilder::new("notification")
        .attr("from", server_jid())
        .attr("type", "link_code_companion_reg")
        .attr("id", id)
        .attr("t", now_secs())
        .children([hello])
        .build();
    send(state, conn, notification);
    Ok(receiver)
}

/// The client's key bundle: the phone opens it, derives the shared secret, and links the device.
pub(crate) fn companion_finish(state: &mut State, conn: ConnId, request: &Node) -> Result<()> {
    let pn = phone_of_request(request)?;
    let pairing = state.codes.remove(&pn).ok_or_else(|| anyhow!("companion_finish without companion_hello"))?;
    let primary = pairing.primary.ok_or_else(|| anyhow!("companion_finish before the code was entered"))?;
    let wrapped = child_bytes(request, "link_code_pairing_wrapped_key_bundle")
        .ok_or_else(|| anyhow!("companion_finish without a key bundle"))?;
    let linked = secret_of(state, &pn, &primary, wrapped).and_then(|secret| link(state, &pn, conn, &secret));
    match linked {
        Ok(receiver) => {
            tokio::spawn(async move {
                let outcome = receiver.await.unwrap_or_else(|_| Err(anyhow!("the client went away")));
                primary.done.send(outcome).ok();
            });
        }
        // The phone shows that the code was wrong; the client hears nothing.
        Err(error) => {
            primary.done.send(Err(error)).ok();
        }
    }
    Ok(())
}

fn secret_of(state: &State, pn: &str, primary: &PrimaryHello, wrapped: &[u8]) -> Result<[u8; 32]> {
    let (Some(salt), Some(iv), Some(sealed)) = (wrapped.get(..32), wrapped.get(32..44), wrapped.get(44..)) else {
        bail!("a key bundle of {} bytes", wrapped.len());
    };
    let ephemeral_shared =
        primary.ephemeral.calculate_agreement(&PublicKey::from_djb_public_key_bytes(&primary.companion_ephemeral)?)?;
    let mut key = [0; 32];
    wacore::crypto::hkdf_sha256_into(
        &ephemeral_shared,
        Some(salt),
        b"link_code_pairing_key_bundle_encryption_key",
        &mut key,
    )
    .map_err(|_| anyhow!("deriving the key of the bundle"))?;
    let mut opened = Vec::new();
    wacore_libsignal::crypto::aes_256_gcm_decrypt(&key, iv.try_into()?, b"", sealed, &mut opened)
        .map_err(|_| anyhow!("the code is wrong"))?;
    let (Some(companion_identity), Some(random)) = (opened.get(..32), opened.get(64..96)) else {
        bail!("an opened key bundle of {} bytes", opened.len());
    };
    let identity_shared = state
        .phone(pn)?
        .keys
        .identity()
        .private_key()
        .calculate_agreement(&PublicKey::from_djb_public_key_bytes(companion_identity)?)?;
    let mut secret = [0; 32];
    wacore::crypto::hkdf_sha256_into(
        &[&ephemeral_shared[..], &identity_shared, random].concat(),
        None,
        b"adv_secret",
        &mut secret,
    )
    .map_err(|_| anyhow!("deriving the shared secret"))?;
    Ok(secret)
}

fn phone_of_request(request: &Node) -> Result<String> {
    Ok(crate::stanza::jid(request, "jid").context("a pairing request without the phone's address")?.user.to_string())
}

fn waproto_bytes(message: &impl buffa::Message) -> Vec<u8> {
    message.encode_to_vec()
}
