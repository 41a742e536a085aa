//! Addresses: how people, groups and accounts are named on each platform, and the one spelling of each that is stored and
//! compared. Only texts are looked at here; whether somebody lives at an address, the platform says.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

#[cfg(test)]
mod tests;

/// A messenger. Its name on the wire is the lower-case one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    Whatsapp,
    Telegram,
    Wechat,
    Signal,
    Wecom,
    Im,
}

impl Platform {
    pub const ALL: [Self; 6] = [Self::Whatsapp, Self::Telegram, Self::Wechat, Self::Signal, Self::Wecom, Self::Im];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Telegram => "telegram",
            Self::Wechat => "wechat",
            Self::Signal => "signal",
            Self::Wecom => "wecom",
            Self::Im => "im",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == text).ok_or_else(|| {
            Error::invalid("platform", "platform must be whatsapp, telegram, wechat, signal, wecom or im")
        })
    }
}

/// The domain of a WhatsApp id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// A phone number.
    Person,
    Group,
    /// A person whose number is hidden.
    Lid,
    Newsletter,
    /// A person as a business account knows him whose number is hidden: `US.13491208655302741918`.
    Scoped,
}

impl Server {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "s.whatsapp.net",
            Self::Group => "g.us",
            Self::Lid => "lid",
            Self::Newsletter => "newsletter",
            // The platform has no domain for these: ours.
            Self::Scoped => "bsuid",
        }
    }
}

/// A WhatsApp id that can be written to: `{user}@{server}`, without the device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid {
    user: String,
    server: Server,
}

/// The longest local part that is taken: `{phone}-{seconds}` of an old group fits with room to spare.
const MAX_LOCAL: usize = 40;
/// The same of a business-scoped id: a country, perhaps `ENT`, and up to 128 letters and digits.
const MAX_SCOPED: usize = 140;

