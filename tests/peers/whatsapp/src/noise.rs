//! The responder's side of the Noise handshake, and the cipher of a connection afterwards.
//!
//! Clients begin with XX; one that has seen our certificate begins with IK, and IK with a key that is not ours (another process
//! of the fake) is answered as XX-fallback, as the real server does. The certificate chain has the real shape and no valid
//! signature: only a client built with `danger-skip-cert-chain-verify` accepts it.

use anyhow::{Context as _, Result, anyhow};
use buffa::MessageField;
use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER};
use wacore_libsignal::protocol::KeyPair;
use wacore_noise::{NoiseCipher, NoiseHandshake};
use waproto::codec;
use waproto::whatsapp::{CertChain, HandshakeMessage, cert_chain, handshake_message};

use crate::clock::now_secs;

/// Long-lived keys of the server: one per process of the fake.
pub(crate) struct ServerIdentity {
    key: KeyPair,
    certificate: Vec<u8>,
}

/// What the first message of the client leads to.
pub(crate) enum FirstAnswer {
    /// XX or its fallback: send `reply`, then wait for the client's finish.
    AwaitFinish { reply: Vec<u8>, pending: PendingFinish },
    /// IK: after `reply` the connection is established.
    Established { reply: Vec<u8>, session: Established },
}

/// State between ServerHello and ClientFinish.
pub(crate) struct PendingFinish {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
}

/// A finished handshake: who the client says it is, and the two ciphers.
pub(crate) struct Established {
    pub(crate) client_static: [u8; 32],
    /// The encoded `ClientPayload`.
    pub(crate) payload: Vec<u8>,
    /// Server to client.
    pub(crate) write: NoiseCipher,
    /// Client to server.
    pub(crate) read: NoiseCipher,
}

impl ServerIdentity {
    pub(crate) fn generate() -> Self {
        let key = KeyPair::generate(&mut rand::rng());
        let certificate = certificate_of(&key);
        Self { key, certificate }
    }

    /// Answers the client's first handshake message.
    pub(crate) fn answer(&self, hello: &[u8]) -> Result<FirstAnswer> {
        let message = codec::handshake_message_decode(hello).context("the first handshake message")?;
        let hello = message
            .client_hello
            .into_option()
            .ok_or_else(|| anyhow!("the first handshake message is not a ClientHello"))?;
        let client_ephemeral: [u8; 32] = hello
            .ephemeral
            .as_deref()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| anyhow!("a ClientHello without a 32-byte ephemeral key"))?;

        match (hello.r#static, hello.payload) {
            (Some(client_static), Some(payload)) => {
                match self.resume(&client_ephemeral, &client_static, &payload) {
                    Ok(answer) => Ok(answer),
                    // Encrypted to a key that we never had, or had in an earlier process.
                    Err(_) => self.full(NOISE_PATTERN_XXFALLBACK, &client_ephemeral),
                }
            }
            _ => self.full(NOISE_PATTERN_XX, &client_ephemeral),
        }
    }

    fn full(&self, pattern: &str, client_ephemeral: &[u8; 32]) -> Result<FirstAnswer> {
        let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER)?;
        let ephemeral = KeyPair::generate(&mut rand::rng());
        noise.authenticate(client_ephemeral);
        noise.authenticate(ephemeral.public_key.public_key_bytes());
        noise.mix_shared_secret(ephemeral.private_key.serialize(), client_ephemeral)?;
        let encrypted_static = noise.encrypt(self.key.public_key.public_key_bytes())?;
        noise.mix_shared_secret(self.key.private_key.serialize(), client_ephemeral)?;
        let encrypted_certificate = noise.encrypt(&self.certificate)?;
        let reply = server_hello(&ephemeral, Some(encrypted_static), encrypted_certificate);
        Ok(FirstAnswer::AwaitFinish { reply, pending: PendingFinish { noise, ephemeral } })
    }

    fn resume(&self, client_ephemeral: &[u8; 32], client_static: &[u8], payload: &[u8]) -> Result<FirstAnswer> {
        let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
        noise.authenticate(self.key.public_key.public_key_bytes());
        noise.authenticate(client_ephemeral);
        noise.mix_shared_secret(self.key.private_key.serialize(), client_ephemeral)?;
        let client_static = key_bytes(&noise.decrypt(client_static)?)?;
        noise.mix_shared_secret(self.key.private_key.serialize(), &client_static)?;
        let payload = noise.decrypt(payload)?;

        let ephemeral = KeyPair::generate(&mut rand::rng());
        noise.authenticate(ephemeral.public_key.public_key_bytes());
        noise.mix_shared_secret(ephemeral.private_key.serialize(), client_ephemeral)?;
        noise.mix_shared_secret(ephemeral.private_key.serialize(), &client_static)?;
        let encrypted_certificate = noise.encrypt(&self.certificate)?;
        let reply = server_hello(&ephemeral, None, encrypted_certificate);
        let session = established(noise, client_static, payload)?;
        Ok(FirstAnswer::Established { reply, session })
    }
}

