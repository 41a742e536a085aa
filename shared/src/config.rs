//! Configuration: environment first, then `trunkline.toml`, then defaults. One structure, checked at start; every variable is
//! documented in [`TABLE`], which the README's table is held against.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    domain::forwarder::Format,
    error::{Error, Result},
    redact::Secret,
};

mod whatsapp;

pub use whatsapp::{History, IncomingMedia, Pace, Whatsapp};

/// Where state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    Sqlite,
    DynamoDb,
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    Open,
    Closed,
    Invite,
}

/// Who may use the routes of seed 000, where the default (open in open mode, else credentials) is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThirdPartyAuth {
    /// Everybody, from everywhere.
    Off,
    /// Only who has credentials, in open mode, too.
    Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// At most `requests` in each `window` per credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub requests: u32,
    pub window: Duration,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    /// Without a slash at the end.
    pub public_url: Option<String>,
    /// Where the WebSocket is, if it has an address of its own.
    pub public_ws_url: Option<String>,
    /// Where the gateway that holds the sockets is told what to send, without a slash at the end.
    pub websocket_management_url: Option<String>,
    pub store: StoreKind,
    pub table: String,
    pub queue_prefix: String,
    pub media_url: Option<String>,
    pub admin_email: Option<String>,
    pub admin_password: Option<Secret>,
    pub admin_api_key: Option<Secret>,
    pub admin_first_name: String,
    pub admin_last_name: String,
    /// Newest first, separated by commas.
    pub jwt_secret: Option<Secret>,
    pub encryption_key: Option<Secret>,
    /// The one before, while it is being exchanged.
    pub encryption_key_old: Option<Secret>,
    pub registration: Option<Registration>,
    pub third_party_auth: Option<ThirdPartyAuth>,
    pub rate_limit: Option<RateLimit>,
    pub log_format: Option<LogFormat>,
    pub cors_origins: Vec<String>,
    pub outbound_allow: Option<String>,
    pub worker_shards: u16,
    /// Open WebSockets of this process at the most.
    pub ws_max_connections: usize,
    /// What synchronisation clients (seed 003) show as `X-App-Key` and `X-App-Secret`.
    pub juhe_app: Option<(Secret, Secret)>,
    /// What callbacks must carry as `?token=`.
    pub juhe_callback_token: Option<Secret>,
    /// Whether callbacks of unknown devices register them; by default in open mode.
    pub juhe_auto_register: Option<bool>,
    /// Where the deployment's WeCom group robot is called, key included.
    pub wecom_robot: Option<Secret>,
    /// Where WhatsApp's Cloud API is, without a slash at the end.
    pub whatsapp_cloud_url: String,
    pub whatsapp: Whatsapp,
}

const WHATSAPP_CLOUD: &str = "https://graph.facebook.com";
const WHATSAPP: [(&str, &str, &str); 6] = whatsapp::TABLE;