impl Jid {
    /// Reads a phone number or a full id, as users write them (spec/http.md, whatsapp `phone`). Errors name `field`.
    pub fn parse(field: &'static str, text: &str) -> Result<Self> {
        Self::read(text.trim()).ok_or_else(|| {
            Error::invalid(
                field,
                format!(
                    "{field} must be a phone number of 7 to 15 digits, or an id that ends in @s.whatsapp.net, @g.us, \
                     @lid or @newsletter"
                ),
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        let Some((local, server)) = text.rsplit_once('@') else {
            return Some(Self { user: phone_digits(text)?, server: Server::Person });
        };
        let server = [Server::Person, Server::Group, Server::Lid, Server::Newsletter, Server::Scoped]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(server))?;
        let user = match server {
            Server::Person | Server::Lid => without_device(local),
            Server::Group | Server::Newsletter => local,
            Server::Scoped => {
                return (local.len() <= MAX_SCOPED && is_scoped(local))
                    .then(|| Self { user: local.to_owned(), server });
            }
        };
        let valid = match (server, user.split_once('-')) {
            (Server::Group, Some((creator, created))) => is_digits(creator) && is_digits(created),
            _ => is_digits(user),
        };
        (valid && user.len() <= MAX_LOCAL).then(|| Self { user: user.to_owned(), server })
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn server(&self) -> Server {
        self.server
    }

    pub fn is_group(&self) -> bool {
        self.server == Server::Group
    }

    /// The number in E.164 with its `+`; `None` where there is no number to see.
    pub fn e164(&self) -> Option<String> {
        (self.server == Server::Person).then(|| format!("+{}", self.user))
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.server.as_str())
    }
}

impl FromStr for Jid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse("phone", text)
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `{country}.{id}`, or `{country}.ENT.{id}`.
fn is_scoped(local: &str) -> bool {
    let Some((country, id)) = local.split_once('.') else { return false };
    let id = id.strip_prefix("ENT.").unwrap_or(id);
    let is_country = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
    is_country && !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Cuts `:12` (a device) and `.0` (an agent) off a local part: both name a device of a person, never somebody to write to.
fn without_device(local: &str) -> &str {
    let local = match local.rsplit_once(':') {
        Some((user, device)) if is_digits(device) => user,
        _ => local,
    };
    match local.rsplit_once('.') {
        Some((user, agent)) if is_digits(agent) => user,
        _ => local,
    }
}

/// What people put between the digits of a phone number.
fn is_filler(c: char) -> bool {
    matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '-' | '\u{2010}'..='\u{2013}' | '(' | ')' | '[' | ']')
}

/// The digits of a phone number: an optional `+` before all else, 7 to 15 digits, spaces, dashes and brackets between.
fn phone_digits(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    // A dash in front is a minus: the id of a Telegram group, not a number.
    if text.starts_with('-') || !text.chars().all(|c| c.is_ascii_digit() || is_filler(c)) {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (7..=15).contains(&digits.len()).then_some(digits)
}

/// The one spelling of an address to write to on a platform. Errors name `field`. `sandbox`: phone-shaped addresses pass
/// on every platform, as bare digits (on Signal with `+`, on WhatsApp as the id of that number).
pub fn canonical(platform: Platform, field: &'static str, text: &str, sandbox: bool) -> Result<String> {
    let text = text.trim();
    // Where any text is an id, a `+` in front still says "phone number".
    let phone = if sandbox { phone_digits(text) } else { None };
    let phone_first = phone.as_ref().filter(|_| text.starts_with('+'));
    let (found, wanted) = match platform {
        Platform::Whatsapp => return Jid::parse(field, text).map(|jid| jid.to_string()),
        Platform::Signal => (
            signal(text).or_else(|| phone.map(|digits| format!("+{digits}"))),
            "a number with its +, a UUID or a group id in base64",
        ),
        // The digits are an id there, too, with no zeros in front.
        Platform::Telegram => {
            (telegram(text).or_else(|| phone.and_then(|digits| telegram(&digits))), "a numeric chat id or an @username")
        }
        Platform::Wechat => {
            (phone_first.cloned().or_else(|| free(text)).or(phone), "an id of 1 to 128 characters without spaces")
        }
        Platform::Wecom => (phone_first.cloned().or_else(|| wecom(text)).or(phone), "S:<user id> or R:<room id>"),
        Platform::Im => (phone_first.cloned().or_else(|| free(text)).or(phone), "a user id, a username or a group id"),
    };
    found.ok_or_else(|| Error::invalid(field, format!("{field} must be {wanted} on {platform}")))
}

fn telegram(text: &str) -> Option<String> {
    if let Some(name) = text.strip_prefix('@') {
        let valid = (4..=32).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return valid.then(|| text.to_ascii_lowercase());
    }
    // `parse` would take a plus, too.
    let id: i64 = if text.starts_with('+') { None } else { text.parse().ok() }?;
    (id != 0).then(|| id.to_string())
}

fn free(text: &str) -> Option<String> {
    let length = text.chars().count();
    let valid = (1..=128).contains(&length) && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    valid.then(|| text.to_owned())
}

fn wecom(text: &str) -> Option<String> {
    let id = text.strip_prefix("S:").or_else(|| text.strip_prefix("R:"))?;
    free(id).and_then(|_| free(text))
}

fn signal(text: &str) -> Option<String> {
    if text.starts_with('+')
        && let Some(digits) = phone_digits(text)
    {
        return Some(format!("+{digits}"));
    }
    if is_uuid(text) {
        return Some(text.to_ascii_lowercase());
    }
    let group = decode_base64(text)?;
    // Groups have ids of 32 bytes, those of the first generation 16.
    matches!(group.len(), 16 | 32).then(|| general_purpose::STANDARD.encode(group))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Either alphabet, with or without padding: ids appear in paths as base64url.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let plain: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    general_purpose::STANDARD_NO_PAD.decode(plain).ok()
}

/// An address as it appears in a path of ours: Signal group ids as base64url without padding, everything else as it is.
pub fn to_path(platform: Platform, address: &str) -> String {
    match platform {
        Platform::Signal if phone_digits(address).is_none() && !is_uuid(address) => match decode_base64(address) {
            Some(group) => general_purpose::URL_SAFE_NO_PAD.encode(group),
            None => address.to_owned(),
        },
        _ => address.to_owned(),
    }
}

/// The address of a chat whose history is asked for. Never an error: a chat that does not exist has no messages.
/// On WhatsApp a text without `@` gets `@s.whatsapp.net` (spec/http.md, instances); on Signal base64url is undone.
pub fn chat_id_from_path(platform: Platform, text: &str) -> String {
    let text = text.trim();
    match platform {
        // Canonical where it can be; ids that one cannot write to (`status@broadcast`) stay as they are.
        Platform::Whatsapp => match Jid::read(text) {
            Some(jid) => jid.to_string(),
            None if text.contains('@') => text.to_owned(),
            None => format!("{text}@{}", Server::Person.as_str()),
        },
        Platform::Signal => signal(text).unwrap_or_else(|| text.to_owned()),
        Platform::Telegram => telegram(text).unwrap_or_else(|| text.to_owned()),
        Platform::Wechat | Platform::Wecom | Platform::Im => text.to_owned(),
    }
}

/// What two spellings of an address have in common, for look-ups: without `+`, spaces, dashes and brackets. A minus in
/// front stays (a Telegram group is not the user of that number), and an `@username` is in lower case.
pub fn comparable(address: &str) -> String {
    let address = address.trim();
    let (sign, rest) = match address.strip_prefix('-') {
        Some(rest) if is_digits(rest) => ("-", rest),
        _ => ("", address),
    };
    let plain: String = rest.chars().filter(|c| *c != '+' && !is_filler(*c) && !c.is_whitespace()).collect();
    if plain.starts_with('@') { plain.to_ascii_lowercase() } else { format!("{sign}{plain}") }
}
