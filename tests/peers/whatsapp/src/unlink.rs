//! The end of a link: from the phone, or asked for by the device.

use anyhow::{Result, bail};

use crate::state::State;
use crate::{login, topology};

/// The phone removes a linked device: its connection ends, and its next login is refused.
pub(crate) fn unlink(state: &mut State, pn: &str, device: u16) -> Result<()> {
    if !state.phone(pn)?.devices.contains_key(&device) {
        bail!("{pn} has no device {device}");
    }
    login::end(state, pn, device, login::conflict("device_removed"));
    forget_device(state, pn, device);
    Ok(())
}

/// Removes a device from its account; its connection, if any, stays until it is ended.
pub(crate) fn forget_device(state: &mut State, pn: &str, device: u16) {
    let removed = state.phones.get_mut(pn).and_then(|phone| phone.devices.remove(&device));
    if let Some(removed) = removed {
        topology::tell_of_device(state, pn, device, removed.key_index, false);
    }
    for phone in state.phones.values_mut() {
        for holders in phone.key_holders.values_mut() {
            holders.remove(&(pn.to_owned(), device));
        }
    }
}
