//! The same operations on our store and on the crate's own one in memory give the same answers, also when our process ends in
//! good order between them.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use whatsapp_rust::{
    traits::{
        Backend, DeviceInfo, DeviceListRecord, LidPnMappingEntry, MsgSecretEntry, PendingInboundKey, PendingInboundRow,
        SignalStore as _, TcTokenEntry,
    },
    wacore::{appstate::processor::AppStateMutationMAC, store::in_memory::InMemoryBackend},
};

use super::bed::Bed;
use crate::store::Store;

/// What is done, each with numbers that name people, groups, messages and contents out of few.
#[derive(Debug, Clone)]
enum Step {
    Restart,
    Flush,
    Identity(u8, Option<u8>),
    Session(u8, Option<u8>),
    Prekeys(u8, u8),
    RemovePrekey(u8),
    MarkUploaded(u8),
    SenderKey(u8, Option<u8>),
    Macs(u8, u8),
    DeleteMac(u8),
    ClearMacs,
    Distribution(u8, u8, bool),
    Undistribute(u8),
    ClearDistribution(u8),
    Lid(u8, u8),
    Devices(u8, Option<u8>),
    Group(u8, Option<u8>),
    Touch(u8, u8),
    Token(u8, u8),
    PutToken(u8, Option<u8>),
    ExpireTokens(u8),
    Sent(u8, u8),
    TakeSent(u8),
    Pending(u8),
    Settle(u8),
    Secret(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..6u8;
    let maybe = || proptest::option::of(0..4u8);
    prop_oneof![
        1 => Just(Step::Restart),
        2 => Just(Step::Flush),
        2 => (n.clone(), maybe()).prop_map(|(a, b)| Step::Identity(a, b)),
        2 => (n.clone(), maybe()).prop_map(|(a, b)| Step::Session(a, b)),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Prekeys(a, b)),
        1 => (0..80u8).prop_map(Step::RemovePrekey),
        1 => (0..80u8).prop_map(Step::MarkUploaded),
        2 => (n.clone(), maybe()).prop_map(|(a, b)| Step::SenderKey(a, b)),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Macs(a, b)),
        1 => n.clone().prop_map(Step::DeleteMac),
        1 => Just(Step::ClearMacs),
        1 => (n.clone(), n.clone(), any::<bool>()).prop_map(|(a, b, c)| Step::Distribution(a, b, c)),
        1 => n.clone().prop_map(Step::Undistribute),
        1 => n.clone().prop_map(Step::ClearDistribution),
        2 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Lid(a, b)),
        1 => (n.clone(), maybe()).prop_map(|(a, b)| Step::Devices(a, b)),
        1 => (n.clone(), maybe()).prop_map(|(a, b)| Step::Group(a, b)),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Touch(a, b)),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Token(a, b)),
        1 => (n.clone(), maybe()).prop_map(|(a, b)| Step::PutToken(a, b)),
        1 => n.clone().prop_map(Step::ExpireTokens),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| Step::Sent(a, b)),
        1 => n.clone().prop_map(Step::TakeSent),
        2 => n.clone().prop_map(Step::Pending),
        2 => n.clone().prop_map(Step::Settle),
        1 => (n.clone(), n).prop_map(|(a, b)| Step::Secret(a, b)),
    ]
}

fn index_mac(n: u8) -> Vec<u8> {
    vec![n.wrapping_mul(77); 32]
}

fn record(user: u8, value: u8) -> DeviceListRecord {
    DeviceListRecord {
        user: format!("u{user}"),
        devices: vec![DeviceInfo::new(value.into(), None)],
        timestamp: value.into(),
        phash: None,
        raw_id: None,
    }
}

fn token(value: u8) -> TcTokenEntry {
    TcTokenEntry { token: vec![value; 4], token_timestamp: value.into(), sender_timestamp: None }
}

