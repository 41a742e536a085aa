//! The file that a session travels in.
//!
//! | part | what |
//! |---|---|
//! | first line | `TRUNKLINE-SESSION 1` |
//! | second line | JSON `{kdf: "argon2id", memoryKib, passes, lanes, salt}`: how the key follows from the passphrase; `salt` in hex |
//! | rest | AES-256-GCM: nonce (12 bytes), ciphertext, tag (16 bytes), bound to the two lines |
//!
//! Encrypted is the JSON of [`Session`], values in base64.

use serde::{Deserialize, Serialize};

use super::Session;
use crate::{
    crypto::{self, Cost},
    error::{Error, Result},
    redact::Secret,
};

/// Magic and version.
const FIRST: &str = "TRUNKLINE-SESSION 1\n";
/// RFC 9106's second recommendation, in one lane: the passphrase is all that protects the file.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
/// What a file may ask of us.
const MOST: Cost = Cost { memory_kib: 64 * 1024, passes: 10, lanes: 4 };
/// Bytes of the second line at the most.
const HEAD: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    kdf: String,
    #[serde(flatten)]
    cost: Cost,
    salt: String,
}

/// The file. Takes a tenth of a second of processor time: call it off the event loop.
pub(super) fn write(session: &Session, passphrase: &Secret) -> Result<Vec<u8>> {
    let salt = &crypto::random()?[..16];
    let head = Head { kdf: "argon2id".into(), cost: COST, salt: hex::encode(salt) };
    let mut file = format!("{FIRST}{}\n", serde_json::to_string(&head)?).into_bytes();
    let key = crypto::passphrase_key(passphrase, salt, COST)?;
    let sealed = crypto::encrypt(&key, &file, &serde_json::to_vec(session)?)?;
    file.extend(sealed);
    Ok(file)
}

/// Opens a file. As slow as [`write`].
///
/// Errors: 400 that names `file` if it is none of ours, `passphrase` if it does not open: a file that was changed looks the same.
pub(super) fn read(file: &[u8], passphrase: &Secret) -> Result<Session> {
    let broken = || Error::invalid("file", "file is not a session file, or not whole");
    let rest = file.strip_prefix(FIRST.as_bytes()).ok_or_else(broken)?;
    let end = rest.iter().take(HEAD).position(|byte| *byte == b'\n').ok_or_else(broken)?;
    let (head, sealed) = rest.split_at(end + 1);
    let Head { kdf, cost, salt } = serde_json::from_slice(head).map_err(|_| broken())?;
    let salt = hex::decode(salt).ok().filter(|salt| (8..=64).contains(&salt.len())).ok_or_else(broken)?;
    let bearable = cost.memory_kib <= MOST.memory_kib && cost.passes <= MOST.passes && cost.lanes <= MOST.lanes;
    if kdf != "argon2id" || !bearable {
        return Err(broken());
    }
    let key = crypto::passphrase_key(passphrase, &salt, cost).map_err(|_| broken())?;
    let plain = crypto::decrypt(&key, &file[..file.len() - sealed.len()], sealed).ok_or_else(|| {
        Error::invalid("passphrase", "The passphrase does not open this file, or the file was changed")
            .code("WRONG_PASSPHRASE")
    })?;
    // Whoever has the passphrase can write what they like.
    serde_json::from_slice(&plain).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Platform,
        capability::Transport,
        clock::Millis,
        domain::{instance::Mode, moving::Row},
    };

    fn session() -> Session {
        let row = |key: &str, until| Row { key: key.into(), value: vec![0, 255, 7], until };
        Session {
            platform: Platform::Whatsapp,
            transport: Transport::Web,
            mode: Mode::Live,
            address: Some("79001234567@s.whatsapp.net".into()),
            exported_at: Millis(7),
            rows: vec![row("a", None), row("b", Some(Millis(9)))],
        }
    }

    #[test]
    fn a_file_opens_with_its_passphrase_only_and_only_as_it_was_written() {
        let passphrase = Secret::new("correct horse battery");
        let file = write(&session(), &passphrase).expect("writes");
        assert_eq!(read(&file, &passphrase).expect("reads"), session());
        let field = |file: &[u8], passphrase: &str| {
            let error = read(file, &Secret::new(passphrase)).expect_err("does not open");
            error.field.map(std::borrow::Cow::into_owned).unwrap_or_default()
        };
        assert_eq!(field(&file, "correct horse batterz"), "passphrase");
        let changed = |at: usize| {
            let mut file = file.clone();
            file[at] ^= 1;
            field(&file, passphrase.reveal())
        };
        assert_eq!((changed(0).as_str(), changed(file.len() - 1).as_str()), ("file", "passphrase"));
        let salt = file.windows(8).position(|part| part == b"\"salt\":\"").expect("a salt") + 8;
        assert_ne!(changed(salt), "", "the head is bound to the rest");
        for cut in [0, FIRST.len(), salt, file.len() - 1] {
            assert_ne!(field(&file[..cut], passphrase.reveal()), "", "{cut}");
        }
    }

    #[test]
    fn a_file_does_not_say_how_much_memory_we_spend() {
        let head = r#"{"kdf":"argon2id","memoryKib":4000000000,"passes":3,"lanes":1,"salt":"00112233445566778899aabbccddeeff"}"#;
        let file = format!("{FIRST}{head}\n0123456789012345678901234567890123456789");
        let error = read(file.as_bytes(), &Secret::new("correct horse battery")).expect_err("refused");
        assert_eq!(error.field.as_deref(), Some("file"));
    }
}
