//! Every key of the one table, in one place (protocol.md §1). Texts that users supply (addresses, e-mails, names) never
//! appear in keys: they are hashed with the deployment's index key first ([`crate::crypto::Keyring::index`]); such parameters
//! are called `…_hash` here.

use super::Key;
use crate::{
    clock::Millis,
    id::{ChatKey, InstanceId, JobId, KeyId, MessageId, SocketId, UserId},
};

/// Sort key of items that are alone in their partition.
const ONLY: &str = ".";

// Deployment

pub fn keyring() -> Key {
    Key::new("SYS", "keyring")
}

/// Where the last sweep of waiting timers ended.
pub fn sweep_mark() -> Key {
    Key::new("SYS", "sweep")
}

/// Who the first administrator is, and which `ADMIN_API_KEY` is in force.
pub fn first_admin() -> Key {
    Key::new("SYS", "admin")
}

// Accounts

pub fn user(id: &UserId) -> Key {
    Key::new(format!("U#{id}"), ONLY)
}

/// Scoped keys of a user lie beside it, so that one batch read gets both.
pub fn scoped_key(user: &UserId, id: &KeyId) -> Key {
    Key::new(format!("U#{user}"), format!("key#{id}"))
}

pub fn scoped_keys(user: &UserId) -> (String, String) {
    (format!("U#{user}"), "key#".into())
}

pub fn email(email_hash: &str) -> Key {
    Key::new(format!("UE#{email_hash}"), ONLY)
}

pub fn username(name_hash: &str) -> Key {
    Key::new(format!("UN#{name_hash}"), ONLY)
}

/// Keys that were not made by us (`ADMIN_API_KEY`), by SHA-256.
pub fn foreign_api_key(sha256: &str) -> Key {
    Key::new(format!("AK#{sha256}"), ONLY)
}

/// Index partition of all users, by creation.
pub const ALL_USERS: &str = "LU";

/// An invitation to register, by SHA-256 of its code.
pub fn invite(sha256: &str) -> Key {
    Key::new(format!("IN#{sha256}"), ONLY)
}

/// Failed logins of an address and account within a minute.
pub fn login_throttle(hash: &str) -> Key {
    Key::new(format!("LT#{hash}"), ONLY)
}

// Instances

pub fn instance(id: &InstanceId) -> Key {
    Key::new(format!("I#{id}"), "meta")
}

/// Owner epoch and the log's marks.
pub fn owner(id: &InstanceId) -> Key {
    Key::new(format!("I#{id}"), "owner")
}

/// State of a webhook endpoint: failures in a row, breaker.
pub fn endpoint_state(id: &InstanceId, endpoint: &str) -> Key {
    Key::new(format!("I#{id}"), format!("ep#{endpoint}"))
}

/// Partition of the gates of what was handed over to be forwarded.
pub fn forwards(id: &InstanceId) -> String {
    format!("FW#{id}")
}

/// The gate of one such message.
pub fn forwarded(id: &InstanceId, message: &str) -> Key {
    Key::new(forwards(id), message)
}

/// Index partition of a user's instances, by creation.
pub fn instances_of(user: &UserId) -> String {
    format!("LI#{user}")
}

/// Index partition of the instances of a shard: what a worker starts.
pub fn shard_instances(shard: u16) -> String {
    format!("LS#{shard}")
}

/// An instance's place in its shard's list: an item of its own, since an item has one place in the index.
pub fn placement(id: &InstanceId) -> Key {
    Key::new(format!("I#{id}"), "placement")
}

/// Address → instance.
pub fn address(platform: &str, address_hash: &str, id: &InstanceId) -> Key {
    Key::new(addresses(platform, address_hash), id.as_str())
}

/// All instances with an address.
pub fn addresses(platform: &str, address_hash: &str) -> String {
    format!("AD#{platform}#{address_hash}")
}

pub fn activity(id: &InstanceId) -> String {
    format!("AC#{id}")
}