/// Does one step, and says what it answered.
async fn act(store: &dyn Backend, step: &Step) -> String {
    match *step {
        Step::Restart | Step::Flush => String::new(),
        Step::Identity(who, Some(key)) => {
            format!("{:?}", store.put_identity(&format!("{who}:1@lid"), [key; 32]).await.ok())
        }
        Step::Identity(who, None) => format!("{:?}", store.delete_identity(&format!("{who}:1@lid")).await.ok()),
        Step::Session(who, Some(value)) => {
            let batch = [(Arc::from(format!("{who}:1@lid")), Bytes::from(vec![value; 10]))];
            format!("{:?}", store.put_sessions_batch(&batch).await.ok())
        }
        Step::Session(who, None) => format!("{:?}", store.delete_session(&format!("{who}:1@lid")).await.ok()),
        Step::Prekeys(first, value) => {
            let first = u32::from(first) * 10;
            let keys: Vec<_> = (first..first + 20).map(|id| (id, Bytes::from(vec![value; 5]))).collect();
            format!("{:?}", store.store_prekeys_batch(&keys, false).await.ok())
        }
        Step::RemovePrekey(id) => format!("{:?}", store.remove_prekey(id.into()).await.ok()),
        Step::MarkUploaded(id) => format!("{:?}", store.mark_prekeys_uploaded(&[id.into()]).await.ok()),
        Step::SenderKey(group, Some(value)) => {
            format!("{:?}", store.put_sender_key(&group.to_string(), &[value]).await.ok())
        }
        Step::SenderKey(group, None) => format!("{:?}", store.delete_sender_key(&group.to_string()).await.ok()),
        Step::Macs(n, value) => {
            let macs: Vec<_> =
                (0..=n).map(|n| AppStateMutationMAC { index_mac: index_mac(n), value_mac: vec![value] }).collect();
            format!("{:?}", store.put_mutation_macs("regular", 1, &macs).await.ok())
        }
        Step::DeleteMac(n) => format!("{:?}", store.delete_mutation_macs("regular", &[index_mac(n)]).await.ok()),
        Step::ClearMacs => format!("{:?}", store.clear_mutation_macs("regular").await.ok()),
        Step::Distribution(group, device, has) => {
            format!("{:?}", store.set_sender_key_status(&group.to_string(), &[(&device.to_string(), has)]).await.ok())
        }
        Step::Undistribute(device) => {
            format!("{:?}", store.delete_sender_key_device_rows(&[&device.to_string()]).await.ok())
        }
        Step::ClearDistribution(0) => format!("{:?}", store.clear_all_sender_key_devices().await.ok()),
        Step::ClearDistribution(group) => {
            format!("{:?}", store.clear_sender_key_devices(&group.to_string()).await.ok())
        }
        Step::Lid(lid, phone) => {
            let entry = LidPnMappingEntry {
                lid: format!("10{lid}"),
                phone_number: format!("2{phone}"),
                created_at: 1,
                updated_at: 1,
                learning_source: String::new(),
            };
            // The order of learning decides which LID a number has; in the model that is the order of the steps.
            format!("{:?}", store.put_lid_mapping(&entry).await.ok())
        }
        Step::Devices(user, Some(value)) => {
            format!("{:?}", store.update_device_lists(vec![record(user, value)]).await.ok())
        }
        Step::Devices(user, None) => format!("{:?}", store.delete_devices(&format!("u{user}")).await.ok()),
        Step::Group(group, Some(value)) => {
            format!("{:?}", store.put_group_metadata(&group.to_string(), &[value]).await.ok())
        }
        Step::Group(group, None) => format!("{:?}", store.delete_group_metadata(&group.to_string()).await.ok()),
        Step::Touch(who, at) => {
            format!("{:?}", store.touch_tc_token_sender_timestamp(&who.to_string(), at.into()).await.ok())
        }
        Step::Token(who, at) => {
            format!("{:?}", store.store_received_tc_token(&who.to_string(), &[at], at.into()).await.ok())
        }
        Step::PutToken(who, Some(value)) => {
            format!("{:?}", store.put_tc_token(&who.to_string(), &token(value)).await.ok())
        }
        Step::PutToken(who, None) => format!("{:?}", store.delete_tc_token(&who.to_string()).await.ok()),
        Step::ExpireTokens(at) => format!("{:?}", store.delete_expired_tc_tokens(at.into(), at.into()).await.ok()),
        Step::Sent(id, value) => format!("{:?}", store.store_sent_message("c", &id.to_string(), &[value]).await.ok()),
        Step::TakeSent(id) => format!("{:?}", store.take_sent_message("c", &id.to_string()).await.ok()),
        Step::Pending(number) => {
            let id = number.to_string();
            let row = PendingInboundRow { chat: "c", sender: "s", id: &id, message: &[number] };
            format!("{:?}", store.store_pending_inbound_batch(&[row]).await.ok())
        }
        Step::Settle(id) => {
            let id = id.to_string();
            let key = PendingInboundKey { chat: "c", sender: "s", id: &id };
            format!("{:?}", store.delete_pending_inbound_batch(&[key]).await.ok())
        }
        Step::Secret(id, value) => {
            let entry = MsgSecretEntry {
                chat: Arc::from("c"),
                sender: Arc::from(format!("s{}", value % 2)),
                msg_id: Arc::from(id.to_string()),
                secret: [value; 32],
                expires_at: if value == 5 { 0 } else { crate::store::now() + 1000 + i64::from(value) },
                message_ts: value.into(),
            };
            format!("{:?}", store.put_msg_secrets(vec![entry]).await.ok())
        }
    }
}

