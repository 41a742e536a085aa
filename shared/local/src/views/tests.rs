//! The views over rows that the real domain writes: what they show, what they never show, and that `VIEWS.md` lists it all.

mod shown;

use std::sync::Arc;

use rusqlite::{Connection, types::ValueRef};
use serde_json::{Map, Value, json};
use shared::{
    address::Platform,
    app::{self, App, AppState, Parts},
    capability::Transport,
    clock::{Millis, SystemClock},
    config::{Config, Source},
    domain::{
        access::scoped_key::{self, NewKey},
        access::{Caller, Grant},
        content::Content,
        endpoint::{WEBHOOK, Webhook},
        event,
        instance::{self, Instance, Mode, Qr, Status},
        message::{self, Message},
        user::{self, NewUser, Role, User},
    },
    id::{InstanceId, KeyId, UserId},
    redact::Secret,
    store::{Item, Unit, Write, keys, meter::Meter},
    webhook::{self, Attempt, Delivery, Outcome},
};

use super::VIEWS;
use crate::{Sqlite, file};

/// Part of every secret that the rows hold in clear.
const HUSH: &str = "hush";
const NOON: Millis = Millis(1_672_574_400_000);
const NOON_ISO: &str = "2023-01-01T12:00:00.000Z";
const INSTANCE: &str = "01k0000000abcdef";
const ALICE: &str = "79001234567@s.whatsapp.net";
const GROUP: &str = "1234567890@g.us";

struct Home {
    app: AppState,
    folder: tempfile::TempDir,
}

impl Home {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = format!("ENCRYPTION_KEY = '{HUSH} for this test'");
        let mut config = Config::load(&Source::new(Some(&settings)).expect("reads")).expect("loads");
        config.data_dir = folder.path().to_owned();
        let (clock, meter) = (Arc::new(SystemClock::default()), Arc::new(Meter::default()));
        let sqlite = Sqlite::open(folder.path(), clock.clone(), meter.clone()).expect("opens");
        let media = app::local_media(&config).expect("a folder");
        let parts = Parts { store: sqlite.clone(), queues: sqlite, media, clock, meter, realtime: None, secrets: None };
        Self { app: App::build(config, parts).await.expect("builds"), folder }
    }

    /// As another program reads it.
    fn look(&self) -> Connection {
        file::open_reader(&file::path(self.folder.path())).expect("opens")
    }

    async fn write(&self, writes: Vec<Write>) {
        self.app.store.commit(Unit { writes, ..Unit::default() }).await.expect("writes");
    }

    async fn user(&self) -> User {
        let new = NewUser {
            id: Some(UserId::new("01k0000000000001")),
            email: "Alice@example.com".into(),
            username: None,
            password: Secret::new(format!("{HUSH} password")),
            first_name: "Alice".into(),
            last_name: String::new(),
            role: Role::Admin,
        };
        let user = user::create(&self.app, new, Vec::new()).await.expect("creates");
        let networks = ["127.0.0.0/8".to_owned(), "10.0.0.0/8".to_owned()];
        user::set_allowed_ips(&self.app, &user.id, &networks).await.expect("sets");
        let caller = Caller { user: user.clone(), grant: Grant::Full, credential: "test".into() };
        let key = NewKey {
            id: KeyId::new("01k0000000000002"),
            name: format!("{HUSH} name of a key"),
            instance_ids: None,
            scopes: None,
            expires_at: None,
            allowed_ips: Vec::new(),
        };
        scoped_key::create(&self.app, &caller, key).await.expect("creates");
        user
    }

    fn instance(&self) -> Instance {
        let id = InstanceId::new(INSTANCE);
        let mut webhook = Webhook {
            url: Some(format!("https://example.com:8443/{HUSH}?token={HUSH}")),
            enabled: true,
            events: Some(vec!["message_*".into(), "logout".into()]),
            ..Webhook::default()
        };
        webhook.rotate(&self.app, &id, &format!("{HUSH} secret")).expect("seals");
        Instance {
            v: instance::VERSION,
            user_id: UserId::new("01k0000000000001"),
            platform: Platform::Whatsapp,
            transport: Transport::Web,
            mode: Mode::Sandbox,
            name: "main".into(),
            description: None,
            shard: 3,
            created_at: NOON,
            updated_at: NOON,
            webhook,
            forwarders: Vec::new(),
            // In clear, so that showing them would be noticed.
            credentials: Some(format!("{HUSH} credentials")),
            proxy: Some(format!("{HUSH} proxy")),
            limits: None,
            watched_until: None,
            reconnect_asked_at: None,
            imported_by: None,
            deleting: false,
            epoch: 1,
            status: Status::QrReceived,
            reason: None,
            status_at: NOON,
            paired: false,
            address: Some(ALICE.into()),
            aliases: Vec::new(),
            account_name: None,
            qr: Some(Qr { code: format!("{HUSH} code"), at: NOON }),
            last_seen_at: None,
            history_sync: None,
            restriction: None,
            id,
        }
    }
}

