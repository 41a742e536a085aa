//! How accounts are linked to WhatsApp.

use std::time::Duration;

use super::{Source, is_url, rate_limit};
use crate::error::{Error, Result};

/// The version of WhatsApp Web that is told to the server. An old one is refused one day; then a newer one is configured, or built in.
const VERSION: (u32, u32, u32) = (2, 3000, 1_038_000_000);
const WEB_URL: &str = "wss://web.whatsapp.com/ws/chat";

/// What becomes of media that comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingMedia {
    /// Fetched, decrypted and stored before the message is told of.
    Eager,
    /// Left where it is; the message says where.
    Lazy,
}

/// How much of what was said before an account was linked is asked of its phone, when it is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    None,
    /// What WhatsApp gives a browser: about three months.
    Recent,
    /// What it gives its client for Windows: a year.
    Full,
}

/// Messages of an account that go out in a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub messages: u32,
    pub window: Duration,
    /// Days from pairing on in which it is less: a quarter at first, growing evenly.
    pub warm_up_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whatsapp {
    pub web_url: String,
    pub version: (u32, u32, u32),
    pub media: IncomingMedia,
    pub history: History,
    /// `None`: as fast as they come.
    pub pace: Option<Pace>,
}

/// The settings of this file, for `config::TABLE`.
pub(super) const TABLE: [(&str, &str, &str); 6] = [
    (
        "WHATSAPP_WEB_URL",
        WEB_URL,
        "Where accounts of transport `web` connect. With `ws://`, which is for tests, media hosts are not encrypted either.",
    ),
    (
        "WHATSAPP_VERSION",
        "built in",
        "Version of WhatsApp Web that is shown to it, such as `2.3000.1038000000`: when the server calls ours outdated.",
    ),
    (
        "WHATSAPP_MEDIA",
        "eager",
        "`eager`: media that comes in is stored before its message is told of; `lazy`: it stays at WhatsApp, and the message says where.",
    ),
    (
        "WHATSAPP_HISTORY",
        "recent",
        "What the phone is asked for when an account is linked: `recent` (about three months), `full` (a year), or `none`, and then no names either. Its media stay at WhatsApp.",
    ),
    (
        "WHATSAPP_PACE",
        "60/60",
        "Messages that one account sends in so many seconds at the most, or `off`. The rest waits.",
    ),
    (
        "WHATSAPP_WARM_UP_DAYS",
        "7",
        "Days after pairing in which an account sends less: a quarter at first, growing evenly. 0: none.",
    ),
];

impl Whatsapp {
    pub(super) fn load(source: &Source) -> Result<Self> {
        let web_url = source.get("WHATSAPP_WEB_URL").unwrap_or_else(|| WEB_URL.to_owned());
        if !is_url(&web_url, &["ws", "wss"]) {
            let text = format!("WHATSAPP_WEB_URL must be a URL such as {WEB_URL}");
            return Err(Error::invalid("WHATSAPP_WEB_URL", text));
        }
        let version = match source.get("WHATSAPP_VERSION") {
            None => VERSION,
            Some(text) => version(&text).ok_or_else(|| {
                Error::invalid("WHATSAPP_VERSION", "WHATSAPP_VERSION must be three numbers, such as 2.3000.1038000000")
            })?,
        };
        let media = match source.get("WHATSAPP_MEDIA").as_deref() {
            None | Some("eager") => IncomingMedia::Eager,
            Some("lazy") => IncomingMedia::Lazy,
            Some(_) => return Err(Error::invalid("WHATSAPP_MEDIA", "WHATSAPP_MEDIA must be eager or lazy")),
        };
        let history = match source.get("WHATSAPP_HISTORY").as_deref() {
            None | Some("recent") => History::Recent,
            Some("full") => History::Full,
            Some("none") => History::None,
            Some(_) => return Err(Error::invalid("WHATSAPP_HISTORY", "WHATSAPP_HISTORY must be recent, full or none")),
        };
        let warm_up_days = source.parse("WHATSAPP_WARM_UP_DAYS", 7, "a number of days")?;
        let pace = rate_limit("WHATSAPP_PACE", source.get("WHATSAPP_PACE").as_deref().unwrap_or("60/60"))?;
        let pace = pace.map(|limit| Pace { messages: limit.requests, window: limit.window, warm_up_days });
        Ok(Self { web_url, version, media, history, pace })
    }
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let version = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(version)
}
