//! What is written comes back, also to a process that starts later, and takes few rows and puts.

use std::sync::Arc;

use bytes::Bytes;
use whatsapp_rust::{
    traits::{
        AppStateSyncKey, AppSyncStore as _, DeviceStore as _, LidPnMappingEntry, MsgSecretEntry, MsgSecretStore as _,
        ProtocolStore as _, SignalStore as _,
    },
    wacore::store::Device,
};

use super::bed::Bed;
use crate::store::now;

fn entry(lid: &str, phone: &str, at: i64) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone.to_owned(),
        created_at: at,
        updated_at: at,
        learning_source: "usync".to_owned(),
    }
}

#[tokio::test]
async fn a_device_comes_back_whole() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    assert!(!store.exists().await.expect("reads"));
    store.create().await.expect("creates");
    let mut device = store.load().await.expect("reads").expect("is there");
    device.pn = Some("15550001111:3@s.whatsapp.net".parse().expect("a JID"));
    device.push_name = "Ada".to_owned();
    device.next_pre_key_id = 813;
    store.save(&device).await.expect("saves");

    let again: Device = bed.open().await.load().await.expect("reads").expect("is there");
    assert_eq!(again.pn, device.pn);
    assert_eq!(again.push_name, "Ada");
    assert_eq!(again.next_pre_key_id, 813);
    assert_eq!(again.registration_id, device.registration_id);
    assert_eq!(again.noise_key.private_key.serialize(), device.noise_key.private_key.serialize());
    assert_eq!(again.signed_pre_key_signature, device.signed_pre_key_signature);
}

#[tokio::test]
async fn eight_hundred_prekeys_are_one_put_of_few_rows() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    Bed::count(&bed.puts);
    let keys: Vec<(u32, Bytes)> = (1..=812u32).map(|id| (id, Bytes::from(vec![id.to_le_bytes()[0]; 75]))).collect();
    store.store_prekeys_batch(&keys, false).await.expect("stores");
    assert_eq!(Bed::count(&bed.puts), 1);
    assert_eq!(bed.keys("p/").len(), 26);

    let store = bed.open().await;
    assert_eq!(store.get_max_prekey_id().await.expect("reads"), 812);
    assert_eq!(store.load_prekeys_batch(&[1, 300, 812, 900]).await.expect("reads").len(), 3);
    store.remove_prekey(300).await.expect("removes");
    store.mark_prekeys_uploaded(&[299, 300, 301]).await.expect("marks");
    assert_eq!(store.load_prekey(300).await.expect("reads"), None);
    store.flush().await.expect("flushes");
    let store = bed.open().await;
    assert_eq!(store.load_prekey(300).await.expect("reads"), None);
    assert!(store.load_prekey(299).await.expect("reads").is_some());
}

#[tokio::test]
async fn lids_lead_both_ways_and_the_last_one_counts() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    let many: Vec<_> = (0..500).map(|n| entry(&format!("1000{n:03}"), &format!("1555{n:03}"), 1)).collect();
    store.put_lid_mappings(&many).await.expect("stores");
    store.put_lid_mapping(&entry("777", "1555001", 9)).await.expect("stores");
    store.put_lid_mapping(&entry("1000002", "1666", 9)).await.expect("stores");
    for store in [Arc::clone(&store), {
        store.flush().await.expect("flushes");
        bed.open().await
    }] {
        let lid = |phone: &'static str| {
            let store = Arc::clone(&store);
            async move { store.get_pn_mapping(phone).await.expect("reads").map(|entry| entry.lid) }
        };
        assert_eq!(lid("1555001").await.as_deref(), Some("777"));
        assert_eq!(lid("1666").await.as_deref(), Some("1000002"));
        assert_eq!(lid("1555002").await, None);
        assert_eq!(lid("1555499").await.as_deref(), Some("1000499"));
        assert_eq!(store.get_lid_mapping("1000002").await.expect("reads").expect("is there").phone_number, "1666");
        assert_eq!(store.get_all_lid_mappings().await.expect("reads").len(), 501);
    }
    assert!(bed.keys("l/").len() <= 64);
}