/// A received text of the group.
fn message(app: &App, pmid: &str, content: Content) -> Message {
    let instance = InstanceId::new(INSTANCE);
    Message {
        v: 1,
        id: message::foreign_public_id(NOON, &instance, pmid),
        chat: shared::id::ChatKey::new(app.keyring.index("chat", GROUP)),
        sender_hash: app.keyring.index("address", ALICE),
        pmid: pmid.into(),
        platform_id: None,
        remote_jid: GROUP.into(),
        from_me: false,
        is_group: true,
        sender: ALICE.into(),
        push_name: Some("Alice".into()),
        quoted: None,
        kind: content.kind().to_owned(),
        content,
        body: None,
        status: message::Status::Received,
        rank: message::Status::Received.rank(),
        status_at: NOON,
        reason: None,
        at: NOON,
        updated_at: NOON,
        as_sent: None,
        send_at: None,
        api_call: false,
        counted: false,
        attempting: None,
        edited: false,
        revoked: false,
        reactions: Map::new(),
        instance_id: instance,
    }
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

/// All rows of a view, as JSON objects.
fn rows(conn: &Connection, view: &str) -> Vec<Map<String, Value>> {
    let mut statement = conn.prepare(&format!("SELECT * FROM {view}")).expect("prepares");
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let values = names.iter().enumerate().map(|(index, name)| {
            let value = match row.get_ref(index)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => number.into(),
                ValueRef::Real(number) => number.into(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                ValueRef::Blob(_) => "a blob".into(),
            };
            Ok((name.clone(), value))
        });
        values.collect::<rusqlite::Result<_>>()
    });
    rows.expect("queries").collect::<rusqlite::Result<_>>().expect("reads")
}

/// The one row whose column has this value.
fn row(conn: &Connection, view: &str, column: &str, value: &str) -> Value {
    let mut found: Vec<_> = rows(conn, view).into_iter().filter(|row| row[column] == value).collect();
    assert_eq!(found.len(), 1, "{view} where {column} = {value}");
    found.remove(0).into()
}

/// Fails unless the row has these values; other columns may have any.
#[track_caller]
fn has(row: &Value, wanted: Value) {
    let Value::Object(wanted) = wanted else { panic!("an object is wanted") };
    for (column, value) in wanted {
        assert_eq!(row.get(&column), Some(&value), "{column} of {row}");
    }
}

fn delivery(seq: u64, status: webhook::Status) -> Delivery {
    let attempt = |outcome, status_code, answer: String| Attempt {
        at: Millis(NOON.0 + 1),
        outcome,
        status_code,
        duration_ms: 12,
        answer,
    };
    Delivery {
        v: 1,
        id: format!("20230101-{seq:012}-{WEBHOOK}"),
        instance_id: InstanceId::new(INSTANCE),
        endpoint: WEBHOOK.into(),
        event_id: event::event_id(&InstanceId::new(INSTANCE), seq),
        seq: Some(seq),
        event: "message_received".into(),
        event_at: NOON,
        status,
        attempts: vec![
            attempt(Outcome::Timeout, None, String::new()),
            attempt(Outcome::ServerError, Some(503), format!("{HUSH} answer")),
        ],
        tries: 2,
        since: NOON,
        url: "https://example.com".into(),
        next_attempt_at: None,
        created_at: NOON,
        updated_at: NOON,
    }
}

