//! A session moves, and is cut off on its way.

use std::time::Duration;

use shared::{
    Kind,
    address::Platform,
    connector::{Action, SessionChange, SessionStore as _},
    domain::{
        instance::{Instance, Status as Line},
        job::{self, Answer, Status},
        message,
        moving::{self, Exported},
        owner::{Owner, SESSION_EXPORTED, SESSION_IMPORT},
    },
    redact::Secret,
    store::{Change, Unit, Write, keys},
};

use super::bed::Bed;

fn passphrase() -> Secret {
    Secret::new("correct horse battery")
}

async fn export(bed: &Bed, instance: &Instance) -> Vec<u8> {
    match moving::export(&bed.app, instance, passphrase()).await.expect("is exported") {
        Exported::File(file) => file,
        Exported::Later(job) => panic!("{job} takes too long"),
    }
}

/// How often the log tells that a session was exported.
async fn closings(bed: &Bed, instance: &Instance) -> usize {
    bed.log(instance).await.iter().filter(|entry| entry.body.data["detail"] == SESSION_EXPORTED).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_session_is_not_opened_and_another_import_replaces_it() {
    let mut bed = Bed::new().await;
    bed.start();
    let from = bed.connected(Platform::Whatsapp, "15550100000").await;
    let to = bed.instance(Platform::Whatsapp).await;
    bed.until(&to, |now| now.status == Line::QrReceived).await;
    let file = export(&bed, &from).await;
    bed.stop().await;

    // The crash.
    let owner = Owner::take_over(bed.app.clone(), &from.id, 0).await.expect("takes over").expect("is there");
    let mut rows = owner.read_session().await.expect("reads").rows;
    assert!(rows.len() > 1);
    rows.truncate(1);
    let owner = Owner::take_over(bed.app.clone(), &to.id, 0).await.expect("takes over").expect("is there");
    owner.importing().await.expect("is noted");
    owner.write_session(rows).await.expect("is written");
    drop(owner);

    bed.start();
    bed.command(&to, Action::Start).await;
    let played = bed.ask(&to, shared::connector::Request::Groups).await;
    assert_eq!(played.expect_err("there is no line").code, "INSTANCE_NOT_READY");
    let half = bed.read(&to.id).await.expect("is there");
    assert_eq!((half.status, half.reason.as_deref(), half.paired), (Line::Disconnected, Some(SESSION_IMPORT), false));
    let away = bed.read(&from.id).await.expect("is there");
    assert_eq!((away.status, away.reason.as_deref()), (Line::Disconnected, Some(SESSION_EXPORTED)));

    let answer = moving::import(&bed.app, &half, file.into(), passphrase()).await.expect("is imported");
    assert!(matches!(answer, Answer::Done(_)));
    let there = bed.until(&to, |now| now.status == Line::Connected).await;
    assert_eq!(there.address, from.address);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_come_again_change_nothing() {
    let mut bed = Bed::new().await;
    bed.start();
    let from = bed.connected(Platform::Whatsapp, "15550100000").await;
    let to = bed.instance(Platform::Whatsapp).await;
    let file = export(&bed, &from).await;
    moving::import(&bed.app, &to, file.into(), passphrase()).await.expect("is imported");
    let there = bed.until(&to, |now| now.status == Line::Connected).await;

    // Cut off before the job was written.
    let job = there.imported_by.clone().expect("the job is known");
    let open = Write::update(keys::job(&job), Change::default().set("status", "running").remove("result"));
    bed.app.store.commit(Unit::write(open)).await.expect("is written");
    bed.command(&to, Action::ImportSession { job: job.clone(), parcel: "0".repeat(32) }).await;
    let ended = job::ended(&bed.app, &job, Duration::from_secs(10)).await.expect("reads");
    assert!(matches!(ended, Some(Ok(_))), "it was done");
    assert_eq!(bed.read(&to.id).await.expect("is there").status, Line::Connected);

    // What came before an export comes again, and so does the export.
    let (ended, row) = job::new(&bed.app, "export_session", &from.user_id, Some(&from.id)).expect("a job");
    bed.app.store.commit(Unit::write(row)).await.expect("is written");
    job::finish(&bed.app, &ended.id, Ok(moving::exported("gone"))).await.expect("is written");
    bed.command(&from, Action::Reconnect).await;
    bed.command(&from, Action::ExportSession { job: ended.id.clone() }).await;
    while closings(&bed, &from).await < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bed.until(&from, |now| now.reason.as_deref() == Some(SESSION_EXPORTED)).await;
    let job = job::get(&bed.app, &ended.id).await.expect("reads").expect("is there");
    assert_eq!(job.status, Status::Done);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_whose_end_was_not_seen_connects_when_it_comes_again() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    export(&bed, &instance).await;

    // What an import has written when the answer to its last write is lost, in a worker that goes on: no line is open.
    let (job, row) = job::new(&bed.app, "import_session", &instance.user_id, Some(&instance.id)).expect("a job");
    let written = Change::default().set("status", "connecting").remove("reason").set("importedBy", job.id.as_str());
    let writes = vec![row, Write::update(keys::instance(&instance.id), written)];
    bed.app.store.commit(Unit { writes, ..Unit::default() }).await.expect("is written");
    bed.command(&instance, Action::ImportSession { job: job.id.clone(), parcel: "0".repeat(32) }).await;
    let ended = job::ended(&bed.app, &job.id, Duration::from_secs(10)).await.expect("reads");
    assert!(matches!(ended, Some(Ok(_))), "{ended:?}");
    bed.until(&instance, |now| now.status == Line::Connected).await;
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_no_answer_carries_stays_where_it_is() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    bed.stop().await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("takes over").expect("is there");
    let before = closings(&bed, &instance).await;
    // In the file a third more: 17 MiB.
    for part in 0..13 {
        let key = format!("large/{part}");
        let large = SessionChange { key, value: Some(vec![7; 1 << 20]), until: None };
        owner.session().write(vec![large]).await.expect("is written");
    }
    drop(owner);

    bed.start();
    let now = bed.until(&instance, |now| now.status == Line::Connected).await;
    let refused = moving::export(&bed.app, &now, passphrase()).await.err().expect("is refused");
    assert_eq!((refused.kind, refused.code.as_ref()), (Kind::TooLarge, "SESSION_TOO_LARGE"));
    // Its command comes again, from before that was acknowledged.
    let (ended, row) = job::new(&bed.app, "export_session", &instance.user_id, Some(&instance.id)).expect("a job");
    bed.app.store.commit(Unit::write(row)).await.expect("is written");
    job::finish(&bed.app, &ended.id, Err(refused)).await.expect("is written");
    bed.command(&instance, Action::ExportSession { job: ended.id }).await;
    let message = bed.accept(&instance, "15550100001", "still here").await;
    bed.until_status(&message, message::Status::Delivered).await;
    assert_eq!(closings(&bed, &instance).await, before, "it was not closed");
    bed.stop().await;
}
