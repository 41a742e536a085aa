//! Signatures of outgoing webhooks, in two spellings: our own header, and those of Standard Webhooks. The key is always
//! the UTF-8 bytes of the secret (spec/http.md, "Webhooks out"). Comparing in constant time lives here too.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::redact::Secret;

/// Our own header: lower-case hex.
pub const SIGNATURE: &str = "x-webhook-signature";
/// Standard Webhooks: the event's id, the same over retries.
pub const STANDARD_ID: &str = "webhook-id";
/// Standard Webhooks: seconds since 1970 of this attempt.
pub const STANDARD_TIMESTAMP: &str = "webhook-timestamp";
/// Standard Webhooks: `v1,<base64>`, one for each secret that is valid, with a space between.
pub const STANDARD_SIGNATURE: &str = "webhook-signature";

/// HMAC-SHA256 over the parts, one behind the other.
pub(crate) fn hmac_sha256<'a>(key: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The value of `X-Webhook-Signature`: lower-case hex HMAC-SHA256 of the exact body.
pub fn signature(secret: &Secret, body: &[u8]) -> String {
    hex::encode(hmac_sha256(secret.reveal().as_bytes(), [body]))
}

/// The value of `webhook-signature`: over `{id}.{seconds}.{body}`, once for each secret, newest first.
pub fn standard_signature<'a>(
    secrets: impl IntoIterator<Item = &'a Secret>,
    id: &str,
    seconds: i64,
    body: &[u8],
) -> String {
    let prefix = format!("{id}.{seconds}.");
    let signatures: Vec<String> = secrets
        .into_iter()
        .map(|secret| hmac_sha256(secret.reveal().as_bytes(), [prefix.as_bytes(), body]))
        .map(|mac| format!("v1,{}", STANDARD.encode(mac)))
        .collect();
    signatures.join(" ")
}

/// All signature headers of one attempt. `secrets`: newest first, during a rotation with the old one behind it; none of
/// them, no signatures. `seconds`: the time of this attempt.
pub fn headers(secrets: &[Secret], id: &str, seconds: i64, body: &[u8]) -> Vec<(&'static str, String)> {
    let mut headers = vec![(STANDARD_ID, id.to_owned()), (STANDARD_TIMESTAMP, seconds.to_string())];
    if let Some(newest) = secrets.first() {
        headers.push((SIGNATURE, signature(newest, body)));
        headers.push((STANDARD_SIGNATURE, standard_signature(secrets, id, seconds, body)));
    }
    headers
}

/// Whether two texts are the same, in a time that does not depend on where they differ. Their lengths are no secret.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values: Python's `hmac.new(key, message, hashlib.sha256)`.
    const BODY: &str = r#"{"event":"message_received","data":{"text":"你好"}}"#;

    #[test]
    fn matches_python() {
        let secret = Secret::new("whsec-test-ключ");
        let old = Secret::new("old secret");
        assert_eq!(
            signature(&secret, BODY.as_bytes()),
            "dd568ad9ca50f27108a79ac8e972036f3c09bda10a590e5537ddf5cf72aa3d52"
        );
        assert_eq!(
            standard_signature([&secret, &old], "msg_1", 1_700_000_000, BODY.as_bytes()),
            "v1,pVPIBR587pQffTBprVtBRSjJb+mzcfhRGZ2/y8BBgrg= v1,PCxq0ybZXSt0b+QZJJuhbwD4PA9Q23TkC0qQCuGSkws="
        );
        assert_eq!(
            signature(&Secret::new(""), b""),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"
        );
    }

    #[test]
    fn headers_carry_both_spellings() {
        let secrets = [Secret::new("new"), Secret::new("old")];
        let headers = headers(&secrets, "e1", 5, b"{}");
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, [STANDARD_ID, STANDARD_TIMESTAMP, SIGNATURE, STANDARD_SIGNATURE]);
        assert_eq!(headers[1].1, "5");
        assert_eq!(headers[2].1, signature(&secrets[0], b"{}"), "the newest secret alone");
        assert_eq!(headers[3].1.matches("v1,").count(), 2);
        assert_eq!(super::headers(&[], "e1", 5, b"{}").len(), 2);
    }

    #[test]
    fn same_compares_whole_texts() {
        assert!(same(b"abc", b"abc") && same(b"", b""));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }
}