pub fn activity_entry(id: &InstanceId, at: Millis, ulid: &str) -> Key {
    Key::new(activity(id), format!("{}{ulid}", at.digits()))
}

// Messages

/// Partition of the message with this platform id: one of 16.
pub fn messages(id: &InstanceId, pmid: &str) -> String {
    // FNV-1a: any spread will do, as long as it never changes.
    let hash = pmid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("M#{id}#{:x}", (hash ^ (hash >> 16)) & 15)
}

/// A message. `sender_hash` is `me` for our own.
pub fn message(id: &InstanceId, pmid: &str, chat: &ChatKey, sender_hash: &str) -> Key {
    Key::new(messages(id, pmid), message_sort(pmid, chat, sender_hash))
}

/// The sort key alone: what log entries and commands refer to a message by.
pub fn message_sort(pmid: &str, chat: &ChatKey, sender_hash: &str) -> String {
    format!("{pmid}#{chat}#{sender_hash}")
}

/// The key of the message that such a reference means.
pub fn message_by_sort(id: &InstanceId, sort: &str) -> Key {
    let pmid = sort.split('#').next().unwrap_or(sort);
    Key::new(messages(id, pmid), sort)
}

/// The part of a message that does not fit into its head. Named by its digest, so that whoever loses the head overwrites nothing.
pub fn message_body(head: &Key, digest: &str) -> Key {
    Key::new(head.pk.replacen("M#", "MB#", 1), format!("{}#{digest}", head.sk))
}

/// Platform id → message, where the platform assigns ids after the fact.
pub fn message_alias(id: &InstanceId, pmid: &str, chat: &ChatKey) -> Key {
    Key::new(messages(id, pmid), format!("{pmid}#{chat}#alias"))
}

/// Index partition of a chat's history.
pub fn history(id: &InstanceId, chat: &ChatKey) -> String {
    format!("H#{id}#{chat}")
}

/// A send that waits until its instance can send again. `id` of the message keeps the order of those of one millisecond.
pub fn parked(instance: &InstanceId, accepted: Millis, id: &MessageId) -> Key {
    Key::new(parked_of(instance), format!("{}{id}", accepted.digits()))
}

pub fn parked_of(id: &InstanceId) -> String {
    format!("O#{id}")
}

// Chats, contacts, rooms

pub fn chats(id: &InstanceId) -> String {
    format!("C#{id}")
}

pub fn chat(id: &InstanceId, chat: &ChatKey) -> Key {
    Key::new(chats(id), chat.as_str())
}

/// Address → chat key, only where it is not the derived one.
pub fn chat_alias(id: &InstanceId, address_hash: &str) -> Key {
    Key::new(format!("CA#{id}"), address_hash)
}

pub fn chat_aliases(id: &InstanceId) -> String {
    format!("CA#{id}")
}

pub fn contacts(id: &InstanceId) -> String {
    format!("CT#{id}")
}

pub fn contact(id: &InstanceId, address_hash: &str) -> Key {
    Key::new(contacts(id), address_hash)
}

/// The latest sync of a user's contacts on a platform.
pub fn contact_sync(user: &UserId, platform: &str) -> Key {
    Key::new(format!("CS#{user}"), platform)
}

pub fn rooms(id: &InstanceId) -> String {
    format!("R#{id}")
}

pub fn room(id: &InstanceId, room_hash: &str) -> Key {
    Key::new(rooms(id), room_hash)
}

/// Partition of the gates of what platforms tell of beside messages.
pub fn happenings(id: &InstanceId) -> String {
    format!("HP#{id}")
}

/// The gate of one of them.
pub fn happened(id: &InstanceId, name_hash: &str) -> Key {
    Key::new(happenings(id), name_hash)
}

// Statistics

pub fn stats(id: &InstanceId) -> String {
    format!("ST#{id}")
}

/// One UTC day of an instance.
pub fn stats_day(id: &InstanceId, day: Millis) -> Key {
    Key::new(stats(id), day.yyyymmdd())
}