impl PendingFinish {
    /// Reads the ClientFinish.
    pub(crate) fn finish(mut self, message: &[u8]) -> Result<Established> {
        let message = codec::handshake_message_decode(message).context("the ClientFinish")?;
        let finish = message
            .client_finish
            .into_option()
            .ok_or_else(|| anyhow!("the second handshake message is not a ClientFinish"))?;
        let (Some(client_static), Some(payload)) = (finish.r#static, finish.payload) else {
            return Err(anyhow!("a ClientFinish without static key or payload"));
        };
        let client_static = key_bytes(&self.noise.decrypt(&client_static)?)?;
        self.noise.mix_shared_secret(self.ephemeral.private_key.serialize(), &client_static)?;
        let payload = self.noise.decrypt(&payload)?;
        established(self.noise, client_static, payload)
    }
}

fn established(noise: NoiseHandshake, client_static: [u8; 32], payload: Vec<u8>) -> Result<Established> {
    // `finish` names the keys as the initiator sees them.
    let (from_client, to_client) = noise.finish()?;
    Ok(Established { client_static, payload, write: to_client, read: from_client })
}

fn key_bytes(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| anyhow!("a static key of {} bytes", bytes.len()))
}

fn server_hello(ephemeral: &KeyPair, encrypted_static: Option<Vec<u8>>, payload: Vec<u8>) -> Vec<u8> {
    codec::handshake_message_to_vec(&HandshakeMessage {
        server_hello: MessageField::some(handshake_message::ServerHello {
            ephemeral: Some(ephemeral.public_key.public_key_bytes().to_vec()),
            r#static: encrypted_static,
            payload: Some(payload),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// Leaf and intermediate certificate, valid for a year; the signatures are zeros.
fn certificate_of(key: &KeyPair) -> Vec<u8> {
    use buffa::Message as _;

    let year = 365 * 24 * 3600;
    let now = now_secs();
    let intermediate = KeyPair::generate(&mut rand::rng());
    let details = |serial: u32, issuer: u32, key: &KeyPair| cert_chain::noise_certificate::Details {
        serial: Some(serial),
        issuer_serial: Some(issuer),
        key: Some(key.public_key.public_key_bytes().to_vec()),
        not_before: Some(now.saturating_sub(24 * 3600)),
        not_after: Some(now + year),
    };
    let certificate = |details: cert_chain::noise_certificate::Details| cert_chain::NoiseCertificate {
        details: Some(details.encode_to_vec()),
        signature: Some(vec![0; 64]),
    };
    CertChain {
        leaf: MessageField::some(certificate(details(2, 1, key))),
        intermediate: MessageField::some(certificate(details(1, 0, &intermediate))),
    }
    .encode_to_vec()
}
