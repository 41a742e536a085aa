//! A session moves, and is cut off on its way.

use std::time::Duration;

use shared::{
    address::Platform,
    connector::Action,
    domain::{
        instance::{Instance, Status as Line},
        job::{self, Answer, Status},
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