pub fn calls(id: &InstanceId) -> String {
    format!("SC#{id}")
}

/// API calls of a day that are not sends: added, not folded.
pub fn calls_day(id: &InstanceId, day: Millis) -> Key {
    Key::new(calls(id), day.yyyymmdd())
}

/// Sends of an hour that were accepted under a quota of `of` (an instance or a user).
pub fn quota(of: &str, hour: i64) -> Key {
    Key::new(quotas(of), format!("{hour:010}"))
}

pub fn quotas(of: &str) -> String {
    format!("Q#{of}")
}

/// That a used-up quota was told of in this window.
pub fn limit_notice(id: &InstanceId, names: &str, window: i64) -> Key {
    Key::new(format!("I#{id}"), format!("limit#{window}#{names}"))
}

// Webhooks

/// Deliveries of events of that day.
pub fn deliveries(id: &InstanceId, day: Millis) -> String {
    format!("D#{id}#{}", day.yyyymmdd())
}

pub fn delivery(id: &InstanceId, day: Millis, seq: u64, endpoint: &str) -> Key {
    Key::new(deliveries(id, day), format!("{seq:012}#{endpoint}"))
}

/// Index partition of all deliveries of an instance in one state (`retrying`, `dead`).
pub fn deliveries_in(id: &InstanceId, status: &str) -> String {
    format!("DX#{id}#{status}")
}

/// How many deliveries of a day succeeded, remembered.
pub fn delivered(id: &InstanceId, day: Millis) -> Key {
    Key::new(delivered_days(id), day.yyyymmdd())
}

pub fn delivered_days(id: &InstanceId) -> String {
    format!("DC#{id}")
}

/// `endpoint` is `{instance}/{name}`.
pub fn lanes(endpoint: &str) -> String {
    format!("L#{endpoint}")
}

pub fn lane(endpoint: &str, chat: &str) -> Key {
    Key::new(lanes(endpoint), chat)
}

/// Timers more than 15 minutes ahead, in buckets of 15 minutes, each in eight parts.
pub fn due(bucket: i64, part: u8) -> String {
    format!("DUE#{bucket}#{part}")
}

// Sandbox

/// Every `kind` that the sandbox keeps rows under, so that a deletion finds them.
pub const SANDBOX_KINDS: [&str; 4] = ["state", "outbox", "due", "groups"];

pub fn sandbox(id: &InstanceId, kind: &str) -> String {
    format!("SB#{id}#{kind}")
}

// Administration

/// What administrators have changed, by time.
pub const AUDIT: &str = "AU";

pub fn audit(at: Millis, ulid: &str) -> Key {
    Key::new(AUDIT, format!("{}{ulid}", at.digits()))
}

// IM. Ids of groups and client numbers are hashed; `channel` is a `ChannelKey`.

pub fn im_group(id_hash: &str) -> Key {
    Key::new(format!("CG#{id_hash}"), ONLY)
}

/// Index partition of all groups, by creation.
pub const ALL_GROUPS: &str = "LG";

pub fn im_members(channel: &str) -> String {
    format!("CM#{channel}")
}

pub fn im_member(channel: &str, user: &UserId) -> Key {
    Key::new(im_members(channel), user.as_str())
}

/// The channels of a user.
pub fn im_channels(user: &UserId) -> String {
    format!("UC#{user}")
}

pub fn im_channel(user: &UserId, channel: &str) -> Key {
    Key::new(im_channels(user), channel)
}

/// The first message under a client's number.
pub fn im_client_number(channel: &str, from: &UserId, number_hash: &str) -> Key {
    Key::new(format!("CN#{channel}"), format!("{from}#{number_hash}"))
}

/// Which instance carries a user's IM events.
pub fn im_instance(user: &UserId) -> Key {
    Key::new(format!("U#{user}"), "im")
}

/// A bot of a user, by the hash of its name.
pub fn bot(owner: &UserId, name_hash: &str) -> Key {
    Key::new(format!("U#{owner}"), format!("bot#{name_hash}"))
}

