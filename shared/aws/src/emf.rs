//! Metrics on AWS: what the program counts through the facade `metrics`, as lines of CloudWatch's embedded metric format in the
//! log. No request is made for them, and a function that counted nothing writes nothing.
//!
//! Every name with its own values of dimensions is a metric that is paid for. So only what [`REPORTED`] names goes out, with at
//! most one label of few values, beside the deployment. That is why this is not one of the libraries: they report everything.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use serde_json::{Map, Value, json};
use shared::{
    Error, Result,
    clock::{Clock, SystemClock},
};

/// CloudWatch's namespace of all that is here.
pub const NAMESPACE: &str = "Trunkline";
/// The dimension that everything has: the name of the deployment's table.
pub const DEPLOYMENT: &str = "Deployment";
/// The dimension that a label becomes.
pub const OUTCOME: &str = "Outcome";

/// Values of one metric in one line, as the format allows.
const VALUES: usize = 100;
/// Values of a histogram that are kept from one flush to the next; what is beyond is not reported.
const KEPT: usize = 1000;

/// A metric that goes out.
#[derive(Debug)]
pub struct Reported {
    /// As the facade knows it.
    pub name: &'static str,
    /// As CloudWatch shows it.
    pub shown: &'static str,
    pub unit: &'static str,
    /// The label that becomes the dimension [`OUTCOME`]; others are added up.
    pub by: Option<&'static str>,
    /// How many of what is counted make one of what is shown.
    pub parts: u8,
}

const fn count(name: &'static str, shown: &'static str) -> Reported {
    Reported { name, shown, unit: "Count", by: None, parts: 1 }
}

const fn outcomes(name: &'static str, shown: &'static str, by: &'static str) -> Reported {
    Reported { name, shown, unit: "Count", by: Some(by), parts: 1 }
}

const fn seconds(name: &'static str, shown: &'static str) -> Reported {
    Reported { name, shown, unit: "Seconds", by: None, parts: 1 }
}

/// All that goes out.
pub const REPORTED: &[Reported] = &[
    // Both.
    Reported { parts: 2, ..count("trunkline_read_half_units_total", "ReadUnits") },
    count("trunkline_write_units_total", "WriteUnits"),
    count("trunkline_store_requests_total", "StoreRequests"),
    count("trunkline_queue_requests_total", "QueueRequests"),
    // Workers, once a minute each.
    count("trunkline_owned_instances", "OwnedInstances"),
    count("trunkline_owned_shards", "OwnedShards"),
    count("trunkline_workers", "Workers"),
    seconds("trunkline_lease_gap_seconds", "LeaseGap"),
    count("trunkline_leases_lost_total", "LeasesLost"),
    count("trunkline_received_total", "Received"),
    count("trunkline_reconnects_total", "Reconnects"),
    outcomes("trunkline_sends_total", "Sends", "outcome"),
    // Functions, at the end of an invocation.
    outcomes("webhook_attempts_total", "WebhookAttempts", "outcome"),
    outcomes("webhook_deliveries_total", "WebhookDeliveries", "status"),
    seconds("webhook_delivery_latency_seconds", "WebhookLatency"),
    count("webhook_breaker_opened_total", "WebhookBreakerOpened"),
    count("webhook_disabled_total", "WebhooksDisabled"),
];

/// Which metric, and the value of its label.
type Place = (usize, Option<String>);

/// The value of the label, and which line of those with that value.
type Line = (Option<String>, usize);

#[derive(Debug, Default)]
struct State {
    counters: BTreeMap<Place, u64>,
    gauges: BTreeMap<Place, f64>,
    values: BTreeMap<Place, Vec<f64>>,
}

struct Inner {
    deployment: String,
    clock: Arc<dyn Clock>,
    index: HashMap<&'static str, usize>,
    state: Mutex<State>,
}

/// Collects until somebody takes the lines. Cheap to clone.
#[derive(Clone)]
pub struct Emf(Arc<Inner>);

