//! Waiting for the platform to say that it has a message.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use shared::clock::Millis;
use tokio::sync::oneshot;
use whatsapp_rust::wacore::types::events::ServerAck;

/// What the platform says to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Taken(Millis),
    /// With its code, such as `463`.
    Refused(String),
}

#[derive(Default)]
pub(crate) struct Acks {
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

impl Acks {
    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers before the message is written, or its answer could be missed.
    pub(crate) fn expect(&self, id: &str) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert(id.to_owned(), sender);
        receiver
    }

    pub(crate) fn arrived(&self, ack: &ServerAck) {
        if ack.class.as_deref().is_some_and(|class| class != "message") {
            return;
        }
        let answer = match &ack.error {
            Some(code) => Answer::Refused(code.clone()),
            None => Answer::Taken(ack.timestamp.map_or_else(now, |at| Millis(at.timestamp_millis()))),
        };
        if let Some(sender) = self.waiting().remove(&ack.id) {
            // Whoever asked may have given up.
            drop(sender.send(answer));
        }
    }
}

fn now() -> Millis {
    Millis(whatsapp_rust::wacore::time::now_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: &str, class: &str, error: Option<&str>) -> ServerAck {
        ServerAck::builder().id(id.to_owned()).class(class.to_owned()).maybe_error(error.map(str::to_owned)).build()
    }

    #[tokio::test]
    async fn an_answer_reaches_whoever_waits_for_that_message() {
        let acks = Acks::default();
        let (first, second) = (acks.expect("A"), acks.expect("B"));
        acks.arrived(&ack("A", "receipt", Some("500")));
        acks.arrived(&ack("A", "message", Some("463")));
        acks.arrived(&ack("C", "message", None));
        acks.arrived(&ack("B", "message", None));
        assert_eq!(first.await.expect("answered"), Answer::Refused("463".to_owned()));
        assert!(matches!(second.await.expect("answered"), Answer::Taken(_)));
    }

    #[tokio::test]
    async fn who_gave_up_is_forgotten() {
        let acks = Acks::default();
        drop(acks.expect("A"));
        let _waits = acks.expect("B");
        assert_eq!(acks.waiting().len(), 1);
    }
}