/// Name, default as documented, meaning. The order of the README's table.
pub const TABLE: &[(&str, &str, &str)] = &[
    ("LISTEN_ADDR", "127.0.0.1:8070", "Address and port of the HTTP server."),
    ("DATA_DIR", "./data", "Folder of the database, the media and the generated keys."),
    ("PUBLIC_URL", "http://LISTEN_ADDR", "Where clients reach the server; used in links."),
    (
        "PUBLIC_WS_URL",
        "PUBLIC_URL as ws://…/ws",
        "Where clients reach the WebSocket, if that is another address: API Gateway's.",
    ),
    (
        "WEBSOCKET_MANAGEMENT_URL",
        "none",
        "On AWS: where the functions `realtime` and `run-jobs` reach API Gateway's open WebSockets.",
    ),
    ("STORE", "sqlite", "`sqlite` or `dynamodb`."),
    ("QUEUE", "as STORE", "`sqlite` with STORE=sqlite, `sqs` with STORE=dynamodb."),
    ("TABLE_NAME", "trunkline", "DynamoDB table."),
    ("QUEUE_PREFIX", "trunkline-", "Prefix of the SQS queue names."),
    ("MEDIA_URL", "DATA_DIR/media", "`file:///path` or `s3://bucket/prefix`."),
    ("ADMIN_EMAIL", "admin@example.com", "E-mail of the first administrator, made at the first start."),
    ("ADMIN_PASSWORD", "generated, printed once", "Password of the first administrator."),
    ("ADMIN_API_KEY", "derived", "An additional API key of the first administrator."),
    ("ADMIN_FIRST_NAME", "empty", "First name of the first administrator."),
    ("ADMIN_LAST_NAME", "empty", "Last name of the first administrator."),
    ("JWT_SECRET", "generated", "Secrets that sign tokens, newest first, separated by commas."),
    (
        "ENCRYPTION_KEY",
        "DATA_DIR/encryption.key",
        "Wraps the keys that encrypt credentials at rest. At least 16 characters.",
    ),
    ("ENCRYPTION_KEY_OLD", "none", "The key before, while `ENCRYPTION_KEY` is being exchanged."),
    (
        "SECRETS_ID",
        "none",
        "On AWS: name or ARN of the secret in Secrets Manager whose JSON object holds settings that the environment does not.",
    ),
    ("REGISTRATION", "open in open mode, else closed", "`open`, `closed` or `invite`."),
    (
        "THIRD_PARTY_AUTH",
        "open in open mode, else credentials",
        "`off`: `/third-party` needs no credentials, wherever it is reached from; `key`: always.",
    ),
    ("RATE_LIMIT", "off", "`off` or `<requests>/<seconds>` per credential."),
    ("LOG_FORMAT", "pretty on a terminal, else json", "`pretty` or `json`."),
    ("CORS_ORIGINS", "none", "Origins that browsers may call from, separated by commas, or `*`."),
    (
        "OUTBOUND_ALLOW",
        "loopback in open mode, else nothing",
        "Networks that user-given URLs may reach beside public ones: `loopback`, `private`, CIDRs, host names, separated by commas.",
    ),
    (
        "WECOM_ROBOT_KEY",
        "none",
        "Key of the WeCom group robot that `POST /api/webhook/wechat` uses for callers without a forwarder.",
    ),
    ("WECOM_ROBOT_URL", "WeCom's", "Where that robot is called, behind a proxy for example; `OUTBOUND_ALLOW` applies."),
    (
        "JUHE_APP_KEY",
        "none",
        "What clients of `/api/contacts`, `/api/messages`, `/api/rooms` and `/api/sync-status` show as `X-App-Key`; then in open mode, too.",
    ),
    ("JUHE_APP_SECRET", "none", "What they show as `X-App-Secret`. Both or neither."),
    ("JUHE_CALLBACK_TOKEN", "none", "What `POST /callback` must carry as `?token=`."),
    (
        "JUHE_AUTO_REGISTER",
        "on in open mode, else off",
        "`on`: the first callback of an unknown device makes an instance for the first administrator.",
    ),
    (
        "WHATSAPP_CLOUD_API_URL",
        "https://graph.facebook.com",
        "Where the Cloud API of WhatsApp is, for accounts of transport `cloud`.",
    ),
    WHATSAPP[0],
    WHATSAPP[1],
    WHATSAPP[2],
    WHATSAPP[3],
    WHATSAPP[4],
    WHATSAPP[5],
    ("WORKER_SHARDS", "1", "Shards that instances are spread over: 1 locally, 8 in the template."),
    ("WS_MAX_CONNECTIONS", "10000", "WebSocket connections at the most; the process needs that many open files."),
];

/// Looks variables up: the environment, or a file behind it.
pub struct Source {
    file: BTreeMap<String, String>,
}

/// The settings that are kept in a secret of Secrets Manager: its name or ARN.
pub fn secrets_id() -> Option<String> {
    std::env::var("SECRETS_ID").ok().filter(|id| !id.is_empty())
}

