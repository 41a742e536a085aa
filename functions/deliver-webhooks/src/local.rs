//! The loop over the queues, for a process that runs all the time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use shared::{
    app::AppState,
    store::{Queue, Receipt, Received},
    webhook::Courier,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::batch::{self, Record};

/// Messages of one receive: what SQS gives at most.
const BATCH: u32 = 10;
/// Groups in hand, posting or waiting for a slot. Far more than one endpoint may have waiting, so that none fills it.
const IN_HAND: usize = 4096;
/// How long a receive waits for messages.
const POLL: Duration = Duration::from_secs(20);
/// How long to wait after the queue failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Messages in hand are kept invisible by a sign of life that often.
const BEAT: Duration = Duration::from_secs(20);
/// At shutdown attempts that are under way have that long to end …
const GRACE: Duration = Duration::from_secs(3);
/// … and then that long to be given back.
const LAST: Duration = Duration::from_secs(2);

/// Works off both queues until `shutdown`. Then what is under way is finished, or broken off and given back.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let cancel = CancellationToken::new();
    let courier = Courier::new(app, cancel.clone());
    let tasks = TaskTracker::new();
    tokio::join!(
        listen(&courier, Queue::Dispatch, &tasks, &shutdown),
        listen(&courier, Queue::Timers, &tasks, &shutdown)
    );
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        cancel.cancel();
        if tokio::time::timeout(LAST, tasks.wait()).await.is_err() {
            tracing::warn!(tasks = tasks.len(), "webhook deliveries were cut off; they are made again after the start");
        }
    }
}

async fn listen(courier: &Courier, queue: Queue, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let in_hand = Arc::new(Semaphore::new(IN_HAND));
    loop {
        let received = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            received = receive(courier, queue, &in_hand) => received,
        };
        let Some((mut room, received)) = received else { continue };
        let records = received.into_iter().map(record).collect();
        for group in batch::groups(records) {
            // As many groups as messages at most, so there is always a permit left.
            let permit = room.split(1);
            tasks.spawn(work_off(courier.clone(), group, permit));
        }
    }
}

/// Waits for room, then for messages.
async fn receive(
    courier: &Courier,
    queue: Queue,
    in_hand: &Arc<Semaphore>,
) -> Option<(OwnedSemaphorePermit, Vec<Received>)> {
    // Never closed.
    let room = Arc::clone(in_hand).acquire_many_owned(BATCH).await.ok()?;
    match courier.app().queues.receive(queue, BATCH as usize, POLL).await {
        Ok(received) => Some((room, received)),
        Err(error) => {
            tracing::warn!(queue = queue.name(), %error, "receiving failed");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

pub(crate) fn record(received: Received) -> Record {
    Record {
        id: received.receipt.handle.clone(),
        group: if received.receipt.queue.is_fifo() { received.group } else { String::new() },
        body: received.body,
        receives: received.receives,
        receipt: Some(received.receipt),
    }
}

pub(crate) async fn work_off(courier: Courier, group: VecDeque<Record>, permit: Option<OwnedSemaphorePermit>) {
    let held: Mutex<VecDeque<Receipt>> = Mutex::new(group.iter().filter_map(|record| record.receipt.clone()).collect());
    let rest = tokio::select! {
        rest = batch::work_off(&courier, group, None, || {
            held.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        }) => rest,
        () = keep(&courier, &held) => return,
    };
    // The failed one last: as long as it is in flight its group is closed, so nothing overtakes it.
    for (place, record) in rest.records.iter().enumerate().rev() {
        let Some(receipt) = &record.receipt else { continue };
        let pause = if place == 0 { rest.pause } else { Duration::ZERO };
        if let Err(error) = courier.app().queues.release(receipt, pause).await {
            // It comes back by itself when its visibility ends.
            tracing::debug!(record = %record.id, %error, "a record was not given back");
        }
    }
    drop(permit);
}

/// Keeps the messages invisible to others for as long as they are in hand. Never returns.
async fn keep(courier: &Courier, held: &Mutex<VecDeque<Receipt>>) {
    loop {
        tokio::time::sleep(BEAT).await;
        let receipts: Vec<Receipt> = held.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        for receipt in receipts {
            if let Err(error) = courier.app().queues.extend(&receipt, receipt.queue.visibility()).await {
                tracing::debug!(queue = receipt.queue.name(), %error, "a message may be delivered twice");
            }
        }
    }
}
