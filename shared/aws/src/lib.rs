//! Store on DynamoDB, queues on SQS: one table with one sparse index, and one pair of queues (live, dead letters) per
//! [`Queue`]. What lives here is the translation and the order of steps of a unit (protocol.md §2 and §6); what a key or a
//! body means does not.
//!
//! | file | subject |
//! |---|---|
//! | `attributes`, `condition`, `update` | items, conditions and changes in DynamoDB's terms |
//! | `write`, `transact`, `batch` | single writes, transactions, batches |
//! | `log`, `commit` | the instance log, and the unit of work over all of these |
//! | `query` | get, query, count |
//! | `search` | keyword search: a bounded, filtered read |
//! | `queues`, `send`, `dead` | SQS: receiving, sending, dead letters |
//! | `sockets` | the WebSockets that API Gateway holds |
//! | `secrets` | settings from Secrets Manager |
//! | `emf`, `report` | metrics, as lines of the log; what was used among them |
//! | `sdk` | region, credentials and endpoints |
//! | `lambda` | starting a Lambda function |
//! | `admin` | making and dropping table and queues, for local work and tests |

mod admin;
mod attributes;
mod batch;
mod commit;
mod condition;
mod dead;
pub mod emf;
mod error;
pub mod lambda;
mod log;
#[cfg(test)]
mod lost_answers;
mod query;
mod queues;
pub mod report;
mod sdk;
mod search;
mod secrets;
mod send;
pub mod sockets;
mod transact;
mod update;
mod write;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::config::Credentials;
use shared::{
    Result,
    clock::Clock,
    store::{
        CommitError, Committed, Depth, Enqueue, Found, Item, Key, Page, Query, Queue, Queues, Range, Read, Receipt,
        Received, Search, Source, Store, Unit, Write,
        log::Tail,
        meter::{Meter, Used},
    },
};

/// The longest wait of one receive on SQS.
const LONGEST_POLL: Duration = Duration::from_secs(20);

/// Names of what this deployment uses. Region, credentials and endpoints come from the SDK's usual environment
/// (`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL_SQS`, …).
#[derive(Debug, Clone)]
pub struct Settings {
    /// The DynamoDB table.
    pub table: String,
    /// In front of every queue's name.
    pub queue_prefix: String,
    /// How many command queues there are: `commands-0` up to this, exclusive.
    pub shards: u16,
    /// Address of an emulator, `http://127.0.0.1:4566`. Replaces endpoints, region and credentials of the environment by
    /// fixed ones, so that a test cannot reach a real account by accident.
    pub emulator: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { table: "trunkline".into(), queue_prefix: "trunkline-".into(), shards: 4, emulator: None }
    }
}

/// DynamoDB and SQS. Cheap to share; one per process.
pub struct Aws {
    settings: Settings,
    db: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    /// For receives: its time-outs are longer than a long poll.
    poll: aws_sdk_sqs::Client,
    clock: Arc<dyn Clock>,
    meter: Arc<Meter>,
    logs: log::Logs,
    urls: queues::Urls,
}

impl Aws {
    /// Builds the clients with what the SDK finds, wherever it is. Opens no connection yet; see [`Aws::warm`].
    pub async fn connect(settings: Settings, clock: Arc<dyn Clock>, meter: Arc<Meter>) -> Result<Arc<Self>> {
        let config = match &settings.emulator {
            Some(endpoint) => {
                // Twelve digits are taken as the account by emulators.
                let credentials = Credentials::new("000000000000", "emulator", None, None, "emulator");
                let loader = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(endpoint);
                loader.region(Region::new("eu-west-1")).credentials_provider(credentials).load().await
            }
            None => sdk::anywhere().await,
        };
        Ok(Self::over(&config, settings, clock, meter))
    }

