//! A registered user of one server: what keeps tests that share a server apart.

use super::client::{Client, Credential};
use super::server::{Server, shared};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// A user with both of his credentials.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The caller with `x-api-key`.
    pub client: Client,
    /// The caller with a JWT.
    pub jwt: Client,
    /// The user's id.
    pub id: String,
    /// What he logs in with.
    pub email: String,
    /// The other half of it.
    pub password: String,
    /// The key behind `client`.
    pub api_key: String,
}

impl Tenant {
    /// A new user of the shared server.
    pub async fn new() -> Tenant {
        Tenant::of(shared()).await
    }

    /// A new user of `server`.
    ///
    /// # Panics
    /// When he cannot register.
    pub async fn of(server: &Server) -> Tenant {
        let (email, password) = (fresh_email(), "a password of the suite".to_owned());
        let anonymous = server.anonymous();
        let body = json!({"email": email, "password": password, "firstName": "John", "lastName": "Doe"});
        let login = anonymous.post("/api/auth/register", &body).await.expect(201);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let (token, api_key) = (text(&login["token"]), text(&login["user"]["apiKey"]));
        Tenant {
            client: anonymous.with(Credential::ApiKey(api_key.clone())),
            jwt: anonymous.with(Credential::Bearer(token)),
            id: text(&login["user"]["id"]),
            email,
            password,
            api_key,
        }
    }

    /// The caller without credentials.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        self.client.with(Credential::None)
    }
}

/// An address that nobody has used in this run.
#[must_use]
pub fn fresh_email() -> String {
    format!("user{}@example.com", unique())
}

/// A number that nobody has used in this run, for phones: digits only, never a magic number of the sandbox.
#[must_use]
pub fn fresh_phone() -> String {
    format!("7900{:07}", unique())
}

pub(super) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
