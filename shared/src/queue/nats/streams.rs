//! What the farm keeps on a broker: names, settings, and whether the broker took them.
//!
//! ```text
//! stream PREFIX-tasks       PREFIX.task.CLASS.URGENCY     one consumer for each lane, shared by all workers
//! stream PREFIX-reports     PREFIX.report                 one consumer, of the coordinator that decides
//! stream PREFIX-advisories  what the broker says of tasks that it gives up; one consumer likewise
//! core   PREFIX.life.WORKER, PREFIX.worker.WORKER, PREFIX.direct, PREFIX.wake.CLASS
//! ```
//!
//! What each role needs of these, and of the broker's own subjects, stands in `deploy/nats/accounts.conf`: with no more a worker
//! can't hear results, push tasks or remove anything.

use async_nats::jetstream::consumer::{self, AckPolicy, IntoConsumerConfig, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use serde::Serialize;
use serde_json::Value;
use tracing::info;

use super::config::NatsConfig;
use super::link::{Link, chain};
use crate::fleet::{Class, Lane, Urgency};
use crate::queue::QueueError;
use crate::task::WorkerId;

/// Advisories that may wait for a coordinator.
const MAX_ADVISORIES: i64 = 65_536;
/// Bytes of advisories that may wait.
const MAX_ADVISORY_BYTES: i64 = 64 << 20;
/// How long a message's id is remembered, so that sending it twice stores it once. A publisher tries again for as long as
/// a broker takes to start.
const DUPLICATE_WINDOW: std::time::Duration = std::time::Duration::from_secs(120);
/// Results that may be unhandled in a coordinator.
const MAX_REPORTS_OUT: i64 = 4_096;

/// Subjects, streams and consumers of one farm.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
    pub tasks: String,
    pub reports: String,
    pub advisories: String,
}

impl Names {
    pub fn new(prefix: &str) -> Self {
        let stream = |what: &str| format!("{prefix}-{what}");
        Self {
            prefix: prefix.to_owned(),
            tasks: stream("tasks"),
            reports: stream("reports"),
            advisories: stream("advisories"),
        }
    }

    pub fn lane(&self, lane: Lane) -> String {
        format!("{}.task.{}.{}", self.prefix, lane.class, lane.urgency.as_str())
    }

    pub fn lane_consumer(lane: Lane) -> String {
        format!("{}-{}", lane.class, lane.urgency.as_str())
    }

    pub fn report(&self) -> String {
        format!("{}.report", self.prefix)
    }

    pub fn life(&self, worker: &str) -> String {
        format!("{}.life.{worker}", self.prefix)
    }

    pub fn worker(&self, worker: &str) -> String {
        format!("{}.worker.{worker}", self.prefix)
    }

    pub fn life_of(&self, worker: &WorkerId) -> String {
        self.life(worker.as_str())
    }

    pub fn wake(&self, class: Class) -> String {
        format!("{}.wake.{class}", self.prefix)
    }

    pub fn direct(&self) -> String {
        format!("{}.direct", self.prefix)
    }
}

/// Every lane, the urgent ones first.
pub(super) fn lanes(classes: &[Class]) -> impl Iterator<Item = Lane> {
    Urgency::ALL.into_iter().flat_map(move |urgency| classes.iter().map(move |&class| Lane { class, urgency }))
}

/// The three streams, that of the tasks first.
pub(super) fn streams(names: &Names, config: &NatsConfig) -> [stream::Config; 3] {
    let advisory = |what: &str| format!("$JS.EVENT.ADVISORY.CONSUMER.{what}.{}.>", names.tasks);
    let limit = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let stream = |name: &str, subjects, max_messages, max_bytes| stream::Config {
        name: name.to_owned(),
        subjects,
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: config.replicas,
        max_messages,
        max_bytes,
        max_messages_per_subject: -1,
        max_consumers: -1,
        duplicate_window: DUPLICATE_WINDOW,
        ..stream::Config::default()
    };
    [
        stream(
            &names.tasks,
            vec![format!("{}.task.*.*", names.prefix)],
            config.max_tasks.into(),
            limit(config.max_task_bytes),
        ),
        stream(&names.reports, vec![names.report()], config.max_reports.into(), limit(config.max_report_bytes)),
        stream(
            &names.advisories,
            vec![advisory("MAX_DELIVERIES"), advisory("MSG_TERMINATED")],
            MAX_ADVISORIES,
            MAX_ADVISORY_BYTES,
        ),
    ]
}

/// A quarter more than there are slots: deliveries whose worker has died count until they are handed out again.
fn in_hands(config: &NatsConfig) -> i64 {
    i64::from(config.fleet_slots) * 5 / 4
}