impl Source {
    /// The environment, then the given TOML text (`KEY = value` at the top level; keys in either case).
    pub fn new(toml_text: Option<&str>) -> Result<Self> {
        let mut file = BTreeMap::new();
        if let Some(text) = toml_text {
            let table: toml::Table =
                text.parse().map_err(|error| Error::invalid("trunkline.toml", format!("trunkline.toml: {error}")))?;
            for (name, value) in table {
                let text = match value {
                    toml::Value::String(text) => text,
                    toml::Value::Array(list) => list
                        .iter()
                        .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                        .collect::<Vec<_>>()
                        .join(","),
                    other => other.to_string(),
                };
                let name = name.to_ascii_uppercase();
                if !TABLE.iter().any(|(known, ..)| *known == name) {
                    return Err(Error::invalid(name.clone(), format!("trunkline.toml: {name} is not a setting")));
                }
                file.insert(name, text);
            }
        }
        Ok(Self { file })
    }

    /// With these settings behind the environment, before the file. Errors: one of them is none.
    pub fn with(mut self, settings: BTreeMap<String, String>) -> Result<Self> {
        if let Some(name) = settings.keys().find(|name| !TABLE.iter().any(|(known, ..)| known == name)) {
            return Err(Error::invalid(name.clone(), format!("{name} is not a setting")));
        }
        self.file.extend(settings);
        Ok(self)
    }

    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| self.file.get(name).cloned()).filter(|text| !text.is_empty())
    }

    fn parse<T: std::str::FromStr>(&self, name: &'static str, default: T, want: &str) -> Result<T> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| Error::invalid(name, format!("{name} must be {want}"))),
        }
    }
}

