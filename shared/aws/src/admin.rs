//! Making and dropping the table and the queues, for local work and tests. A deployment gets the same from its template
//! (`infra/`); nothing calls this at run time.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::SdkError,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, IndexStatus, KeySchemaElement, KeyType, Projection,
        ProjectionType, ScalarAttributeType, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
    },
};
use aws_sdk_sqs::types::QueueAttributeName;
use futures_util::{TryStreamExt as _, stream};
use shared::{Error, Result, store::Queue};
use tokio::time::{Instant, sleep};

use crate::{
    Aws, error,
    query::INDEX,
    queues::{Side, whole_seconds},
    transact::incomplete,
};

/// How long a table may take to come up or to go.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(250);
/// Queues made or dropped at once.
const PARALLEL: usize = 8;
/// SQS's longest retention, so that a backlog outlives a long outage.
const RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);

impl Aws {
    /// Makes the table and the queues, as far as they are not there, and waits until they can be used.
    pub async fn create(&self) -> Result<()> {
        tokio::try_join!(self.create_table(), self.create_queues())?;
        Ok(())
    }

    /// Drops the table and the queues with all that is in them, and waits until the table is gone.
    pub async fn drop_all(&self) -> Result<()> {
        tokio::try_join!(self.drop_table(), self.drop_queues())?;
        self.logs.forget();
        self.urls.forget();
        Ok(())
    }

    /// The client and the address of a queue, for what stands between SQS and a function.
    pub async fn raw_queue(&self, queue: Queue) -> Result<(aws_sdk_sqs::Client, String)> {
        Ok((self.poll.clone(), self.queue_url(queue, Side::Live).await?))
    }

    fn queues(&self) -> impl Iterator<Item = Queue> {
        (0..self.settings.shards).map(Queue::Commands).chain([Queue::Dispatch, Queue::Jobs, Queue::Timers])
    }