/// Everything that can be asked.
async fn state(store: &dyn Backend) -> Vec<String> {
    let mut said = Vec::new();
    for n in 0..6u8 {
        let (address, text) = (format!("{n}:1@lid"), n.to_string());
        said.push(format!("identity {:?}", store.load_identity(&address).await.ok()));
        said.push(format!(
            "session {:?} {:?}",
            store.get_session(&address).await.ok(),
            store.has_session(&address).await.ok()
        ));
        said.push(format!("user {:?}", store.has_signal_state_for_user(&text).await.ok()));
        said.push(format!("sender key {:?}", store.get_sender_key(&text).await.ok()));
        said.push(format!("mac {:?}", store.get_mutation_mac("regular", &index_mac(n)).await.ok()));
        let mut devices = store.get_sender_key_devices(&text).await.expect("reads");
        devices.sort();
        said.push(format!("distribution {devices:?}"));
        said.push(format!("lid {:?}", store.get_lid_mapping(&format!("10{n}")).await.ok()));
        said.push(format!("phone {:?}", store.get_pn_mapping(&format!("2{n}")).await.ok().flatten().map(|e| e.lid)));
        said.push(format!("devices {:?}", store.get_devices(&format!("u{n}")).await.ok()));
        said.push(format!("group {:?}", store.get_group_metadata(&text).await.ok()));
        said.push(format!("token {:?}", store.get_tc_token(&text).await.ok()));
        said.push(format!("pending {:?}", store.get_pending_inbound("c", "s", &text).await.ok()));
        for sender in ["s0", "s1"] {
            said.push(format!("secret {:?}", store.get_msg_secret_with_ts("c", sender, &text).await.ok()));
        }
    }
    let ids: Vec<u32> = (0..80).collect();
    let mut prekeys = store.load_prekeys_batch(&ids).await.expect("reads");
    prekeys.sort();
    said.push(format!("prekeys {prekeys:?} {:?}", store.get_max_prekey_id().await.ok()));
    let mut lids: Vec<String> = store.get_all_lid_mappings().await.expect("reads").into_iter().map(|e| e.lid).collect();
    lids.sort();
    said.push(format!("lids {lids:?}"));
    let mut tokens = store.get_all_tc_token_jids().await.expect("reads");
    tokens.sort();
    said.push(format!("tokens {tokens:?}"));
    said
}

/// Which LID a number has is in no row, so after a restart it is the one learned last by its time; the steps here are all of the same
/// time. A number that moved from one LID to another is therefore left out of runs with restarts.
fn unambiguous(steps: &[Step]) -> bool {
    let mut pairs: Vec<(u8, u8)> = Vec::new();
    steps.iter().all(|step| match *step {
        Step::Lid(lid, phone) => {
            let clash = pairs.iter().any(|(l, p)| (*l == lid) != (*p == phone));
            pairs.push((lid, phone));
            !clash
        }
        _ => true,
    })
}

async fn run(steps: Vec<Step>) {
    let bed = Arc::new(Bed::default());
    let mut ours = bed.open().await;
    let model = InMemoryBackend::new();
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Restart => {
                ours = restarted(&bed, &ours).await;
            }
            Step::Flush => ours.flush().await.expect("flushes"),
            _ => {}
        }
        let (said, expected) = (act(ours.as_ref(), step).await, act(&model, step).await);
        assert_eq!(said, expected, "step {number}: {step:?}");
    }
    same(&state(ours.as_ref()).await, &state(&model).await);
    same(&state(restarted(&bed, &ours).await.as_ref()).await, &state(&model).await);
}

/// After a crash a message may wait that is settled, if others of its bundle are not: the platform does not deliver it again, so
/// nobody asks for it.
fn same(ours: &[String], model: &[String]) {
    for (ours, model) in ours.iter().zip(model) {
        assert!(ours == model || model == "pending Some(None)", "{ours} instead of {model}");
    }
    assert_eq!(ours.len(), model.len());
}

/// Another process goes on. Messages that came in are only kept for it if a ratchet has moved since.
async fn restarted(bed: &Arc<Bed>, ours: &Arc<Store>) -> Arc<Store> {
    ours.put_session("somebody else", b"step").await.expect("puts");
    ours.flush().await.expect("flushes");
    bed.open().await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_as_a_plain_map_does(steps in proptest::collection::vec(step(), 1..60)) {
        let steps: Vec<Step> = if unambiguous(&steps) {
            steps
        } else {
            steps.into_iter().filter(|step| !matches!(step, Step::Lid(..))).collect()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}