// WebSockets that a gateway holds for us

/// What is known of a connection, from its opening on.
pub fn socket(id: &SocketId) -> Key {
    Key::new(socket_rows(id), ONLY)
}

/// Everything that is known of a connection.
pub fn socket_rows(id: &SocketId) -> String {
    format!("WC#{id}")
}

/// How far an IM channel was sent on a connection.
pub fn socket_channel(id: &SocketId, channel: &str) -> Key {
    Key::new(socket_rows(id), format!("ch#{channel}"))
}

/// How far the events of an instance were sent on a connection that follows them.
pub fn socket_events(id: &SocketId, instance: &InstanceId) -> Key {
    Key::new(socket_rows(id), format!("{SOCKET_EVENTS}{instance}"))
}

/// Prefix of the sort keys of [`socket_events`].
pub const SOCKET_EVENTS: &str = "ev#";

/// A message that was sent on this connection, by its client's number: it is acknowledged there, and not pushed.
pub fn socket_own(id: &SocketId, number_hash: &str) -> Key {
    Key::new(socket_rows(id), format!("own#{number_hash}"))
}

/// The connections on which a user has signed on.
pub fn sockets_of(user: &UserId) -> String {
    format!("WS#{user}")
}

pub fn socket_of(user: &UserId, id: &SocketId) -> Key {
    Key::new(sockets_of(user), id.as_str())
}

/// Index partition of all connections that users have signed on with, by their end at the latest.
pub const ALL_SOCKETS: &str = "LW";

/// That the peers of a user were told that the user is there.
pub fn presence(user: &UserId) -> Key {
    Key::new(format!("WP#{user}"), ONLY)
}

// Devices of the aggregation service (seed 003)

/// GUID of a device → the one instance that has it.
pub fn device_guid(guid_hash: &str) -> Key {
    Key::new(format!("AD#wecom#{guid_hash}"), ONLY)
}

/// What is known of the device beyond its instance's row, beside which it lies.
pub fn device(id: &InstanceId) -> Key {
    Key::new(format!("I#{id}"), "device")
}

/// Prefix of the table's partitions that may be large, and are shown by page number with a total: a store may keep an index
/// over nothing but their keys.
pub const LISTED: &str = "MI#";

/// All messages of a device by time, whatever their conversation: `{at13}{order}`, as in the history.
pub fn listed_messages(id: &InstanceId) -> String {
    format!("{LISTED}{id}")
}

pub fn listed_message(id: &InstanceId, sort: &str) -> Key {
    Key::new(listed_messages(id), sort)
}

/// What is known of the message with this platform id: where it is, and what happened to it, perhaps before it came.
pub fn message_known_as(id: &InstanceId, pmid: &str) -> Key {
    Key::new(messages(id, pmid), format!("{pmid}#-#alias"))
}

/// Notifications that nothing could be done with, by arrival.
pub fn kept_notices(id: &InstanceId) -> String {
    format!("JK#{id}")
}

pub fn kept_notice(id: &InstanceId, ulid: &str, which: usize) -> Key {
    Key::new(kept_notices(id), format!("{ulid}#{which:04}"))
}

// Jobs, idempotency, session state

pub fn job(id: &JobId) -> Key {
    Key::new(format!("J#{id}"), ONLY)
}

pub fn idempotency(user: &UserId, hash: &str) -> Key {
    Key::new(format!("K#{user}#{hash}"), ONLY)
}

pub fn session(id: &InstanceId) -> String {
    format!("X#{id}")
}

// Fleet

/// Partition of the workers that are alive, or were until lately.
pub const WORKERS: &str = "W";

pub fn worker(name: &str) -> Key {
    Key::new(WORKERS, name)
}

/// Partition of the shards and their owners.
pub const SHARDS: &str = "S";

pub fn shard(shard: u16) -> Key {
    Key::new(SHARDS, shard.to_string())
}