    fn over(config: &SdkConfig, settings: Settings, clock: Arc<dyn Clock>, meter: Arc<Meter>) -> Arc<Self> {
        let retry = RetryConfig::standard().with_max_attempts(4).with_initial_backoff(Duration::from_millis(50));
        let db = aws_sdk_dynamodb::config::Builder::from(config)
            .retry_config(retry.clone())
            .timeout_config(timeouts(Duration::from_secs(2), Duration::from_secs(6)))
            .build();
        let sqs = aws_sdk_sqs::config::Builder::from(config).retry_config(retry);
        let poll = LONGEST_POLL + Duration::from_secs(3);
        Arc::new(Self {
            db: aws_sdk_dynamodb::Client::from_conf(db),
            poll: aws_sdk_sqs::Client::from_conf(sqs.clone().timeout_config(timeouts(poll, poll * 2)).build()),
            sqs: aws_sdk_sqs::Client::from_conf(
                sqs.timeout_config(timeouts(Duration::from_secs(3), Duration::from_secs(8))).build(),
            ),
            settings,
            clock,
            meter,
            logs: log::Logs::default(),
            urls: queues::Urls::default(),
        })
    }

    /// Opens the connection to the queues (TLS, credentials) with the cheapest question, so that the first request does not pay for
    /// it: for the init phase of a function, which reads from the store anyway.
    pub async fn warm(&self) -> Result<()> {
        self.queue_url(Queue::Dispatch, queues::Side::Live).await.map(|_| ())
    }

    fn note(&self, operation: &'static str, read_half_units: u64, write_units: u64) {
        self.meter.record(operation, Used { requests: 1, read_half_units, write_units });
    }
}

/// `attempt` bounds one try, `operation` all tries together.
fn timeouts(attempt: Duration, operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(1500))
        .operation_attempt_timeout(attempt)
        .operation_timeout(operation)
        .build()
}

/// Sleeps for a random part of 25 ms · 2^attempt, at most of one second: full jitter, so that losers of a race spread out.
async fn pause(attempt: u32) {
    let ceiling = 25_u64.saturating_mul(1 << attempt.min(6)).min(1000);
    let random = getrandom::u32().map_or(ceiling, u64::from);
    tokio::time::sleep(Duration::from_millis(random % ceiling + 1)).await;
}

#[async_trait]
impl Store for Aws {
    async fn commit(&self, unit: Unit) -> Result<Committed, CommitError> {
        self.commit_unit(unit).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), CommitError> {
        self.transact_writes(&writes).await
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<()> {
        self.batch_write(&writes).await
    }

    async fn get(&self, key: &Key, read: Read) -> Result<Option<Item>> {
        self.get_item(key, read).await
    }

    async fn batch_get(&self, keys: &[Key], read: Read) -> Result<Vec<Option<Item>>> {
        self.batch_read(keys, read).await
    }

    async fn query(&self, query: Query) -> Result<Page> {
        self.read_page(query).await
    }

    async fn count(&self, source: Source, range: Range) -> Result<u64> {
        self.count_range(&source, &range).await
    }

    async fn search(&self, search: Search) -> Result<Found> {
        self.search_partition(&search).await
    }

    async fn tail(&self, log: &str) -> Result<Tail> {
        self.read_tail(log, Read::Strong).await
    }

    async fn changed(&self, log: &str, seen: u64, wait: Duration) {
        self.wait_for_growth(log, seen, wait).await;
    }

    async fn ready(&self) -> Result<()> {
        self.store_ready().await
    }
}

#[async_trait]
impl Queues for Aws {
    async fn send(&self, messages: Vec<Enqueue>) -> Result<()> {
        self.send_all(messages).await
    }

    async fn receive(&self, queue: Queue, max: usize, wait: Duration) -> Result<Vec<Received>> {
        self.receive_messages(queue, max, wait).await
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> Result<()> {
        self.change_visibility(receipt, visibility).await
    }

    async fn release(&self, receipt: &Receipt, delay: Duration) -> Result<()> {
        self.change_visibility(receipt, delay).await
    }

    async fn delete(&self, receipt: &Receipt) -> Result<()> {
        self.delete_message(receipt).await
    }

    async fn depth(&self, queue: Queue) -> Result<Depth> {
        self.queue_depth(queue).await
    }

    async fn dead_letters(&self, queue: Queue, max: usize) -> Result<Vec<Received>> {
        self.list_dead(queue, max).await
    }

    async fn bury(&self, receipt: &Receipt) -> Result<()> {
        self.bury_dead(receipt).await
    }

    async fn ready(&self) -> Result<()> {
        self.queues_ready().await
    }
}
