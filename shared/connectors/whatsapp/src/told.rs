//! What a line hears, and how it gets to the one task that tells the worker of it, in its order.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;
use whatsapp_rust::wacore::types::events::{Event, EventHandler, EventInterest, EventKind};

use crate::acks::Acks;

/// Something to act on.
pub(crate) enum Told {
    Event(Arc<Event>),
    /// There is no connection, or none any more.
    Lost,
}

/// What a line wants to know of. Whatever is not here is not even made.
const WANTED: &[EventKind] = &[
    EventKind::Connected,
    EventKind::Disconnected,
    EventKind::PairSuccess,
    EventKind::PairError,
    EventKind::LoggedOut,
    EventKind::PairingQrCode,
    EventKind::PairingQrCodesExhausted,
    EventKind::QrScannedWithoutMultidevice,
    EventKind::ClientOutdated,
    EventKind::Messages,
    EventKind::Receipt,
    EventKind::ServerAck,
    EventKind::UndecryptableMessage,
    EventKind::ContactNumberChanged,
    EventKind::GroupUpdate,
    EventKind::IncomingCall,
    EventKind::MissedCall,
    EventKind::CallEndedElsewhere,
    EventKind::Presence,
    EventKind::ChatPresence,
    EventKind::ContactUpdate,
    EventKind::PushNameUpdate,
    EventKind::HistorySync,
    EventKind::StreamReplaced,
    EventKind::TemporaryBan,
    EventKind::ConnectFailure,
    EventKind::PairPasskeyRequest,
    EventKind::PairPasskeyError,
];

/// Takes events from the crate. It is called in the crate's own tasks, so it only passes on.
///
/// The queue has no bound, since dropping what is told would lose receipts, and waiting would stop the socket: what is in it is
/// bounded by what the platform sends while the store is slow. Messages are not in it: they wait in [`crate::hook`], unacknowledged.
pub(crate) struct Listener {
    pub(crate) acks: Arc<Acks>,
    /// Pieces of history so far.
    pub(crate) handed: Arc<AtomicU64>,
    pub(crate) told: mpsc::UnboundedSender<Told>,
}

impl EventHandler for Listener {
    fn handle_event(&self, event: Arc<Event>) {
        match &*event {
            Event::ServerAck(ack) => self.acks.arrived(ack),
            // Told and acknowledged already.
            Event::Messages(batch) if batch.hook_committed => {}
            Event::HistorySync(_) => {
                self.handed.fetch_add(1, Ordering::AcqRel);
                drop(self.told.send(Told::Event(event)));
            }
            // After the line is gone nobody listens.
            _ => drop(self.told.send(Told::Event(event))),
        }
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(WANTED)
    }
}