fn lane_consumer(names: &Names, config: &NatsConfig, lane: Lane) -> pull::Config {
    pull::Config {
        durable_name: Some(Names::lane_consumer(lane)),
        filter_subject: names.lane(lane),
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait(),
        max_deliver: config.max_deliver.into(),
        max_ack_pending: in_hands(config),
        ..pull::Config::default()
    }
}

/// What a coordinator reads a stream with; it starts with the oldest message that is not acknowledged.
pub(super) fn reader(name: String, config: &NatsConfig) -> pull::Config {
    pull::Config {
        durable_name: Some(name),
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.ack_wait(),
        max_deliver: -1,
        max_ack_pending: MAX_REPORTS_OUT,
        ..pull::Config::default()
    }
}

impl Link {
    /// Makes streams and lanes that are missing, and sees to it that all are as they should be. Returns what the task
    /// stream is, and whether it was there before.
    pub async fn ensure(&self) -> Result<(stream::Info, bool), QueueError> {
        let [tasks, reports, advisories] = streams(&self.names, &self.config);
        let found = self.ensure_stream(&tasks).await?;
        self.ensure_stream(&reports).await?;
        self.ensure_stream(&advisories).await?;
        for lane in lanes(&Class::ALL) {
            self.ensure_consumer(lane_consumer(&self.names, &self.config, lane), &tasks.name).await?;
        }
        Ok(found)
    }

    /// The stream as it is; `None` if there is none.
    pub async fn find_stream(&self, name: &str) -> Result<Option<stream::Info>, QueueError> {
        match self.jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.code() == 404 => Ok(None),
                _ => Err(failed("stream", name, &error)),
            },
        }
    }

    async fn ensure_stream(&self, wanted: &stream::Config) -> Result<(stream::Info, bool), QueueError> {
        let name = &wanted.name;
        let found = self.find_stream(name).await?;
        let existed = found.is_some();
        let info = match found {
            Some(info) if differences(wanted, &info.config).is_empty() => info,
            Some(_) => {
                info!(stream = name, "stream has other settings; changed");
                self.jetstream.update_stream(wanted).await.map_err(|error| failed("stream", name, &error))?
            }
            None => {
                info!(stream = name, "stream created");
                let made = self.jetstream.create_stream(wanted).await;
                made.map_err(|error| failed("stream", name, &error))?.cached_info().clone()
            }
        };
        self.check_echo("stream", name, &differences(wanted, &info.config))?;
        Ok((info, existed))
    }

    /// Makes a consumer or changes it to these settings.
    pub async fn ensure_consumer(&self, wanted: pull::Config, stream: &str) -> Result<(), QueueError> {
        let name = wanted.durable_name.clone().unwrap_or_default();
        let made = self.jetstream.create_consumer_on_stream(wanted.clone(), stream).await;
        let made = made.map_err(|error| failed("consumer", &name, &error))?;
        let wanted: consumer::Config = wanted.into_consumer_config();
        self.check_echo("consumer", &name, &differences(&wanted, &made.cached_info().config))
    }

    /// Older brokers drop settings that they don't know without a word.
    fn check_echo(&self, kind: &str, name: &str, differences: &[String]) -> Result<(), QueueError> {
        if differences.is_empty() {
            return Ok(());
        }
        let list = differences.join(", ");
        self.distrust(format!("the broker did not keep the settings of {kind} {name} ({list}): run a later one"))
    }
}

pub(super) fn failed(kind: &str, name: &str, error: &(dyn std::error::Error + 'static)) -> QueueError {
    QueueError(format!("{kind} {name}: {}", chain(error)))
}

/// Fields that were asked for and are not what was asked.
fn differences<T: Serialize>(wanted: &T, found: &T) -> Vec<String> {
    let fields = |settings: &T| match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let found = fields(found);
    fields(wanted)
        .into_iter()
        .filter(|(name, value)| !value.is_null() && found.get(name) != Some(value))
        .map(|(name, value)| format!("{name}: {value} became {}", found.get(&name).unwrap_or(&Value::Null)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_was_dropped_is_named() {
        let config = NatsConfig::default();
        let [wanted, ..] = streams(&Names::new("farm"), &config);
        assert_eq!(differences(&wanted, &wanted), [] as [String; 0]);
        let found = stream::Config { max_bytes: -1, discard: DiscardPolicy::Old, ..wanted.clone() };
        let said = differences(&wanted, &found);
        assert_eq!(said, [r#"discard: "new" became "old""#, "max_bytes: 268435456 became -1"]);
    }

    #[test]
    fn urgent_lanes_come_first() {
        let lanes: Vec<String> = lanes(&Class::ALL).map(|lane| Names::new("f").lane(lane)).collect();
        let expected = ["f.task.cpu.urgent", "f.task.gpu.urgent", "f.task.cpu.normal", "f.task.gpu.normal"];
        assert_eq!(lanes, expected);
    }
}