#[tokio::test]
async fn state_of_a_user_is_found_by_the_user() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    assert!(!store.has_signal_state_for_user("1555").await.expect("reads"));
    store.put_identity("1555:3@s.whatsapp.net", [1; 32]).await.expect("stores");
    assert!(store.has_signal_state_for_user("1555").await.expect("reads"), "before it is durable");
    store.flush().await.expect("flushes");
    assert!(store.has_signal_state_for_user("1555").await.expect("reads"));
    assert!(!store.has_signal_state_for_user("155").await.expect("reads"));
    store.delete_identity("1555:3@s.whatsapp.net").await.expect("deletes");
    assert!(!store.has_signal_state_for_user("1555").await.expect("reads"), "a removal that is not durable counts");
    assert!(bed.keys("").iter().all(|key| !key.contains("1555")), "numbers are not in keys");
}

#[tokio::test]
async fn a_sent_message_is_taken_once_and_its_secret_stays() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    let secret = |expires_at| MsgSecretEntry {
        chat: Arc::from("1@lid"),
        sender: Arc::from("2@lid"),
        msg_id: Arc::from("3EB0"),
        secret: [7; 32],
        expires_at,
        message_ts: 5,
    };
    Bed::count(&bed.changes);
    store.store_sent_message("1@lid", "3EB0", b"body").await.expect("stores");
    let also = MsgSecretEntry { chat: Arc::from("1@s.whatsapp.net"), ..secret(now() + 1000) };
    store.put_msg_secrets(vec![secret(now() + 1000), also]).await.expect("stores");
    store.flush().await.expect("flushes");
    assert_eq!(Bed::count(&bed.changes), 1, "they lie together");
    assert!(bed.end(&bed.keys("m/")[0]).is_some_and(|end| end >= now() + 7000));

    let store = bed.open().await;
    assert_eq!(store.take_sent_message("1@lid", "3EB0").await.expect("takes").as_deref(), Some(&b"body"[..]));
    assert_eq!(store.take_sent_message("1@lid", "3EB0").await.expect("takes"), None);
    store.put_msg_secrets(vec![secret(now() + 10)]).await.expect("stores");
    store.flush().await.expect("flushes");
    let found = bed.open().await.get_msg_secret_with_ts("1@lid", "2@lid", "3EB0").await.expect("reads");
    assert_eq!(found, Some((vec![7; 32], 5)));
    assert!(bed.end(&bed.keys("m/")[0]).is_some_and(|end| end >= now() + 900), "an end never comes nearer");
}

#[tokio::test]
async fn app_state_of_thousands_of_contacts_is_few_rows() {
    use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    let key = AppStateSyncKey { key_data: vec![1; 32], fingerprint: vec![2], timestamp: 3 };
    store.set_sync_key(b"key", key).await.expect("stores");
    let macs: Vec<_> = (0..3000u32)
        .map(|n| {
            let mut index_mac = vec![0; 32];
            index_mac[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
            AppStateMutationMAC { index_mac, value_mac: vec![9; 32] }
        })
        .collect();
    Bed::count(&bed.puts);
    store.put_mutation_macs("regular", 1, &macs).await.expect("stores");
    store.set_version("regular", store.get_version("regular").await.expect("reads")).await.expect("stores");
    assert_eq!(Bed::count(&bed.puts), 1, "one version, one put");
    assert_eq!(bed.keys("x/").len(), 32);

    let store = bed.open().await;
    let wanted: Vec<[u8; 32]> = macs.iter().take(40).map(|mac| mac.index_mac.clone().try_into().expect("32")).collect();
    assert_eq!(store.get_mutation_macs("regular", &wanted).await.expect("reads").len(), 40);
    store.delete_mutation_macs("regular", &[macs[0].index_mac.clone()]).await.expect("deletes");
    assert_eq!(store.get_mutation_mac("regular", &macs[0].index_mac).await.expect("reads"), None);
    store.clear_mutation_macs("regular").await.expect("clears");
    assert_eq!(store.get_mutation_mac("regular", &macs[1].index_mac).await.expect("reads"), None);
    assert_eq!(store.get_latest_sync_key_id().await.expect("reads").as_deref(), Some(&b"key"[..]));
    assert!(store.get_sync_key(b"key").await.expect("reads").is_some());
}
