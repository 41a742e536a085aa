//! Who lives in the simulated network.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use shared::{
    Error, Result,
    address::{self, Platform},
    connector::{ContactInfo, Update, unsupported},
};

use crate::{
    line::Inner,
    magic::{self, Behaviour},
    network::Network,
};

/// The phone's contact list.
const CONTACTS: &[(&str, &str)] = &[
    ("15550100001", "Ada Sandbox"),
    ("15550100002", "Bruno Sandbox"),
    ("15550100003", "陈思 Sandbox"),
    ("99900050000", "Echo"),
];

/// The address of a number on a platform.
pub(crate) fn at(platform: Platform, number: &str) -> String {
    address::canonical(platform, "phone", &format!("+{number}"), true).unwrap_or_else(|_| number.to_owned())
}

/// What else the account with this number is called: a bot on Telegram has a username.
pub(crate) fn aliases(platform: Platform, number: &str) -> Vec<String> {
    match platform {
        Platform::Telegram => vec![format!("@sandbox_{number}_bot")],
        _ => Vec::new(),
    }
}

/// Stores the contact list and tells how many there are.
pub(crate) async fn sync(inner: &Inner) -> Result<Value> {
    if !inner.network.capability.contact_list {
        return Ok(json!({ "count": 0 }));
    }
    let contacts: Vec<ContactInfo> = CONTACTS
        .iter()
        .map(|(number, name)| ContactInfo {
            address: at(inner.network.platform(), number),
            name: (*name).to_owned(),
            avatar: String::new(),
            is_group: false,
        })
        .collect();
    let count = contacts.len();
    inner.emit.emit(Update::Contacts(contacts)).await?;
    Ok(json!({ "count": count }))
}

/// Whether numbers exist: all but the magic ones that do not.
pub(crate) fn check(network: &Network, phones: &[String]) -> Value {
    let results: Vec<Value> = phones
        .iter()
        .map(|phone| {
            let address = address::canonical(network.platform(), "phones", phone, true).ok();
            let exists = address.as_deref().is_some_and(|a| magic::behaviour(a) != Behaviour::DoesNotExist);
            json!({ "phone": phone, "exists": exists, "address": address.filter(|_| exists) })
        })
        .collect();
    json!({ "results": results })
}

/// A picture that follows from the address: a coloured square, as a data URL. Nobody for a number that does not exist.
pub(crate) fn picture(address: &str) -> Value {
    if magic::behaviour(address) == Behaviour::DoesNotExist {
        return json!({ "url": null });
    }
    let hue = address.bytes().fold(0u32, |sum, byte| (sum * 31 + u32::from(byte)) % 360);
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"64\" height=\"64\">\
         <rect width=\"64\" height=\"64\" fill=\"hsl({hue},60%,50%)\"/></svg>"
    );
    json!({ "url": format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg)) })
}

/// The other name of a person on WhatsApp. The pair follows from the number: every digit's complement, behind `88`.
pub(crate) fn lid(network: &Network, address: &str) -> Result<Value> {
    if network.platform() != Platform::Whatsapp {
        return Err(unsupported("a LID"));
    }
    let jid = address::Jid::parse("id", address)?;
    let complement = |digits: &str| digits.bytes().map(|digit| char::from(b'0' + (b'9' - digit))).collect::<String>();
    let (phone, lid) = match jid.server() {
        address::Server::Person => (jid.user().to_owned(), format!("88{}", complement(jid.user()))),
        address::Server::Lid => match jid.user().strip_prefix("88") {
            Some(rest) => (complement(rest), jid.user().to_owned()),
            None => return Err(Error::not_found("Nobody has this LID")),
        },
        address::Server::Group | address::Server::Newsletter | address::Server::Scoped => {
            return Err(Error::invalid("id", "id must be a phone number or a LID"));
        }
    };
    Ok(json!({ "phone": format!("{phone}@s.whatsapp.net"), "lid": format!("{lid}@lid") }))
}
