//! Dead letters of the command queues: an accepted send must not vanish, nor a question stay open.

use std::{sync::Arc, time::Duration};

use shared::{
    Error, Result,
    app::App,
    connector::{Action, COMMAND_VERSION, Command},
    domain::{
        instance, job,
        owner::{Author, SendRow, Settle},
    },
    id::InstanceId,
    store::{Enqueue, Item, Queue, Read, Received, keys},
};

/// Letters that are looked at in one go.
const PAGE: usize = 64;

/// Ends what the dead commands of the shards have begun: a send fails and tells so, a question is answered with an error, a
/// deletion and a callback are queued anew. Letters that this version does not understand stay for whoever does. Cheap while there are none.
pub async fn bury_dead(app: &App, shards: &[u16]) -> Result<()> {
    for shard in shards {
        let queue = Queue::Commands(*shard);
        if app.queues.depth(queue).await?.dead == 0 {
            continue;
        }
        for letter in app.queues.dead_letters(queue, PAGE).await? {
            let Some(command) = letter.decode::<Command>().ok().filter(|command| command.v == COMMAND_VERSION) else {
                continue;
            };
            match end(app, &letter, command).await {
                Ok(()) => app.queues.bury(&letter.receipt).await?,
                Err(error) => tracing::warn!(shard, %error, "a dead command stays"),
            }
        }
    }
    Ok(())
}

async fn end(app: &App, letter: &Received, command: Command) -> Result<()> {
    tracing::error!(instance = %command.instance, receives = letter.receives, "a command was given up");
    match command.action {
        Action::Send { message, outgoing, .. } => {
            let Some(instance) = row(app, &command.instance).await? else { return Ok(()) };
            let content = Some(&outgoing.content);
            let Some(send) = SendRow::load(app, &command.instance, &message, content).await? else { return Ok(()) };
            let author = Author::foreign(app, Arc::new(instance));
            if send.is_pending() && !send.was_parked() {
                author.failed(&send, "undeliverable", Settle::Nothing).await?;
            } else if !send.is_pending() {
                author.settled_before(&send, Settle::Nothing).await?;
            }
            Ok(())
        }
        Action::Ask { job, .. } | Action::ExportSession { job } | Action::ImportSession { job, .. } => {
            let error = Error::unavailable("the command was given up").code("GIVEN_UP");
            job::finish(app, &job, Err(error)).await
        }
        // What a platform was told is taken is not given up, either.
        Action::Delete { .. } | Action::Callback { .. } => {
            let again = Enqueue {
                queue: letter.receipt.queue,
                group: letter.group.clone(),
                dedup: format!("{}/again/{}", command.instance, app.ids.ulid()),
                body: letter.body.clone(),
                delay: Duration::ZERO,
                stamp: None,
            };
            app.queues.send(vec![again]).await
        }
        Action::Start | Action::Reconfigure | Action::Reconnect | Action::Logout => Ok(()),
    }
}

async fn row(app: &App, id: &InstanceId) -> Result<Option<instance::Instance>> {
    app.store.get(&keys::instance(id), Read::Strong).await?.map(Item::into).transpose()
}