fn delivery_item(delivery: &Delivery) -> Item {
    let key = keys::delivery(&delivery.instance_id, delivery.event_at, delivery.seq.unwrap_or(0), &delivery.endpoint);
    let order = format!("{}{}", delivery.event_at.digits(), key.sk);
    let item = Item::new(key, delivery).expect("an item");
    match delivery.status {
        webhook::Status::Delivered => item,
        status => item.indexed(keys::deliveries_in(&delivery.instance_id, status.name()), order),
    }
}

#[tokio::test]
async fn no_view_shows_a_secret() {
    let home = Home::new().await;
    let user = home.user().await;
    let instance = home.instance();
    let sealed = instance.webhook.secrets[0].sealed.clone();
    home.write(vec![
        Write::put(instance::item(&instance).expect("an item")),
        Write::put(delivery_item(&delivery(7, webhook::Status::Dead))),
    ])
    .await;
    home.write(message(&home.app, "P1", text("hello")).creates("x").expect("items")).await;
    // Partitions that no view reads.
    for key in [
        keys::job(&shared::id::JobId::new("j")),
        keys::idempotency(&user.id, "h"),
        shared::store::Key::new(keys::session(&instance.id), "s"),
    ] {
        home.write(vec![Write::put(Item::new(key, &json!({ "v": HUSH })).expect("an item"))]).await;
    }
    let stored = user::find(&home.app, &user.id).await.expect("reads").expect("is there");
    let hidden = [
        HUSH.to_owned(),
        sealed,
        stored.password_hash.reveal().to_owned(),
        user.api_key(&home.app).reveal().to_owned(),
    ];
    let conn = home.look();
    for view in VIEWS {
        for row in rows(&conn, view.name) {
            for (column, value) in row {
                let text = value.to_string();
                assert!(!hidden.iter().any(|secret| text.contains(secret.as_str())), "{}.{column}: {text}", view.name);
            }
        }
        for (column, _) in view.columns {
            let suspect =
                ["secret", "token", "password", "hash", "_key", "sealed"].iter().any(|word| column.contains(word));
            assert!(!suspect, "{}.{column}", view.name);
        }
    }
}

#[tokio::test]
async fn views_read_their_partition_only() {
    let home = Home::new().await;
    let conn = home.look();
    for view in VIEWS {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN SELECT * FROM {}", view.name)).expect("prepares");
        let steps = statement.query_map([], |row| row.get::<_, String>(3)).expect("explains");
        let steps: Vec<String> = steps.collect::<rusqlite::Result<_>>().expect("reads");
        let table = |step: &&String| {
            ["items", "head", "body", "meta", "owner", "log", "folded", "grp", "member"]
                .iter()
                .any(|name| step.split(' ').nth(1) == Some(name))
        };
        let reads: Vec<_> = steps.iter().filter(table).collect();
        assert!(!reads.is_empty(), "{}: {steps:?}", view.name);
        assert!(reads.iter().all(|step| step.contains("USING PRIMARY KEY (pk")), "{}: {steps:?}", view.name);
    }
}

#[tokio::test]
async fn the_documentation_lists_what_there_is() {
    let text = include_str!("../../VIEWS.md");
    let mut documented: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## `") {
            documented.push((name.trim_end_matches('`'), Vec::new()));
        } else if let (Some(rest), Some((_, columns))) = (line.strip_prefix("| `"), documented.last_mut()) {
            columns.push(rest.split('`').next().unwrap_or_default());
        }
    }
    let home = Home::new().await;
    let conn = home.look();
    let mut there = Vec::new();
    for view in VIEWS {
        let statement = conn.prepare(&format!("SELECT * FROM {}", view.name)).expect("prepares");
        there.push((view.name, statement.column_names().map(str::to_owned).collect::<Vec<_>>()));
    }
    let documented: Vec<_> = documented
        .into_iter()
        .map(|(name, columns)| (name, columns.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(documented, there);
}
