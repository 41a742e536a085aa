//! Pieces of history that wait to be stored: compressed as they came, in parts, with how far they are.
//!
//! The crate tells the phone that it has a piece before it has read it, and the phone does not hand it over again. So a piece is
//! kept here first, and leaves when its last message is in the log.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use shared::{Error, Result, clock::Millis, crypto};

use super::{Store, codec, now};

const HEADS: &str = "hp/";
/// Bytes of one part: an item of the store holds 400 KB of base64.
const PART: usize = 200 << 10;
/// What nobody has stored by then is given up.
const LIFE_SECONDS: i64 = 30 * 86_400;

/// Where a page begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) page: u32,
    pub(crate) conversation: u32,
    /// Within its conversation.
    pub(crate) message: u32,
}

/// A piece that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// In the order in which they came.
    pub(crate) id: String,
    parts: u32,
    pub(crate) progress: Option<u32>,
    /// From where on it is not stored yet.
    pub(crate) at: Place,
    until: i64,
}

impl Piece {
    fn part(&self, number: u32) -> String {
        format!("hc/{}/{number:04}", self.id)
    }

    fn head(&self) -> String {
        format!("{HEADS}{}", self.id)
    }

    fn until(&self) -> Option<Millis> {
        Some(Millis(self.until * 1000))
    }
}

impl Store {
    /// Keeps a piece; it is durable with the next [`Store::flush`]. The head comes last, so that what has one is complete.
    pub(crate) fn keep_piece(&self, compressed: &Bytes, progress: Option<u32>) -> Result<()> {
        let tail = hex::encode(&crypto::random()?[..4]);
        let mut piece = Piece {
            id: format!("{:010}{tail}", now()),
            parts: 0,
            progress,
            at: Place::default(),
            until: now() + LIFE_SECONDS,
        };
        let mut rest = compressed.clone();
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(PART));
            self.journal.set(piece.part(piece.parts), Some(part), piece.until());
            piece.parts += 1;
        }
        self.journal.set(piece.head(), Some(codec::encode(&piece)), piece.until());
        Ok(())
    }

    /// The oldest piece that is kept.
    pub(crate) async fn first_piece(&self) -> Result<Option<Piece>> {
        let heads = self.journal.list(HEADS).await?;
        heads.first().map(|(_, head)| codec::decode(head).map_err(Error::internal)).transpose()
    }

    /// What is in a piece. `None`: parts of it are gone.
    pub(crate) async fn piece_bytes(&self, piece: &Piece) -> Result<Option<Bytes>> {
        let mut all = BytesMut::new();
        for number in 0..piece.parts {
            let Some(part) = self.journal.get(&piece.part(number), false).await? else { return Ok(None) };
            all.extend_from_slice(&part);
        }
        Ok(Some(all.freeze()))
    }

    /// Notes how far a piece is, with the next put.
    pub(crate) fn advance_piece(&self, piece: &Piece) {
        self.journal.set(piece.head(), Some(codec::encode(piece)), piece.until());
    }

    /// Forgets a piece: its head first, since that names the parts.
    pub(crate) async fn drop_piece(&self, piece: &Piece) -> Result<()> {
        self.journal.set(piece.head(), None, None);
        for number in 0..piece.parts {
            self.journal.set(piece.part(number), None, None);
        }
        self.journal.flush().await
    }
}
