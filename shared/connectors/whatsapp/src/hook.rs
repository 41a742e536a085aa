//! Messages that come in. The crate acknowledges them to WhatsApp only when this says that they are durable.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use shared::{Error, Kind, connector::Update};
use whatsapp_rust::{Client, InboundDurabilityHook, wacore::types::events::InboundMessage};

use crate::{history, incoming, line::Inner};

/// Messages of one batch whose media are fetched at the same time.
const AT_ONCE: usize = 4;
/// Pause before something is told again that could not be made durable.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Tries between two lines in the log about it.
const SAID_EVERY: u32 = 60;

pub(crate) struct Hook {
    pub(crate) inner: Arc<Inner>,
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let read = batch.iter().cloned().map(|message| {
            let (inner, client) = (Arc::clone(&self.inner), Arc::clone(&client));
            async move { incoming::read(&inner, &client, &message).await }
        });
        let mut read = stream::iter(read.collect::<Vec<_>>()).buffered(AT_ONCE);
        while let Some(updates) = read.next().await {
            for update in updates {
                meet(&self.inner, &update);
                tell(&self.inner, update).await?;
            }
        }
        if batch.iter().any(|message| message.info.source.is_from_me && history::is_announced(&message.message)) {
            history::kept(&self.inner, &client).await;
        }
        Ok(())
    }
}

/// Whoever writes is no stranger, under neither of their addresses.
fn meet(inner: &Inner, update: &Update) {
    if let Update::Received(incoming) = update
        && !incoming.from_me
        && !incoming.is_group
    {
        inner.account.time_lock.met(&incoming.chat);
        if let Some(also) = incoming.facts["senderLid"].as_str() {
            inner.account.time_lock.met(also);
        }
    }
}

/// Makes an update durable, again and again as long as the line lives: what is not acknowledged comes again with the next login
/// only, and what the crate acknowledges itself never. One that can never be durable is dropped, with a line in the log: WhatsApp
/// would bring it for weeks, and nothing behind it.
pub(crate) async fn tell(inner: &Inner, update: Update) -> Result<(), Error> {
    let mut tries = 0_u32;
    loop {
        match inner.emit.emit(update.clone()).await {
            Err(error) if matches!(error.kind, Kind::Invalid | Kind::TooLarge) => {
                tracing::error!(instance = %inner.instance, %error, "something that came in cannot be stored");
                return Ok(());
            }
            Err(error) if error.is_temporary() && !inner.ended.is_cancelled() => {
                if tries.is_multiple_of(SAID_EVERY) {
                    tracing::warn!(instance = %inner.instance, %error, tries, "something that came in is not durable yet");
                }
                tokio::select! {
                    () = tokio::time::sleep(AGAIN_AFTER) => {}
                    () = inner.ended.cancelled() => return Err(error),
                }
            }
            told => return told,
        }
        tries = tries.saturating_add(1);
    }
}
