//! `encrypt`: prekeys of the asking device, and those of others for new sessions.

use wacore::iq::prekeys::{OneTimePreKeyNode, PreKeyBundleUserNode, SignedPreKeyNode};
use wacore::prekeys::compute_key_bundle_digest;
use wacore::protocol::ProtocolNode as _;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use super::{Answer, Asker, BAD_REQUEST, NOT_FOUND, Refusal};
use crate::device::Device;
use crate::keys::PublicBundle;
use crate::stanza::{child_bytes, children, jid, uint};
use crate::state::State;
use crate::topology;

/// Id, public key, signature.
type SignedKey = (u32, [u8; 32], Vec<u8>);

pub(super) fn answer(
    state: &mut State,
    asker: Asker<'_>,
    node: &Node,
    child: Option<&Node>,
    is_set: bool,
) -> Option<Answer> {
    let child = child?;
    Some(match (is_set, child.tag.as_ref()) {
        (false, "key" | "key_fetch") => Ok(vec![fetch(state, child)]),
        (false, "count") => with_device(state, asker, |device| {
            vec![NodeBuilder::new("count").attr("value", device.prekeys.len()).build()]
        }),
        (false, "digest") => with_device(state, asker, |device| vec![digest(device)]),
        (true, "rotate") => rotate(state, asker, child),
        (true, _) if node.get_optional_child("skey").is_some() => upload(state, asker, node),
        _ => return None,
    })
}

fn with_device(state: &mut State, asker: Asker<'_>, content: impl FnOnce(&mut Device) -> Vec<Node>) -> Answer {
    state.device_mut(asker.pn, asker.device).map(content).ok_or(NOT_FOUND)
}

/// Bundles of other devices. Users without one are named with an error, as the real server does.
fn fetch(state: &mut State, wanted: &Node) -> Node {
    let users: Vec<Node> = children(wanted)
        .iter()
        .filter_map(|user| jid(user, "jid"))
        .map(|jid| {
            bundle_of(state, &jid).unwrap_or_else(|| {
                NodeBuilder::new("user")
                    .attr("jid", &jid)
                    .children([NodeBuilder::new("error").attr("code", "404").attr("text", "item-not-found").build()])
                    .build()
            })
        })
        .collect();
    NodeBuilder::new("list").children(users).build()
}

fn bundle_of(state: &mut State, jid: &Jid) -> Option<Node> {
    let pn = state.pn_of(jid)?;
    let (bundle, identity) = if jid.device == 0 {
        (state.phones.get_mut(&pn)?.keys.mint_bundle().ok()?, None)
    } else {
        let device = state.device_mut(&pn, jid.device)?;
        let taken = (device.take_bundle(), Some(device.signed_identity.clone()));
        topology::prekey_was_taken(state, &pn, jid.device);
        taken
    };
    Some(
        PreKeyBundleUserNode {
            jid: jid.clone(),
            registration_id: bundle.registration_id,
            identity_key: bundle.identity.to_vec(),
            signed_pre_key: SignedPreKeyNode::new(
                bundle.signed_prekey_id,
                bundle.signed_prekey.to_vec(),
                bundle.signed_prekey_signature,
            ),
            one_time_pre_key: bundle.prekey.map(|(id, key)| OneTimePreKeyNode::new(id, key.to_vec())),
            device_identity: identity,
        }
        .into_node(),
    )
}

fn upload(state: &mut State, asker: Asker<'_>, node: &Node) -> Answer {
    let list = node.get_optional_child("list").ok_or(BAD_REQUEST)?;
    let mut prekeys = Vec::with_capacity(children(list).len());
    for key in children(list) {
        let id = child_bytes(key, "id").map(uint).ok_or(BAD_REQUEST)?;
        let value = child_bytes(key, "value").and_then(|value| value.try_into().ok()).ok_or(BAD_REQUEST)?;
        prekeys.push((id, value));
    }
    let identity: [u8; 32] =
        child_bytes(node, "identity").and_then(|identity| identity.try_into().ok()).ok_or(BAD_REQUEST)?;
    let registration_id = child_bytes(node, "registration").map(uint).ok_or(BAD_REQUEST)?;
    let signed = node.get_optional_child("skey").ok_or(BAD_REQUEST)?;
    let (signed_prekey_id, signed_prekey, signed_prekey_signature) = signed_key(signed)?;
    let uploaded = prekeys.len() as u64;
    state.stats.prekey_uploads += 1;
    state.stats.prekeys_uploaded += uploaded;
    with_device(state, asker, |device| {
        device.bundle = PublicBundle {
            registration_id,
            identity,
            signed_prekey_id,
            signed_prekey,
            signed_prekey_signature,
            prekey: None,
        };
        device.prekeys_uploaded += uploaded;
        device.prekeys.retain(|(id, _)| !prekeys.iter().any(|(new, _)| new == id));
        device.prekeys.extend(prekeys);
        Vec::new()
    })
}

fn rotate(state: &mut State, asker: Asker<'_>, rotate: &Node) -> Answer {
    let signed = rotate.get_optional_child("skey").ok_or(BAD_REQUEST)?;
    let (id, key, signature) = signed_key(signed)?;
    with_device(state, asker, |device| {
        device.bundle.signed_prekey_id = id;
        device.bundle.signed_prekey = key;
        device.bundle.signed_prekey_signature = signature;
        Vec::new()
    })
}

fn signed_key(node: &Node) -> Result<SignedKey, Refusal> {
    Ok((
        child_bytes(node, "id").map(uint).ok_or(BAD_REQUEST)?,
        child_bytes(node, "value").and_then(|value| value.try_into().ok()).ok_or(BAD_REQUEST)?,
        child_bytes(node, "signature").ok_or(BAD_REQUEST)?.to_vec(),
    ))
}

/// What the server has of a device, with a hash that the device compares with its own.
fn digest(device: &Device) -> Node {
    let bundle = &device.bundle;
    let publics: Vec<&[u8]> = device.prekeys.iter().map(|(_, key)| key.as_slice()).collect();
    let hash =
        compute_key_bundle_digest(&bundle.identity, &bundle.signed_prekey, &bundle.signed_prekey_signature, &publics);
    let ids = device.prekeys.iter().map(|(id, _)| NodeBuilder::new("id").bytes(id.to_be_bytes()[1..].to_vec()).build());
    NodeBuilder::new("digest")
        .children([
            NodeBuilder::new("registration").bytes(bundle.registration_id.to_be_bytes().to_vec()).build(),
            NodeBuilder::new("type").bytes(vec![5]).build(),
            NodeBuilder::new("identity").bytes(bundle.identity.to_vec()).build(),
            SignedPreKeyNode::new(
                bundle.signed_prekey_id,
                bundle.signed_prekey.to_vec(),
                bundle.signed_prekey_signature.clone(),
            )
            .into_node(),
            NodeBuilder::new("list").children(ids).build(),
            NodeBuilder::new("hash").bytes(hash).build(),
        ])
        .build()
}
