//! `usync`: who has an account, under which LID, with which devices.

use buffa::Message as _;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};
use waproto::whatsapp::{ADVKeyIndexList, ADVSignedKeyIndexList};

use super::{Answer, Asker, BAD_REQUEST};
use crate::clock::now_secs;
use crate::phone::Phone;
use crate::stanza::{attr, bytes, children, jid};
use crate::state::State;

pub(super) fn answer(state: &mut State, asker: Asker<'_>, usync: &Node) -> Answer {
    let query = usync.get_optional_child("query").ok_or(BAD_REQUEST)?;
    let list = usync.get_optional_child("list").ok_or(BAD_REQUEST)?;
    if query.get_optional_child("devices").is_some() {
        for wanted in children(list) {
            let pn = jid(wanted, "jid").and_then(|jid| state.pn_of(&jid));
            if let Some(phone) = pn.and_then(|pn| state.phones.get_mut(&pn)) {
                phone.asked_by.insert(asker.pn.to_owned());
            }
        }
    }
    let state = &*state;
    let users = children(list).iter().map(|wanted| user(state, query, wanted));
    let results = children(query).iter().map(|protocol| NodeBuilder::new_dynamic(protocol.tag.to_string()).build());
    Ok(vec![
        NodeBuilder::new("usync")
            .attr("sid", attr(usync, "sid").unwrap_or_default())
            .attr("mode", attr(usync, "mode").unwrap_or_default())
            .attr("index", "0")
            .attr("last", "true")
            .children([
                NodeBuilder::new("result").children(results).build(),
                NodeBuilder::new("list").children(users).build(),
            ])
            .build(),
    ])
}

/// One user's answer: under the address it was asked for.
fn user(state: &State, query: &Node, wanted: &Node) -> Node {
    let contact =
        wanted.get_optional_child("contact").and_then(bytes).map(|text| String::from_utf8_lossy(text).into_owned());
    let digits: Option<String> = contact.as_ref().map(|text| text.chars().filter(char::is_ascii_digit).collect());
    let asked = jid(wanted, "jid").map(|jid| jid.to_non_ad());
    let pn = digits.clone().or_else(|| asked.as_ref().and_then(|jid| state.pn_of(jid)));
    let phone = pn.as_deref().and_then(|pn| state.phones.get(pn));

    let address = asked.or_else(|| pn.clone().map(Jid::pn));
    let mut builder = NodeBuilder::new("user");
    if let Some(address) = &address {
        builder = builder.attr("jid", address);
        if address.server == Server::Lid
            && let Some(phone) = phone
        {
            builder = builder.attr("pn_jid", phone.pn_jid());
        }
    }
    let answers = children(query).iter().filter_map(|protocol| match protocol.tag.as_ref() {
        "contact" => Some(
            NodeBuilder::new("contact")
                .attr("type", if phone.is_some() { "in" } else { "out" })
                .apply_content(contact.clone().map(|text| wacore_binary::NodeContent::Bytes(text.into_bytes())))
                .build(),
        ),
        "lid" => phone.map(|phone| NodeBuilder::new("lid").attr("val", phone.lid_jid()).build()),
        "devices" => Some(phone.map_or_else(|| refused("devices"), devices)),
        "status" => {
            phone.map(|phone| NodeBuilder::new("status").attr("t", phone.created).bytes(phone.about.as_bytes()).build())
        }
        "picture" => phone
            .and_then(|phone| phone.picture.as_ref())
            .map(|(id, _)| NodeBuilder::new("picture").attr("id", *id).build()),
        "disappearing_mode" => phone
            .map(|phone| NodeBuilder::new("disappearing_mode").attr("duration", 0).attr("t", phone.created).build()),
        // Nobody here is a business, has a username, or a text status.
        _ => None,
    });
    builder.children(answers).build()
}

fn refused(protocol: &'static str) -> Node {
    NodeBuilder::new(protocol)
        .children([NodeBuilder::new("error").attr("code", "404").attr("text", "item-not-found").build()])
        .build()
}

fn devices(phone: &Phone) -> Node {
    let primary = NodeBuilder::new("device").attr("id", 0).build();
    let linked = phone
        .devices
        .values()
        .map(|device| NodeBuilder::new("device").attr("id", device.id).attr("key-index", device.key_index).build());
    let list = NodeBuilder::new("device-list").children(std::iter::once(primary).chain(linked)).build();
    NodeBuilder::new("devices").children([list, key_index_list(phone)]).build()
}

/// `<key-index-list>`: which devices are valid, signed by the account.
pub(crate) fn key_index_list(phone: &Phone) -> Node {
    let now = now_secs();
    let index = ADVKeyIndexList {
        raw_id: Some(phone.raw_id),
        timestamp: Some(now),
        current_index: Some(phone.current_key_index()),
        valid_indexes: std::iter::once(0).chain(phone.devices.values().map(|device| device.key_index)).collect(),
        ..Default::default()
    }
    .encode_to_vec();
    let signature = phone
        .keys
        .identity()
        .private_key()
        .calculate_signature(&[&[6, 2][..], &index].concat(), &mut rand::rng())
        .map(|signature| signature.to_vec())
        .ok();
    let signed = ADVSignedKeyIndexList { details: Some(index), account_signature: signature, ..Default::default() }
        .encode_to_vec();
    NodeBuilder::new("key-index-list").attr("ts", now).bytes(signed).build()
}
