//! The foreign client: `whatsapp-rust` over its own in-memory storage, pointed at the fake.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use wacore::store::InMemoryBackend;
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use whatsapp_rust::bot::{Bot, BotHandle, EventDelivery};
use whatsapp_rust::client::Client;
use whatsapp_rust::http::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::types::events::{Event, InboundMessage};
use whatsapp_rust::{InboundDurabilityHook, TokioRuntime};

use crate::bed::waited;
use crate::control::{Server, agent};

/// How a client is set up.
#[derive(Default)]
pub(crate) struct Options {
    /// Ask for a pairing code for this number.
    pub(crate) code_for: Option<String>,
    /// Messages are only taken over (and acknowledged) while this is true.
    pub(crate) durable: Option<Arc<AtomicBool>>,
}

/// A storage that fails on demand.
struct Durable(Arc<AtomicBool>);

#[async_trait]
impl InboundDurabilityHook for Durable {
    async fn on_messages(&self, _client: Arc<Client>, _batch: &[InboundMessage]) -> Result<(), anyhow::Error> {
        if self.0.load(Ordering::SeqCst) { Ok(()) } else { Err(anyhow::anyhow!("the storage is not available")) }
    }
}

/// One process of a client, so to speak: dropping it is a crash, and another one can go on with its storage.
pub(crate) struct Device {
    handle: Option<BotHandle>,
    pub(crate) client: Arc<Client>,
    pub(crate) storage: Arc<InMemoryBackend>,
    events: Arc<Mutex<Vec<Arc<Event>>>>,
}

impl Device {
    /// Starts a client over its storage.
    pub(crate) async fn start(server: &Server, storage: Arc<InMemoryBackend>) -> Self {
        Self::start_with(server, storage, Options::default()).await
    }

    pub(crate) async fn start_with(server: &Server, storage: Arc<InMemoryBackend>, options: Options) -> Self {
        let events: Arc<Mutex<Vec<Arc<Event>>>> = Arc::default();
        let seen = events.clone();
        let mut builder = Bot::builder()
            .with_backend_arc(storage.clone())
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(server.socket_url()))
            .with_http_client(PlainHttp(agent()))
            .with_runtime(TokioRuntime)
            .with_version((2, 3000, 1_030_000_000))
            .with_wanted_pre_key_count(30)
            .with_event_delivery(EventDelivery::Ordered { capacity: 10_000 })
            .on_event(move |event, _client| {
                seen.lock().expect("no panic").push(event);
                async {}
            });
        if let Some(phone) = options.code_for {
            builder = builder.with_pair_code(PairCodeOptions { phone_number: phone, ..Default::default() });
        }
        if let Some(gate) = options.durable {
            builder = builder.with_inbound_durability_hook(Durable(gate));
        }
        let bot = builder.build().await.expect("the client can be built");
        let client = bot.client();
        Self { handle: Some(bot.spawn()), client, storage, events }
    }

    /// A fresh client, linked to `phone` by QR and fully connected.
    pub(crate) async fn linked(server: &Server, phone: &str) -> Self {
        let device = Self::start(server, Arc::new(InMemoryBackend::new())).await;
        let qr = device.qr().await;
        server.post(&format!("/phones/{phone}/scan"), serde_json::json!({ "qr": qr })).await;
        device.connected().await;
        device
    }

    pub(crate) async fn qr(&self) -> String {
        self.event("a QR", |event| match event {
            Event::PairingQrCode(qr) => Some(qr.code.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn connected(&self) {
        self.event("to be connected", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    }

    /// Waits for the first event that `look` finds something in.
    pub(crate) async fn event<T>(&self, what: &str, look: impl Fn(&Event) -> Option<T>) -> T {
        let found = waited(|| std::future::ready(self.look(&look))).await;
        found.unwrap_or_else(|| panic!("waited in vain for {what}; seen: {}", self.names().join(" ")))
    }

    fn look<T>(&self, look: &impl Fn(&Event) -> Option<T>) -> Option<T> {
        let events = self.events.lock().expect("no panic");
        events.iter().find_map(|event| look(event))
    }

    fn names(&self) -> Vec<String> {
        let events = self.events.lock().expect("no panic");
        events.iter().map(|event| format!("{:?}", event.kind())).collect()
    }

    /// The first message that arrived with this text.
    pub(crate) async fn text(&self, text: &str) -> InboundMessage {
        self.message(&format!("the text {text:?}"), |message| message.conversation.as_deref() == Some(text)).await
    }

    /// The first message that arrived and fits.
    pub(crate) async fn message(&self, what: &str, fits: impl Fn(&wa::Message) -> bool) -> InboundMessage {
        self.event(what, |event| match event {
            Event::Messages(batch) => batch.iter().find(|inbound| fits(&inbound.message)).cloned(),
            _ => None,
        })
        .await
    }

    /// All texts that arrived, in the order of arrival.
    pub(crate) fn texts(&self) -> Vec<String> {
        let events = self.events.lock().expect("no panic");
        events
            .iter()
            .filter_map(|event| match &**event {
                Event::Messages(batch) => Some(batch),
                _ => None,
            })
            .flat_map(|batch| batch.iter())
            .filter_map(|inbound| inbound.message.conversation.clone())
            .collect()
    }

    /// Sends a message to a phone number or group.
    pub(crate) async fn send(&self, to: &Jid, message: wa::Message) -> String {
        self.client.send_message(to.clone(), message).await.expect("sent").message_id
    }

    /// Sends a text.
    pub(crate) async fn say(&self, to: &Jid, text: &str) -> String {
        self.send(to, wa::Message { conversation: Some(text.to_owned()), ..Default::default() }).await
    }

    /// Ends the client without a word, as a crash does.
    pub(crate) fn crash(mut self) -> Arc<InMemoryBackend> {
        if let Some(handle) = self.handle.take() {
            handle.abort();
        }
        self.storage.clone()
    }

    /// Ends the client properly.
    pub(crate) async fn stop(mut self) -> Arc<InMemoryBackend> {
        if let Some(handle) = self.handle.take() {
            handle.shutdown().await;
        }
        self.storage.clone()
    }
}

/// Media over plain HTTP: the client only knows `https`, the fake only loopback without TLS.
struct PlainHttp(ureq::Agent);

#[async_trait]
impl HttpClient for PlainHttp {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse, anyhow::Error> {
        let agent = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let url = request.url.replacen("https://", "http://", 1);
            let mut answer = if request.method == "POST" {
                agent.post(&url).send(request.body.unwrap_or_default().as_ref())?
            } else {
                agent.get(&url).call()?
            };
            Ok(HttpResponse {
                status_code: answer.status().as_u16(),
                body: answer.body_mut().with_config().limit(256 * 1024 * 1024).read_to_vec()?,
            })
        })
        .await?
    }
}
