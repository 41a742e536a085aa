//! Messages from before the link: a page that stopped after any of its changes is completed by its repetition, and counts what it
//! made, no more and no less.

use shared::{
    address::Platform,
    clock::DAY_MS,
    connector::{Happening, HistoryPage, OldMessage, What},
    domain::{message::Status, owner::Owner, stats},
    store::{Read, keys},
};

use super::bed::Bed;

fn page(bed: &Bed, piece: &str, number: u32, ids: std::ops::Range<usize>) -> HistoryPage {
    let messages = ids.map(|number| {
        let mut message = bed.incoming(&format!("old{number}"), &format!("old message {number}"));
        // One day back, two days back …
        message.at.0 -= DAY_MS * (number as i64 % 3);
        message.from_me = number % 2 == 0;
        let status = if message.from_me { Status::Read } else { Status::Received };
        OldMessage { message, status, chat_name: "An old friend".into(), reactions: Vec::new(), order: number as u32 }
    });
    HistoryPage { piece: piece.into(), number, messages: messages.collect(), progress: Some(50), ends: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_stored_and_counted_once_wherever_it_stopped() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    let mut stored = 0;
    for changes in 0..12 {
        // Four messages that nobody knows, and one that came live.
        let ids = changes * 10..changes * 10 + 5;
        let live = page(&bed, "", 0, ids.start..ids.start + 1).messages.remove(0).message;
        owner.received(&live).await.expect("works");
        let page = page(&bed, "piece", changes as u32, ids);
        bed.chaos.stop_after(Some(changes));
        let died = owner.history(&page).await.is_err();
        bed.chaos.resume();
        owner.received(&bed.incoming(&format!("in{changes}"), "meanwhile")).await.expect("works");
        assert_eq!(owner.history(&page).await.expect("heals"), 4);
        assert_eq!(owner.history(&page).await.expect("again"), 4, "a repeat knows its own");
        stored += 4;
        let entries = bed.log(&instance).await;
        let told: Vec<_> = entries.iter().filter(|entry| entry.body.key == format!("history/{}", page.key())).collect();
        assert_eq!((told.len(), &told[0].body.data["messages"]), (1, &4.into()), "stopped after {changes}");
        let shown = bed.read(&instance.id).await.and_then(|instance| instance.history_sync).expect("shown");
        assert_eq!(shown.messages, stored);
        if changes == 0 {
            assert!(died, "the chaos layer works");
        }
    }
    let again = page(&bed, "another piece", 0, 0..5);
    assert_eq!(owner.history(&again).await.expect("works"), 0, "handed over twice");
    let now = bed.app.clock.now().day();
    let all =
        stats::messages(&bed.app, &instance.id, shared::clock::Millis(now.0 - 5 * DAY_MS), now).await.expect("counts");
    assert_eq!(all, stored + 12 + 12, "from history, live, and meanwhile");
    let quota = stats::last_hours(&bed.app, &instance.id, 24).await.expect("counts");
    assert!(quota.messages_sent + quota.messages_received <= 24, "history uses up no quota: {quota:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_of_once() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    for changes in 0..4 {
        let call = Happening {
            what: What::CallReceived,
            id: format!("call {changes}"),
            chat: "15550100001@s.whatsapp.net".into(),
            data: serde_json::json!({ "callId": format!("call {changes}") }),
        };
        bed.chaos.stop_after(Some(changes));
        drop(owner.happened(&call).await);
        bed.chaos.resume();
        owner.happened(&call).await.expect("heals");
        owner.happened(&call).await.expect("again");
        let told = bed.log(&instance).await.into_iter().filter(|entry| entry.body.data["callId"] == call.id.as_str());
        assert_eq!(told.count(), 1, "stopped after {changes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_leaves_an_entry_and_nothing_else() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    let seen = Happening {
        what: What::PresenceUpdated,
        id: "presence 1".into(),
        chat: "15550100001@s.whatsapp.net".into(),
        data: serde_json::json!({ "state": "available" }),
    };
    owner.happened(&seen).await.expect("is told");
    let log = bed.log(&instance).await;
    let told: Vec<_> = log.iter().filter(|entry| entry.body.kind == "presence_updated").collect();
    let [entry] = told.as_slice() else { panic!("one entry: {told:?}") };
    assert_eq!(
        (&entry.body.data["state"], &entry.body.data["chatId"]),
        (&"available".into(), &seen.chat.as_str().into())
    );
    let name = entry.body.key.strip_prefix("happened/").expect("its key");
    let gate = bed.app.store.get(&keys::happened(&instance.id, name), Read::Strong).await.expect("reads");
    assert_eq!(gate, None);
}