impl Config {
    /// Reads and checks everything. Errors name the variable and say what is wanted.
    pub fn load(source: &Source) -> Result<Self> {
        let store = match source.get("STORE").as_deref() {
            None | Some("sqlite") => StoreKind::Sqlite,
            Some("dynamodb") => StoreKind::DynamoDb,
            Some(_) => return Err(Error::invalid("STORE", "STORE must be sqlite or dynamodb")),
        };
        match (store, source.get("QUEUE").as_deref()) {
            (_, None) | (StoreKind::Sqlite, Some("sqlite")) | (StoreKind::DynamoDb, Some("sqs")) => {}
            _ => {
                return Err(Error::invalid(
                    "QUEUE",
                    "QUEUE must be sqlite with STORE=sqlite, or sqs with STORE=dynamodb",
                ));
            }
        }
        let registration = match source.get("REGISTRATION").as_deref() {
            None => None,
            Some("open") => Some(Registration::Open),
            Some("closed") => Some(Registration::Closed),
            Some("invite") => Some(Registration::Invite),
            Some(_) => return Err(Error::invalid("REGISTRATION", "REGISTRATION must be open, closed or invite")),
        };
        let third_party_auth = match source.get("THIRD_PARTY_AUTH").as_deref() {
            None => None,
            Some("off") => Some(ThirdPartyAuth::Off),
            Some("key") => Some(ThirdPartyAuth::Key),
            Some(_) => return Err(Error::invalid("THIRD_PARTY_AUTH", "THIRD_PARTY_AUTH must be off or key")),
        };
        let log_format = match source.get("LOG_FORMAT").as_deref() {
            None => None,
            Some("json") => Some(LogFormat::Json),
            Some("pretty") => Some(LogFormat::Pretty),
            Some(_) => return Err(Error::invalid("LOG_FORMAT", "LOG_FORMAT must be json or pretty")),
        };
        let encryption_key = source.get("ENCRYPTION_KEY").map(Secret::new);
        if encryption_key.as_ref().is_some_and(|key| key.reveal().len() < 16) {
            return Err(Error::invalid("ENCRYPTION_KEY", "ENCRYPTION_KEY must have at least 16 characters"));
        }
        let jwt_secret = source.get("JWT_SECRET").map(Secret::new);
        if jwt_secret.as_ref().is_some_and(|all| all.reveal().split(',').any(|secret| secret.trim().len() < 16)) {
            return Err(Error::invalid("JWT_SECRET", "each secret of JWT_SECRET must have at least 16 characters"));
        }
        let admin_password = source.get("ADMIN_PASSWORD").map(Secret::new);
        if admin_password.as_ref().is_some_and(|text| !(8..=200).contains(&text.reveal().chars().count())) {
            return Err(Error::invalid("ADMIN_PASSWORD", "ADMIN_PASSWORD must have 8 to 200 characters"));
        }
        let admin_api_key = source.get("ADMIN_API_KEY").map(Secret::new);
        if admin_api_key.as_ref().is_some_and(|key| key.reveal().len() < 16) {
            return Err(Error::invalid("ADMIN_API_KEY", "ADMIN_API_KEY must have at least 16 characters"));
        }
        let public_url = source.get("PUBLIC_URL").map(|url| url.trim_end_matches('/').to_owned());
        if public_url.as_deref().is_some_and(|url| !is_http(url)) {
            return Err(Error::invalid("PUBLIC_URL", "PUBLIC_URL must be a URL such as https://gateway.example.com"));
        }
        let public_ws_url = source.get("PUBLIC_WS_URL").map(|url| url.trim_end_matches('/').to_owned());
        if public_ws_url.as_deref().is_some_and(|url| !is_url(url, &["ws", "wss"])) {
            return Err(Error::invalid("PUBLIC_WS_URL", "PUBLIC_WS_URL must be a URL such as wss://ws.example.com/ws"));
        }
        let websocket_management_url =
            source.get("WEBSOCKET_MANAGEMENT_URL").map(|url| url.trim_end_matches('/').to_owned());
        if websocket_management_url.as_deref().is_some_and(|url| !is_http(url)) {
            let text =
                "WEBSOCKET_MANAGEMENT_URL must be a URL such as https://id.execute-api.eu-west-1.amazonaws.com/ws";
            return Err(Error::invalid("WEBSOCKET_MANAGEMENT_URL", text));
        }
        let cors_origins: Vec<String> = source
            .get("CORS_ORIGINS")
            .map(|list| list.split(',').map(|origin| origin.trim().to_owned()).filter(|o| !o.is_empty()).collect())
            .unwrap_or_default();
        if cors_origins.iter().any(|origin| origin != "*" && !is_http(origin)) {
            return Err(Error::invalid("CORS_ORIGINS", "CORS_ORIGINS must list origins such as https://example.com"));
        }
        let worker_shards = source.parse("WORKER_SHARDS", 1u16, "a number from 1 to 64")?;
        if !(1..=64).contains(&worker_shards) {
            return Err(Error::invalid("WORKER_SHARDS", "WORKER_SHARDS must be a number from 1 to 64"));
        }
        let juhe_app = match (source.get("JUHE_APP_KEY"), source.get("JUHE_APP_SECRET")) {
            (Some(key), Some(secret)) => Some((Secret::new(key), Secret::new(secret))),
            (None, None) => None,
            (Some(_), None) => return Err(Error::invalid("JUHE_APP_SECRET", "JUHE_APP_KEY needs JUHE_APP_SECRET")),
            (None, Some(_)) => return Err(Error::invalid("JUHE_APP_KEY", "JUHE_APP_SECRET needs JUHE_APP_KEY")),
        };
        let juhe_auto_register = match source.get("JUHE_AUTO_REGISTER").as_deref() {
            None => None,
            Some("on") => Some(true),
            Some("off") => Some(false),
            Some(_) => return Err(Error::invalid("JUHE_AUTO_REGISTER", "JUHE_AUTO_REGISTER must be on or off")),
        };
        let whatsapp_cloud_url = match source.get("WHATSAPP_CLOUD_API_URL") {
            Some(text) if is_http(&text) => text,
            Some(_) => {
                let text = format!("WHATSAPP_CLOUD_API_URL must be a URL such as {WHATSAPP_CLOUD}");
                return Err(Error::invalid("WHATSAPP_CLOUD_API_URL", text));
            }
            None => WHATSAPP_CLOUD.to_owned(),
        };
        let wecom_robot = wecom_robot(source.get("WECOM_ROBOT_KEY"), source.get("WECOM_ROBOT_URL"))?;
        Ok(Self {
            listen: source.parse(
                "LISTEN_ADDR",
                SocketAddr::from(([127, 0, 0, 1], 8070)),
                "an address with a port, such as 127.0.0.1:8070",
            )?,
            data_dir: source.get("DATA_DIR").unwrap_or_else(|| "./data".into()).into(),
            public_url,
            public_ws_url,
            websocket_management_url,
            store,
            table: source.get("TABLE_NAME").unwrap_or_else(|| "trunkline".into()),
            queue_prefix: source.get("QUEUE_PREFIX").unwrap_or_else(|| "trunkline-".into()),
            media_url: source.get("MEDIA_URL"),
            admin_email: source.get("ADMIN_EMAIL"),
            admin_password,
            admin_api_key,
            admin_first_name: source.get("ADMIN_FIRST_NAME").unwrap_or_default(),
            admin_last_name: source.get("ADMIN_LAST_NAME").unwrap_or_default(),
            jwt_secret,
            encryption_key,
            encryption_key_old: source.get("ENCRYPTION_KEY_OLD").map(Secret::new),
            registration,
            third_party_auth,
            rate_limit: source.get("RATE_LIMIT").map_or(Ok(None), |text| rate_limit("RATE_LIMIT", &text))?,
            log_format,
            cors_origins,
            outbound_allow: source.get("OUTBOUND_ALLOW"),
            worker_shards,
            ws_max_connections: source.parse("WS_MAX_CONNECTIONS", 10_000, "a number of connections")?,
            juhe_app,
            juhe_callback_token: source.get("JUHE_CALLBACK_TOKEN").map(Secret::new),
            juhe_auto_register,
            wecom_robot,
            whatsapp_cloud_url: whatsapp_cloud_url.trim_end_matches('/').to_owned(),
            whatsapp: Whatsapp::load(source)?,
        })
    }

