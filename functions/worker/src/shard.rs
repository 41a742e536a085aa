//! One owned shard: its supervisors, and the receiver of its command queue.

use std::{collections::HashMap, sync::Arc, time::Duration};

use shared::{
    domain::{instance, rotation},
    id::InstanceId,
    store::{Queue, Received},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Context,
    backoff::{Backoff, chance},
    supervisor::{self, Ending, Mail},
};

/// Pause before a supervisor that panicked is started again.
const AFTER_PANIC: Duration = Duration::from_secs(5);
/// Mail that may wait at a supervisor. The queue hands out one batch of an instance at a time.
const MAILBOX: usize = 8;
/// Beyond what work in hand may take, for closing and writing.
const STOP_MORE: Duration = Duration::from_secs(5);

/// The supervisors of a shard.
struct Supervisors {
    context: Arc<Context>,
    shard: u16,
    floor: u64,
    ending: Ending,
    mailboxes: HashMap<InstanceId, mpsc::Sender<Mail>>,
    tasks: JoinSet<InstanceId>,
}

/// Runs until `ending` says so: in good order, or at once.
pub(crate) async fn run(context: Arc<Context>, shard: u16, floor: u64, ending: Ending) {
    let mut supervisors = Supervisors {
        context: Arc::clone(&context),
        shard,
        floor,
        ending: ending.clone(),
        mailboxes: HashMap::new(),
        tasks: JoinSet::new(),
    };
    // Whoever had it before may have left dead letters.
    context.busy.heard(shard);
    supervisors.start_all().await;
    let mut backoff = Backoff::new(context.settings.reopen);
    let queue = Queue::Commands(shard);
    let receive = || {
        let context = Arc::clone(&context);
        Box::pin(async move { context.app.queues.receive(queue, context.settings.batch, context.settings.poll).await })
    };
    let mut receiving = receive();
    while !ending.stop.is_cancelled() {
        // The receive is never dropped half-way: what it was handed would be out of sight for a while.
        let received = tokio::select! {
            () = ending.stop.cancelled() => break,
            Some(ended) = supervisors.tasks.join_next(), if !supervisors.tasks.is_empty() => {
                supervisors.ended(ended);
                continue;
            }
            received = &mut receiving => received,
        };
        match received {
            Ok(messages) => {
                backoff.reset();
                if !messages.is_empty() {
                    context.busy.heard(shard);
                }
                supervisors.deliver(messages).await;
            }
            Err(error) => {
                tracing::warn!(shard, %error, "commands were not received");
                tokio::select! {
                    () = ending.stop.cancelled() => break,
                    () = tokio::time::sleep(backoff.next(chance())) => {}
                }
            }
        }
        receiving = receive();
    }
    context.lingering.spawn(give_back_late(Arc::clone(&context), receiving));
    let limit = context.settings.stop + STOP_MORE;
    let all = async { while supervisors.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!(shard, "supervisors did not end in time, and are ended");
        supervisors.tasks.abort_all();
    }
}

/// Waits for the end of a receive that nobody wants any more, and gives back what it was handed: the shard's next owner asks
/// already.
async fn give_back_late(context: Arc<Context>, receiving: impl Future<Output = shared::Result<Vec<Received>>>) {
    for message in receiving.await.unwrap_or_default() {
        if let Err(error) = context.app.queues.release(&message.receipt, Duration::ZERO).await {
            tracing::debug!(%error, "a late command was not given back");
        }
    }
}

impl Supervisors {
    /// Starts every instance of the shard; a store that does not answer is asked again.
    async fn start_all(&mut self) {
        let mut backoff = Backoff::new(self.context.settings.reopen);
        let ids = loop {
            match instance::ids_in_shard(&self.context.app, self.shard).await {
                Ok(ids) => break ids,
                Err(error) => {
                    tracing::warn!(shard = self.shard, %error, "the instances of a shard were not read");
                    tokio::select! {
                        () = self.ending.stop.cancelled() => return,
                        () = tokio::time::sleep(backoff.next(chance())) => {}
                    }
                }
            }
        };
        tracing::info!(shard = self.shard, instances = ids.len(), "a shard starts");
        for id in ids {
            self.mailbox(&id);
        }
    }

    /// The mailbox of an instance; starts its supervisor if there is none.
    fn mailbox(&mut self, id: &InstanceId) -> mpsc::Sender<Mail> {
        if let Some(sender) = self.mailboxes.get(id).filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        self.begin(id, Duration::ZERO)
    }

    /// Starts a supervisor, after a pause.
    fn begin(&mut self, id: &InstanceId, pause: Duration) -> mpsc::Sender<Mail> {
        let (sender, mail) = mpsc::channel(MAILBOX);
        let (context, id_of_task, ending) = (Arc::clone(&self.context), id.clone(), self.ending.clone());
        let (shard, floor, own) = (self.shard, self.floor, sender.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            supervisor::run(context, (shard, floor), id_of_task.clone(), (own, mail), ending).await;
            id_of_task
        });
        self.mailboxes.insert(id.clone(), sender.clone());
        sender
    }

    fn ended(&mut self, ended: Result<InstanceId, tokio::task::JoinError>) {
        match ended {
            // Another one may have begun under the same id.
            Ok(id) => {
                if self.mailboxes.get(&id).is_some_and(mpsc::Sender::is_closed) {
                    self.mailboxes.remove(&id);
                }
            }
            Err(error) => {
                tracing::error!(shard = self.shard, %error, "a supervisor ended badly, and is started again");
                // Those that end well take their mailbox out themselves.
                let closed = self.mailboxes.iter().filter(|(_, sender)| sender.is_closed());
                for id in closed.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                    self.begin(&id, AFTER_PANIC);
                }
            }
        }
    }

    /// Hands messages to their instances, in order. What finds no room goes back to the queue.
    async fn deliver(&mut self, messages: Vec<Received>) {
        rotation::look_if_due(&self.context.app).await;
        let mut order: Vec<InstanceId> = Vec::new();
        let mut batches: HashMap<InstanceId, Vec<Received>> = HashMap::new();
        for message in messages {
            // The group begins with the instance: even a body that is not understood keeps its place behind the others.
            let id = InstanceId::new(message.group.split('/').next().unwrap_or_default());
            let batch = batches.entry(id.clone()).or_default();
            if batch.is_empty() {
                order.push(id);
            }
            batch.push(message);
        }
        for id in order {
            let Some(batch) = batches.remove(&id) else { continue };
            let sender = self.mailbox(&id);
            if let Err(refused) = sender.try_send(Mail::Commands(batch)) {
                let (mpsc::error::TrySendError::Full(mail) | mpsc::error::TrySendError::Closed(mail)) = refused;
                if let Mail::Commands(batch) = mail {
                    self.give_back(batch).await;
                }
            }
        }
    }

    async fn give_back(&self, batch: Vec<Received>) {
        for message in batch {
            if let Err(error) = self.context.app.queues.release(&message.receipt, Duration::from_secs(1)).await {
                tracing::debug!(shard = self.shard, %error, "a command was not given back");
            }
        }
    }
}
