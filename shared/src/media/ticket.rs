//! Upload tickets: `POST /api/media/uploads` reserves a media id and answers a URL that carries its own permission, so
//! that the upload itself needs neither credentials nor a row in the store.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{
    clock::Millis,
    error::{Error, Kind, Result},
    id::{MediaId, UserId},
    sign::same,
};

/// What one upload may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub owner: UserId,
    /// From [`super::reserve`].
    pub media: MediaId,
    /// The declared type; content that says otherwise wins.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mime: Option<String>,
    /// The name of the file, given back with the content.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Most bytes that are taken.
    pub size: u64,
    pub expires: Millis,
}

/// Keeps these signatures apart from all others made with the same key; the number is the format's version.
const PURPOSE: &[u8] = b"media-upload/1\0";

fn mac(key: &[u8], payload: &str) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(PURPOSE);
    mac.update(payload.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The ticket as the last segment of a path: `{claims}.{HMAC-SHA256}`, both base64url.
pub fn sign_ticket(key: &[u8], ticket: &Ticket) -> Result<String> {
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(ticket)?);
    let signature = URL_SAFE_NO_PAD.encode(mac(key, &payload));
    Ok(format!("{payload}.{signature}"))
}

/// Reads a ticket. One that we did not sign is not found; one that has expired is gone.
pub fn verify_ticket(key: &[u8], text: &str, now: Millis) -> Result<Ticket> {
    let unknown = || Error::not_found("Unknown upload");
    let (payload, signature) = text.split_once('.').ok_or_else(unknown)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| unknown())?;
    if !same(&signature, &mac(key, payload)) {
        return Err(unknown());
    }
    let ticket: Ticket = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).map_err(|_| unknown())?)?;
    if now >= ticket.expires {
        return Err(Error::new(Kind::Gone, "UPLOAD_EXPIRED", "The upload URL has expired"));
    }
    Ok(ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            owner: UserId::new("u1"),
            media: MediaId::new("u0123"),
            mime: Some("image/png".to_owned()),
            name: Some("Bild ä.png".to_owned()),
            size: 10,
            expires: Millis(1_000),
        }
    }

    #[test]
    fn a_ticket_comes_back_until_it_expires() {
        let text = sign_ticket(b"key", &ticket()).expect("a ticket");
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{text}");
        assert_eq!(verify_ticket(b"key", &text, Millis(999)).expect("valid"), ticket());
        assert_eq!(verify_ticket(b"key", &text, Millis(1_000)).expect_err("expired").kind, Kind::Gone);
    }

    #[test]
    fn forgeries_are_unknown() {
        let text = sign_ticket(b"key", &ticket()).expect("a ticket");
        let (payload, signature) = text.split_once('.').expect("two parts");
        let other = Ticket { size: 1 << 40, ..ticket() };
        let other = sign_ticket(b"other", &other).expect("a ticket");
        let (other_payload, _) = other.split_once('.').expect("two parts");
        for forged in [
            "",
            ".",
            payload,
            &format!("{payload}."),
            &format!("{payload}.{}", &signature[1..]),
            &format!("{other_payload}.{signature}"),
            &other,
            &format!("{text}.x"),
        ] {
            assert_eq!(verify_ticket(b"key", forged, Millis(0)).expect_err(forged).kind, Kind::NotFound, "{forged}");
        }
    }
}