impl Emf {
    /// A recorder that is not installed yet. `deployment`: the table's name.
    pub fn new(deployment: &str) -> Self {
        Self::with_clock(deployment, Arc::new(SystemClock::default()))
    }

    fn with_clock(deployment: &str, clock: Arc<dyn Clock>) -> Self {
        let index = REPORTED.iter().enumerate().map(|(at, one)| (one.name, at)).collect();
        Self(Arc::new(Inner { deployment: deployment.to_owned(), clock, index, state: Mutex::default() }))
    }

    /// The process's only recorder: for functions.
    ///
    /// Errors: there is one already.
    pub fn install(deployment: &str) -> Result<Self> {
        let emf = Self::new(deployment);
        metrics::set_global_recorder(emf.clone()).map_err(Error::internal)?;
        Ok(emf)
    }

    /// What is to be written now, for a process that lives on: everything counted since the last call, and how every gauge
    /// stands. JSON lines; empty if there is nothing.
    pub fn take(&self) -> String {
        self.lines(true)
    }

    /// What is to be written at the end of an invocation: only what was counted since the last call, gauges not.
    pub fn take_counted(&self) -> String {
        self.lines(false)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self, gauges: bool) -> String {
        let (counters, values, standing) = {
            let mut state = self.state();
            let standing = if gauges { state.gauges.clone() } else { BTreeMap::new() };
            (std::mem::take(&mut state.counters), std::mem::take(&mut state.values), standing)
        };
        // Metrics of one set of dimensions share a line.
        let mut lines: BTreeMap<Line, Vec<(usize, Value)>> = BTreeMap::new();
        for ((at, label), count) in counters {
            lines.entry((label, 0)).or_default().push((at, shown(count, REPORTED[at].parts)));
        }
        for ((at, label), value) in standing {
            lines.entry((label, 0)).or_default().push((at, value.into()));
        }
        for ((at, label), values) in values {
            for (line, values) in values.chunks(VALUES).enumerate() {
                lines.entry((label.clone(), line)).or_default().push((at, values.into()));
            }
        }
        let mut text = String::new();
        for ((label, _), metrics) in lines {
            text.push_str(&self.line(label, metrics).to_string());
            text.push('\n');
        }
        text
    }

    fn line(&self, label: Option<String>, metrics: Vec<(usize, Value)>) -> Value {
        let mut dimensions = vec![DEPLOYMENT];
        let mut members = Map::new();
        members.insert(DEPLOYMENT.to_owned(), self.0.deployment.clone().into());
        if let Some(label) = label {
            dimensions.push(OUTCOME);
            members.insert(OUTCOME.to_owned(), label.into());
        }
        let described: Vec<Value> =
            metrics.iter().map(|(at, _)| json!({ "Name": REPORTED[*at].shown, "Unit": REPORTED[*at].unit })).collect();
        members.extend(metrics.into_iter().map(|(at, value)| (REPORTED[at].shown.to_owned(), value)));
        let directive = json!({ "Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": described });
        members
            .insert("_aws".to_owned(), json!({ "Timestamp": self.0.clock.now().0, "CloudWatchMetrics": [directive] }));
        Value::Object(members)
    }

    /// Where the metric goes; `None` if it is not reported.
    fn cell(&self, key: &Key) -> Option<Arc<Cell>> {
        let at = *self.0.index.get(key.name())?;
        let label = REPORTED[at].by.map(|by| {
            let label = key.labels().find(|label| label.key() == by);
            label.map_or_else(|| "none".to_owned(), |label| label.value().to_owned())
        });
        Some(Arc::new(Cell { emf: self.clone(), place: (at, label) }))
    }
}

/// A count in the unit that is shown.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 between two flushes")]
fn shown(count: u64, parts: u8) -> Value {
    if parts == 1 { count.into() } else { (count as f64 / f64::from(parts)).into() }
}