    /// Open mode's first half: the server listens on loopback only. The other half is about the request
    /// (`edge::open_mode`).
    pub fn listens_on_loopback(&self) -> bool {
        self.store == StoreKind::Sqlite && self.listen.ip().is_loopback()
    }

    /// Where clients reach us.
    pub fn public_url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listen))
    }

    /// What user-given URLs may reach beside public addresses.
    pub fn outbound_allow(&self) -> &str {
        match &self.outbound_allow {
            Some(list) => list,
            None if self.listens_on_loopback() => "loopback",
            None => "",
        }
    }
}

fn is_http(text: &str) -> bool {
    is_url(text, &["http", "https"])
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    url::Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
}

/// The robot's URL with its key. `base`: another address than WeCom's.
fn wecom_robot(key: Option<String>, base: Option<String>) -> Result<Option<Secret>> {
    let bad =
        || Error::invalid("WECOM_ROBOT_URL", "WECOM_ROBOT_URL must be a URL such as https://proxy.example.com/send");
    let base = base.map(|text| url::Url::parse(&text).ok().filter(|_| is_http(&text)).ok_or_else(bad)).transpose()?;
    let url = key.and_then(|key| Format::Wecom.url_of_key(base.as_ref(), &key));
    Ok(url.map(|url| Secret::new(url.as_str())))
}