    async fn create_table(&self) -> Result<()> {
        let table = &self.settings.table;
        let attribute = |name: &str| {
            let text = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
            text.build().map_err(incomplete)
        };
        let index = GlobalSecondaryIndex::builder()
            .index_name(INDEX)
            .key_schema(key_part("h", KeyType::Hash)?)
            .key_schema(key_part("hs", KeyType::Range)?)
            .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
            .build()
            .map_err(incomplete)?;
        let created = self
            .db
            .create_table()
            .table_name(table)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("pk")?)
            .attribute_definitions(attribute("sk")?)
            .attribute_definitions(attribute("h")?)
            .attribute_definitions(attribute("hs")?)
            .key_schema(key_part("pk", KeyType::Hash)?)
            .key_schema(key_part("sk", KeyType::Range)?)
            .global_secondary_indexes(index)
            .send()
            .await;
        match created {
            Ok(_) => {}
            Err(SdkError::ServiceError(refused)) if refused.err().is_resource_in_use_exception() => {}
            Err(failed) => return Err(error::failure("CreateTable", &failed)),
        }
        self.await_table(true).await?;
        self.enable_expiry().await
    }

    async fn drop_table(&self) -> Result<()> {
        match self.db.delete_table().table_name(&self.settings.table).send().await {
            Ok(_) => self.await_table(false).await,
            Err(SdkError::ServiceError(refused)) if refused.err().is_resource_not_found_exception() => Ok(()),
            Err(failed) => Err(error::failure("DeleteTable", &failed)),
        }
    }

    /// Waits until the table and its index can be used, or until they are gone.
    async fn await_table(&self, there: bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let done = match self.db.describe_table().table_name(&self.settings.table).send().await {
                Ok(found) => {
                    let table = found.table();
                    let active = table.and_then(|table| table.table_status()) == Some(&TableStatus::Active);
                    let indexes = table.map(|table| table.global_secondary_indexes()).unwrap_or_default();
                    let indexed = indexes.iter().all(|index| index.index_status() == Some(&IndexStatus::Active));
                    there && active && indexed
                }
                Err(SdkError::ServiceError(refused)) if refused.err().is_resource_not_found_exception() => !there,
                Err(failed) => return Err(error::failure("DescribeTable", &failed)),
            };
            if done {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::unavailable(format!("table {} does not settle", self.settings.table)));
            }
            sleep(LOOK).await;
        }
    }

    async fn enable_expiry(&self) -> Result<()> {
        let table = &self.settings.table;
        let now = self
            .db
            .describe_time_to_live()
            .table_name(table)
            .send()
            .await
            .map_err(|failed| error::failure("DescribeTimeToLive", &failed))?;
        let status = now.time_to_live_description().and_then(|ttl| ttl.time_to_live_status());
        if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
            return Ok(());
        }
        let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build().map_err(incomplete)?;
        self.db
            .update_time_to_live()
            .table_name(table)
            .time_to_live_specification(ttl)
            .send()
            .await
            .map_err(|failed| error::failure("UpdateTimeToLive", &failed))?;
        Ok(())
    }

    async fn create_queues(&self) -> Result<()> {
        stream::iter(self.queues().map(Ok))
            .try_for_each_concurrent(PARALLEL, async |queue| {
                let dead = self.create_queue(queue, Side::Dead, None).await?;
                let arn = self.arn(&dead).await?;
                self.create_queue(queue, Side::Live, Some(arn)).await.map(|_| ())
            })
            .await
    }

    async fn create_queue(&self, queue: Queue, side: Side, dead_letters: Option<String>) -> Result<String> {
        let name = self.queue_name(queue, side);
        let mut request = self
            .sqs
            .create_queue()
            .queue_name(&name)
            .attributes(QueueAttributeName::VisibilityTimeout, whole_seconds(queue.visibility()).to_string())
            .attributes(QueueAttributeName::MessageRetentionPeriod, whole_seconds(RETENTION).to_string());
        if queue.is_fifo() {
            // High throughput: order and deduplication within a group only.
            request = request
                .attributes(QueueAttributeName::FifoQueue, "true")
                .attributes(QueueAttributeName::DeduplicationScope, "messageGroup")
                .attributes(QueueAttributeName::FifoThroughputLimit, "perMessageGroupId");
        }
        if let Some(arn) = dead_letters {
            let policy = serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": queue.max_receives() });
            request = request.attributes(QueueAttributeName::RedrivePolicy, policy.to_string());
        }
        let made = request.send().await.map_err(|failed| error::failure("CreateQueue", &failed))?;
        let url = made.queue_url.ok_or_else(|| Error::unavailable("CreateQueue: no address in the answer"))?;
        self.urls.keep(name, url.clone());
        Ok(url)
    }

    async fn arn(&self, url: &str) -> Result<String> {
        let got = self
            .sqs
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .map_err(|failed| error::failure("GetQueueAttributes", &failed))?;
        let arn = got.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn));
        arn.cloned().ok_or_else(|| Error::unavailable("GetQueueAttributes: no ARN in the answer"))
    }

    async fn drop_queues(&self) -> Result<()> {
        let both = self.queues().flat_map(|queue| [(queue, Side::Live), (queue, Side::Dead)]);
        stream::iter(both.map(Ok))
            .try_for_each_concurrent(PARALLEL, async |(queue, side)| {
                let name = self.queue_name(queue, side);
                let url = match self.sqs.get_queue_url().queue_name(name).send().await {
                    Ok(found) => found.queue_url.unwrap_or_default(),
                    Err(failed) if missing(error::code(&failed)) => return Ok(()),
                    Err(failed) => return Err(error::failure("GetQueueUrl", &failed)),
                };
                match self.sqs.delete_queue().queue_url(url).send().await {
                    Err(failed) if !missing(error::code(&failed)) => Err(error::failure("DeleteQueue", &failed)),
                    _ => Ok(()),
                }
            })
            .await
    }
}

fn missing(code: Option<&str>) -> bool {
    matches!(code, Some("QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue"))
}

fn key_part(name: &str, kind: KeyType) -> Result<KeySchemaElement> {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().map_err(incomplete)
}
