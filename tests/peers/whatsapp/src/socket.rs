//! The Web socket: WebSocket messages carry length-prefixed frames; after the Noise handshake a frame is one stanza.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use buffa::Message as _;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use wacore_binary::Node;
use wacore_binary::consts::WA_CONN_HEADER;
use wacore_noise::NoiseCipher;
use wacore_noise::framing::{FrameDecoder, encode_frame};
use waproto::whatsapp::ClientPayload;

use crate::noise::{Established, FirstAnswer};
use crate::state::{Conn, ConnId, Out, Peer};
use crate::world::Shared;
use crate::{dispatch, login, pairing};

/// A client that does not finish its handshake by then is cut off.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// So long a client may take to close after us.
const LINGER: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<TcpStream>;

/// Accepts connections for ever.
pub(crate) async fn serve(world: Shared, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: let connections end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let outage = world.state().outage(None).map(|cut| (cut.silent, cut.until));
        match outage {
            None => {}
            Some((false, _)) => continue,
            Some((true, until)) => {
                tokio::spawn(async move {
                    tokio::time::sleep_until(until.into()).await;
                    drop(stream);
                });
                continue;
            }
        }
        let world = world.clone();
        tokio::spawn(async move {
            if let Err(error) = connection(&world, stream).await {
                tracing::debug!("a connection ended: {error:#}");
            }
        });
    }
}

async fn connection(world: &Shared, stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    // Hundreds of connections share this process: small buffers.
    let config = WebSocketConfig::default().read_buffer_size(4 * 1024).write_buffer_size(0);
    let (socket, established) = tokio::time::timeout(HANDSHAKE_TIMEOUT, async {
        let socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
        handshake(world, socket).await
    })
    .await
    .map_err(|_| anyhow!("the handshake took too long"))??;
    let Handshaken { session, decoder, resumed } = established;
    let payload = ClientPayload::decode_from_slice(&session.payload).context("the client's payload")?;

    let (sink, source) = socket.split();
    let (outbox, queue) = unbounded_channel();
    let (writes, written) = oneshot::channel::<()>();
    let conn = world.state().next_number();
    let writer = tokio::spawn({
        let world = world.clone();
        async move {
            write(&world, conn, sink, session.write, queue).await;
            // Aborted, it never comes here: the reader hears that as well. It may be gone already.
            writes.send(()).ok();
        }
    });
    {
        let mut state = world.state();
        state.stats.handshakes += 1;
        state.stats.resumed += u64::from(resumed);
        let peer = peer_of(&payload, session.client_static)?;
        if let Peer::Device { pn, .. } = &peer
            && state.outage(Some(pn)).is_some()
        {
            writer.abort();
            return Ok(());
        }
        state.conns.insert(conn, Conn { outbox, peer, abort: writer.abort_handle() });
        match &payload.device_pairing_data.as_option() {
            Some(_) => pairing::offer_refs(&mut state, conn),
            None => login::login(&mut state, conn, &session.client_static),
        }
    }

    let outcome = read(world, conn, source, session.read, decoder, written).await;
    forget(world, conn);
    // The writer ends by itself: nobody holds its outbox any more.
    outcome
}

/// Who speaks, by its payload: one that brings pairing data wants to be linked.
fn peer_of(payload: &ClientPayload, client_static: [u8; 32]) -> Result<Peer> {
    if let Some(data) = payload.device_pairing_data.as_option() {
        return Ok(Peer::Registering(Box::new(pairing::Registration::read(data, client_static)?)));
    }
    let (Some(username), Some(device)) = (payload.username, payload.device) else {
        return Err(anyhow!("a payload with neither pairing data nor user"));
    };
    Ok(Peer::Device { pn: username.to_string(), device: u16::try_from(device)? })
}

struct Handshaken {
    session: Established,
    decoder: FrameDecoder,
    resumed: bool,
}

async fn handshake(world: &Shared, mut socket: Socket) -> Result<(Socket, Handshaken)> {
    let mut decoder = FrameDecoder::new();
    let mut header_seen = false;
    let hello = next_frame(&mut socket, &mut decoder, &mut header_seen).await?;
    match world.identity.answer(&hello)? {
        FirstAnswer::Established { reply, session } => {
            send_frame(&mut socket, &reply).await?;
            Ok((socket, Handshaken { session, decoder, resumed: true }))
        }
        FirstAnswer::AwaitFinish { reply, pending } => {
            send_frame(&mut socket, &reply).await?;
            let finish = next_frame(&mut socket, &mut decoder, &mut header_seen).await?;
            Ok((socket, Handshaken { session: pending.finish(&finish)?, decoder, resumed: false }))
        }
    }
}

