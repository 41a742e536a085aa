//! What a platform reports of a send whose outcome was not known, or not written yet: wherever the attempt or the report stops,
//! their repetition tells everything once, and counts it once.

use std::time::Duration;

use shared::{
    address::Platform,
    connector::{MessageReport, Reported},
    domain::{
        message::{Message, Status},
        owner::{OUTCOME_UNKNOWN, Owner, SendRow, Settle},
    },
    store::{CommitError, Queue, Received},
};

use super::bed::Bed;

/// A send that the platform has taken, without anybody knowing yet.
struct Doubtful {
    message: Message,
    command: Received,
    report: MessageReport,
}

impl Doubtful {
    async fn new(bed: &Bed, owner: &Owner, name: &str) -> Self {
        let message = bed.accept(&owner.instance(), "15550100001", name).await;
        let mut commands =
            bed.app.queues.receive(Queue::Commands(0), 1, Duration::from_secs(1)).await.expect("receives");
        let report = MessageReport {
            id: format!("platform's {name}"),
            ours: Some(message.pmid.clone()),
            chat: message.remote_jid.clone(),
            what: Reported::Delivered,
            at: bed.app.clock.now(),
        };
        Self { command: commands.pop().expect("a command"), message, report }
    }

    async fn row(&self, bed: &Bed) -> Result<SendRow, CommitError> {
        let (sort, content) = (self.message.sort(), Some(&self.message.content));
        Ok(SendRow::load(&bed.app, &self.message.instance_id, &sort, content).await?.expect("a row"))
    }

    /// The attempt that began with this row ends without anybody knowing how.
    async fn end(&self, owner: &Owner, row: &SendRow) -> Result<(), CommitError> {
        owner.author().failed(row, OUTCOME_UNKNOWN, Settle::Queue(self.command.receipt.clone())).await
    }

    /// What another process does with the command, if that is still there.
    async fn redeliver(&self, bed: &Bed, owner: &Owner) -> Result<(), CommitError> {
        let depth = bed.app.queues.depth(Queue::Commands(0)).await?;
        if depth.visible + depth.in_flight == 0 {
            return Ok(());
        }
        let row = self.row(bed).await?;
        match row.is_pending() {
            true => self.end(owner, &row).await,
            false => owner.author().settled_before(&row, Settle::Queue(self.command.receipt.clone())).await,
        }
    }

    /// Everything is told once; the failure, if at all.
    async fn is_told_once(&self, bed: &Bed, owner: &Owner, stopped: &str) {
        let mut told = bed.told(&self.message).await;
        told.retain(|key| key != "status/*/failed");
        told.sort_unstable();
        assert_eq!(told, ["sent/*", "status/*/delivered", "status/*/sent"], "{stopped}");
        let failures = bed.told(&self.message).await.iter().filter(|key| *key == "status/*/failed").count();
        assert!(failures <= 1, "{stopped}");
        let now = bed.message(&self.message).await;
        assert_eq!((now.status, now.platform_id), (Status::Delivered, Some(self.report.id.clone())), "{stopped}");
        let found = shared::domain::message::by_platform_id(&bed.app, owner.id(), &self.report.id).await;
        assert_eq!(found.expect("reads").len(), 1, "known by the platform's id, {stopped}");
        let depth = bed.app.queues.depth(Queue::Commands(0)).await.expect("counts");
        assert_eq!((depth.visible, depth.in_flight), (0, 0), "the command is acknowledged, {stopped}");
    }
}

#[tokio::test]
async fn an_unknown_outcome_and_its_correction_are_told_once_wherever_they_stop() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Telegram).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    let mut total = 0;
    // What comes again first: the report, or the command.
    for report_first in [false, true] {
        for changes in 0.. {
            let stopped = format!("stopped after {changes}, the report first: {report_first}");
            let send = Doubtful::new(&bed, &owner, &format!("{changes} {report_first}")).await;
            total += 1;
            bed.chaos.stop_after(Some(changes));
            let work = async {
                send.end(&owner, &send.row(&bed).await?).await?;
                owner.reported(&send.report).await
            };
            let died = work.await.is_err();
            bed.chaos.resume();
            owner.received(&bed.incoming(&format!("in {stopped}"), "meanwhile")).await.expect("works");
            if report_first {
                owner.reported(&send.report).await.expect("heals");
                send.redeliver(&bed, &owner).await.expect("heals");
            } else {
                send.redeliver(&bed, &owner).await.expect("heals");
                owner.reported(&send.report).await.expect("heals");
            }
            owner.reported(&send.report).await.expect("again");
            send.is_told_once(&bed, &owner, &stopped).await;
            assert_eq!(bed.counted(&instance).await, total, "{stopped}");
            if !died {
                assert!(changes > 10, "both have many changes");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_report_that_overtakes_its_attempt_is_told_once_wherever_it_stops() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Telegram).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    for changes in 0.. {
        let stopped = format!("stopped after {changes}");
        let send = Doubtful::new(&bed, &owner, &changes.to_string()).await;
        let row = send.row(&bed).await.expect("reads");
        bed.chaos.stop_after(Some(changes));
        let died = owner.reported(&send.report).await.is_err();
        bed.chaos.resume();
        owner.received(&bed.incoming(&format!("in {stopped}"), "meanwhile")).await.expect("works");
        // The attempt was under way all the time, and ends before the report comes again.
        send.end(&owner, &row).await.expect("settles");
        owner.reported(&send.report).await.expect("heals");
        owner.reported(&send.report).await.expect("again");
        send.is_told_once(&bed, &owner, &stopped).await;
        assert_eq!(bed.counted(&instance).await, changes as i64 + 1, "{stopped}");
        if !died {
            assert!(changes > 5, "the report has several changes");
            return;
        }
    }
}
