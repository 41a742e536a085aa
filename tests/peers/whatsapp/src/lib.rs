//! A fake of the WhatsApp Web server, with a simulated phone for each account.
//!
//! It speaks the real protocol with real cryptography: the Noise handshake, binary stanzas, Signal sessions between the phones
//! and every linked device, encrypted media. Only the certificate chain is not signed by who it should be, so clients must be
//! built with `danger-skip-cert-chain-verify`. What phones and network do is asked for over HTTP; `README.md` describes that.
//!
//! Everything is in memory and lives as long as the process: clients may come and go, restart, and find their account as it was.

mod app_state;
mod clock;
mod companion;
mod content;
mod control;
mod device;
mod dispatch;
mod group;
mod history;
mod inbound;
mod iq;
mod keys;
mod login;
mod media;
mod noise;
mod outbound;
mod pairing;
mod phone;
mod presence;
mod receipts;
mod socket;
mod stanza;
mod state;
mod stats;
mod topology;
mod unlink;
mod world;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::world::World;

/// A running fake. It ends when this is dropped.
pub struct Fake {
    /// Where the Web socket is: `ws://{socket}/ws/chat`, any path.
    pub socket: SocketAddr,
    /// Where the control API and the media are: `http://{control}`.
    pub control: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Fake {
    /// Starts the fake on two addresses; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// When one of the addresses cannot be bound.
    pub async fn start(socket: SocketAddr, control: SocketAddr) -> Result<Self> {
        let socket = TcpListener::bind(socket).await.with_context(|| format!("binding {socket}"))?;
        let control = TcpListener::bind(control).await.with_context(|| format!("binding {control}"))?;
        let (socket_addr, control_addr) = (socket.local_addr()?, control.local_addr()?);
        let world = World::new(control_addr);
        Ok(Self {
            socket: socket_addr,
            control: control_addr,
            tasks: vec![
                tokio::spawn(socket::serve(world.clone(), socket)),
                tokio::spawn(control::serve(world, control)),
            ],
        })
    }

    /// Waits until the fake ends, which it does not do by itself.
    pub async fn wait(mut self) {
        for task in std::mem::take(&mut self.tasks) {
            task.await.ok();
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
