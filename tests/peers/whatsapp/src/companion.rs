//! What a phone does for a device that was just linked: it shares the key of the app state and says its name.

use anyhow::Result;
use buffa::MessageField;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::{AppStateSyncKeyShare, ProtocolMessage, protocol_message};

use crate::outbound::{self, Peerwise};
use crate::state::State;

/// Queues the first messages of the phone for its new device.
pub(crate) fn welcome(state: &mut State, pn: &str, device: u16) -> Result<()> {
    share_app_state_key(state, pn, device)
}

/// Sends the key of the app state to a device of the same account.
pub(crate) fn share_app_state_key(state: &mut State, pn: &str, device: u16) -> Result<()> {
    let key = state.phone(pn)?.app_state.key();
    let message = protocol(ProtocolMessage {
        r#type: Some(protocol_message::Type::AppStateSyncKeyShare),
        app_state_sync_key_share: MessageField::some(AppStateSyncKeyShare { keys: vec![key] }),
        ..Default::default()
    });
    outbound::to_own_device(state, pn, device, &message, Peerwise::default())?;
    Ok(())
}

/// A message that only carries protocol traffic.
pub(crate) fn protocol(message: ProtocolMessage) -> wa::Message {
    wa::Message { protocol_message: MessageField::some(message), ..Default::default() }
}