async fn next_frame(socket: &mut Socket, decoder: &mut FrameDecoder, header_seen: &mut bool) -> Result<Vec<u8>> {
    loop {
        if let Some(frame) = decoder.decode_frame() {
            return Ok(frame.to_vec());
        }
        match socket.next().await {
            Some(Ok(Message::Binary(data))) => {
                if *header_seen {
                    decoder.feed(&data);
                } else {
                    decoder.feed(
                        data.strip_prefix(&WA_CONN_HEADER)
                            .ok_or_else(|| anyhow!("the connection does not begin with WA"))?,
                    );
                    *header_seen = true;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(anyhow!("closed during the handshake")),
        }
    }
}

async fn send_frame(socket: &mut Socket, payload: &[u8]) -> Result<()> {
    socket.send(Message::Binary(encode_frame(payload, None)?.into())).await?;
    Ok(())
}

/// Encrypts and writes what is queued, until the queue or the connection ends.
async fn write(
    world: &Shared,
    conn: ConnId,
    mut sink: SplitSink<Socket, Message>,
    cipher: NoiseCipher,
    mut queue: UnboundedReceiver<Out>,
) {
    let mut counter = 0;
    while let Some(out) = queue.recv().await {
        wait_out_silence(world, conn).await;
        let node = match out {
            Out::Node(node) => node,
            Out::Close => break,
        };
        tracing::trace!("-> {node:?}");
        let frame = wacore_binary::marshal(&node)
            .map_err(anyhow::Error::from)
            .and_then(|plain| Ok(cipher.encrypt_with_counter(counter, &plain)?))
            .and_then(|secret| encode_frame(&secret, None));
        counter += 1;
        match frame {
            Ok(frame) => {
                if sink.send(Message::Binary(frame.into())).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!("a stanza could not be written: {error:#}"),
        }
    }
    sink.close().await.ok();
}

async fn read(
    world: &Shared,
    conn: ConnId,
    mut source: SplitStream<Socket>,
    cipher: NoiseCipher,
    mut decoder: FrameDecoder,
    mut written: oneshot::Receiver<()>,
) -> Result<()> {
    let mut counter = 0;
    loop {
        while let Some(mut frame) = decoder.decode_frame() {
            wait_out_silence(world, conn).await;
            cipher.decrypt_in_place_with_counter(counter, &mut frame)?;
            counter += 1;
            let stanza = decode(&frame)?;
            tracing::trace!("<- {stanza:?}");
            dispatch::stanza(world, conn, &stanza);
        }
        tokio::select! {
            message = source.next() => match message {
                Some(Ok(Message::Binary(data))) => decoder.feed(&data),
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            },
            outcome = &mut written => {
                if outcome.is_ok() {
                    forget(world, conn);
                    linger(source).await;
                }
                return Ok(());
            }
        }
    }
}

/// Reads what the client still says after we closed: a socket closed with unread input would take our last words with it.
async fn linger(mut source: SplitStream<Socket>) {
    let rest = async { while let Some(Ok(_)) = source.next().await {} };
    tokio::time::timeout(LINGER, rest).await.ok();
}

/// Returns when the network lets something through.
async fn wait_out_silence(world: &Shared, conn: ConnId) {
    loop {
        let until = world.state().silent_until(conn);
        match until {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => return,
        }
    }
}

fn decode(frame: &[u8]) -> Result<Node> {
    let data = wacore_binary::util::unpack(frame)?;
    Ok(wacore_binary::marshal::unmarshal_ref(&data)?.to_owned())
}

/// Removes a connection that ended.
fn forget(world: &Shared, conn: ConnId) {
    let mut state = world.state();
    state.refs.retain(|_, owner| *owner != conn);
    state.codes.retain(|_, pairing| pairing.conn != conn);
    if let Some(Conn { peer: Peer::Device { pn, device }, .. }) = state.conns.remove(&conn) {
        login::gone(&mut state, &pn, device, conn);
    }
}