fn rate_limit(name: &'static str, text: &str) -> Result<Option<RateLimit>> {
    if text == "off" {
        return Ok(None);
    }
    let bad = || Error::invalid(name, format!("{name} must be off or <number>/<seconds>, such as 600/60"));
    let (requests, seconds) = text.split_once('/').ok_or_else(bad)?;
    let requests: u32 = requests.trim().parse().map_err(|_| bad())?;
    let seconds: u64 = seconds.trim().parse().map_err(|_| bad())?;
    if requests == 0 || seconds == 0 {
        return Err(bad());
    }
    Ok(Some(RateLimit { requests, window: Duration::from_secs(seconds) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> Result<Config> {
        Config::load(&Source::new(Some(toml))?)
    }

    #[test]
    fn the_readme_has_the_table() {
        let readme = include_str!("../../README.md");
        let rows: Vec<String> =
            TABLE.iter().map(|(name, default, meaning)| format!("| `{name}` | {default} | {meaning} |")).collect();
        let listed: Vec<&str> =
            readme.lines().skip_while(|line| *line != rows[0]).take_while(|line| !line.is_empty()).collect();
        assert_eq!(listed, rows);
        assert!(whatsapp::TABLE.iter().all(|setting| TABLE.contains(setting)));
    }

    #[test]
    fn a_file_sets_what_the_environment_does_not() {
        let config = load("rate_limit = '600/60'\nWORKER_SHARDS = 4").expect("loads");
        assert_eq!(config.worker_shards, 4);
        assert_eq!(config.rate_limit, Some(RateLimit { requests: 600, window: Duration::from_secs(60) }));
    }

    #[test]
    fn the_robot_has_a_key_and_an_address() {
        let robot = |toml: &str| load(toml).expect("loads").wecom_robot.map(|url| url.reveal().to_owned());
        assert_eq!(robot(""), None);
        assert_eq!(robot("WECOM_ROBOT_URL = 'http://127.0.0.1:9/send'"), None);
        assert_eq!(
            robot("WECOM_ROBOT_KEY = 'k'").as_deref(),
            Some("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k")
        );
        assert_eq!(
            robot("WECOM_ROBOT_KEY = 'k'\nWECOM_ROBOT_URL = 'http://127.0.0.1:9/send'").as_deref(),
            Some("http://127.0.0.1:9/send?key=k")
        );
    }

    #[test]
    fn errors_name_the_variable() {
        for (toml, name) in [
            ("RATE_LIMIT = 'many'", "RATE_LIMIT"),
            ("STORE = 'mongo'", "STORE"),
            ("QUEUE = 'sqs'", "QUEUE"),
            ("THIRD_PARTY_AUTH = 'on'", "THIRD_PARTY_AUTH"),
            ("WORKER_SHARDS = 0", "WORKER_SHARDS"),
            ("JUHE_AUTO_REGISTER = 'yes'", "JUHE_AUTO_REGISTER"),
            ("JUHE_APP_KEY = 'k'", "JUHE_APP_SECRET"),
            ("WECOM_ROBOT_URL = 'nowhere'", "WECOM_ROBOT_URL"),
            ("WHATSAPP_WEB_URL = 'https://example.com'", "WHATSAPP_WEB_URL"),
            ("WHATSAPP_VERSION = '2.3000'", "WHATSAPP_VERSION"),
            ("WHATSAPP_MEDIA = 'never'", "WHATSAPP_MEDIA"),
            ("WHATSAPP_PACE = 'fast'", "WHATSAPP_PACE"),
            ("PUBLIC_WS_URL = 'https://example.com'", "PUBLIC_WS_URL"),
            ("WHATSAPP_CLOUD_API_URL = 'graph'", "WHATSAPP_CLOUD_API_URL"),
            ("WEBSOCKET_MANAGEMENT_URL = 'wss://example.com'", "WEBSOCKET_MANAGEMENT_URL"),
            ("NONSENSE = 1", "NONSENSE"),
            ("ENCRYPTION_KEY = 'short'", "ENCRYPTION_KEY"),
        ] {
            let error = load(toml).expect_err(toml);
            assert_eq!(error.field.as_deref(), Some(name), "{error}");
        }
    }
}