/// One metric as its caller holds it.
struct Cell {
    emf: Emf,
    place: Place,
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        *self.emf.state().counters.entry(self.place.clone()).or_default() += value;
    }

    fn absolute(&self, value: u64) {
        let mut state = self.emf.state();
        let count = state.counters.entry(self.place.clone()).or_default();
        *count = value.max(*count);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        *self.emf.state().gauges.entry(self.place.clone()).or_default() += value;
    }

    fn decrement(&self, value: f64) {
        *self.emf.state().gauges.entry(self.place.clone()).or_default() -= value;
    }

    fn set(&self, value: f64) {
        self.emf.state().gauges.insert(self.place.clone(), value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        let mut state = self.emf.state();
        let values = state.values.entry(self.place.clone()).or_default();
        if values.len() < KEPT {
            values.push(value);
        }
    }
}

/// Descriptions are not used: names and units are in [`REPORTED`].
impl Recorder for Emf {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.cell(key).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.cell(key).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.cell(key).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

#[cfg(test)]
mod tests {
    use shared::clock::{ManualClock, Millis};

    use super::*;

    fn emf() -> Emf {
        Emf::with_clock("prod", Arc::new(ManualClock::at(Millis(1_700_000_000_000))))
    }

    fn parsed(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn a_line_is_as_the_format_wants_it() {
        let emf = emf();
        metrics::with_local_recorder(&emf, || {
            metrics::gauge!("trunkline_owned_shards").set(3.0);
            metrics::gauge!("trunkline_owned_instances").increment(2.0);
            metrics::histogram!("trunkline_lease_gap_seconds").record(11.5);
        });
        let line = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Trunkline",
                    "Dimensions": [["Deployment"]],
                    "Metrics": [
                        { "Name": "OwnedInstances", "Unit": "Count" },
                        { "Name": "OwnedShards", "Unit": "Count" },
                        { "Name": "LeaseGap", "Unit": "Seconds" },
                    ],
                }],
            },
            "Deployment": "prod",
            "OwnedInstances": 2.0,
            "OwnedShards": 3.0,
            "LeaseGap": [11.5],
        });
        assert_eq!(parsed(&emf.take()), [line]);
        let again = parsed(&emf.take());
        assert_eq!((again[0]["OwnedShards"].as_f64(), again[0].get("LeaseGap")), (Some(3.0), None), "gauges stand");
    }

    #[test]
    fn labels_are_added_up_but_for_the_one_that_counts() {
        let emf = emf();
        metrics::with_local_recorder(&emf, || {
            metrics::counter!("trunkline_sends_total", "outcome" => "sent", "instance" => "a").increment(1);
            metrics::counter!("trunkline_sends_total", "outcome" => "sent", "instance" => "b").increment(2);
            metrics::counter!("trunkline_sends_total", "outcome" => "failed").increment(1);
            metrics::counter!("http_requests_total", "route" => "/x").increment(1);
        });
        let lines = parsed(&emf.take_counted());
        let sends: Vec<_> = lines.iter().map(|line| (line["Outcome"].as_str(), line["Sends"].as_u64())).collect();
        assert_eq!(sends, [(Some("failed"), Some(1)), (Some("sent"), Some(3))]);
        assert_eq!(lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Deployment", "Outcome"]]));
        assert_eq!(emf.take_counted(), "", "nothing was counted since");
    }

    #[test]
    fn halves_are_shown_as_such() {
        let emf = emf();
        metrics::with_local_recorder(&emf, || metrics::counter!("trunkline_read_half_units_total").increment(3));
        assert_eq!(parsed(&emf.take_counted())[0]["ReadUnits"].as_f64(), Some(1.5));
    }

    #[test]
    fn many_values_take_several_lines() {
        let emf = emf();
        metrics::with_local_recorder(&emf, || {
            for n in 0..250 {
                metrics::histogram!("webhook_delivery_latency_seconds").record(f64::from(n));
            }
        });
        let lines = parsed(&emf.take_counted());
        let lengths: Vec<_> = lines.iter().map(|line| line["WebhookLatency"].as_array().map(Vec::len)).collect();
        assert_eq!(lengths, [Some(100), Some(100), Some(50)]);
    }
}
