//! Reports: results through a stream, signs of life past it.
//!
//! A broker takes messages of 1 MiB unless told otherwise. The receipt of an audio track has about 100 bytes a segment: 10 h
//! in segments of 6 s make 0.6 MiB, but of 2 s 1.8 MiB. A report that is longer than the broker's limit is sent in parts
//! that the coordinator puts together again, so nothing needs to be set there. Tasks hold references and stay far below.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use tokio::time::Instant;
use tracing::{debug, error};

use super::backoff::Backoff;
use super::link::Link;
use crate::error::{ErrorKind, TaskError};
use crate::queue::QueueError;
use crate::task::{Outcome, TaskReport};
use crate::wire::{LARGEST_MESSAGE_BYTES, encode_report};

/// Room for the headers of a part.
const HEADER_BYTES: usize = 1024;
/// Names the report that a part belongs to.
const REPORT: &str = "Farm-Report";
/// Which part it is of how many: `2/3`.
const PART: &str = "Farm-Part";
/// A report whose other parts don't come was given up by its worker.
const PATIENCE: Duration = Duration::from_secs(300);

/// Sends reports, each under an id of its own.
#[derive(Debug, Default)]
pub(super) struct Sender {
    sent: AtomicU64,
}

impl Sender {
    /// Sends a report. A result is tried until the broker has it; of a sign of life nothing is lost.
    pub async fn send(&self, link: &Link, report: &TaskReport) -> Result<(), QueueError> {
        let mut bytes = encode_report(report);
        if report.outcome.is_sign_of_life() {
            if let Err(error) = link.say(link.names.life_of(&report.worker), bytes).await {
                debug!(task = %report.task, %error, "sign of life not sent");
            }
            return Ok(());
        }
        if bytes.len() > LARGEST_MESSAGE_BYTES {
            bytes = encode_report(&too_long(report, bytes.len()));
        }
        let id = format!("{}.{}", link.session, self.sent.fetch_add(1, Ordering::Relaxed));
        let parts = split(bytes.into(), link.client.max_payload().saturating_sub(HEADER_BYTES).max(1));
        let count = parts.len();
        for (number, part) in (1..).zip(parts) {
            let message = PublishMessage::build().message_id(format!("{id}.{number}")).payload(part);
            let message = match count {
                1 => message,
                _ => message.header(REPORT, id.as_str()).header(PART, format!("{number}/{count}").as_str()),
            };
            publish(link, message).await;
        }
        Ok(())
    }
}

/// What is said instead of a report that nobody reads: its job fails, and its worker goes on.
fn too_long(report: &TaskReport, size: usize) -> TaskReport {
    let TaskReport { task, attempt, worker, .. } = report;
    let text = format!("a report of {size} bytes: at most {LARGEST_MESSAGE_BYTES} are read");
    let outcome = Outcome::Failed(TaskError::new(ErrorKind::Unsupported, "record_too_long", text));
    TaskReport { task: task.clone(), attempt: *attempt, worker: worker.clone(), outcome }
}

async fn publish(link: &Link, message: PublishMessage) {
    let mut backoff = Backoff::default();
    while let Err(error) = link.store(link.names.report(), message.clone()).await {
        backoff.pause("a report waits for the broker", &error).await;
    }
}

fn split(bytes: Bytes, longest: usize) -> Vec<Bytes> {
    let starts = (0..bytes.len().max(1)).step_by(longest);
    starts.map(|start| bytes.slice(start..bytes.len().min(start + longest))).collect()
}

/// Reports of which not all parts have come.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    partial: HashMap<String, Partial>,
}

#[derive(Debug)]
struct Partial {
    since: Instant,
    parts: Vec<Option<(Bytes, String)>>,
}

/// A report's bytes, and the ids of the messages that brought them.
pub(super) type Whole = (Bytes, Vec<String>);

impl Assembly {
    /// Takes a message with its id; returns the report that it completes.
    pub fn take(&mut self, message: &Message, id: String) -> Option<Whole> {
        let header = |name| message.headers.as_ref()?.get(name).map(|value| value.as_str());
        let Some((report, part)) = header(REPORT).zip(header(PART)) else {
            return Some((message.payload.clone(), vec![id]));
        };
        let numbers = part.split_once('/').and_then(|(n, of)| Some((n.parse::<usize>().ok()?, of.parse().ok()?)));
        let Some((number, count)) = numbers.filter(|&(number, count)| (1..=count).contains(&number)) else {
            return Some((message.payload.clone(), vec![id])); // not a report, and will be said not to be one
        };
        if count > LARGEST_MESSAGE_BYTES / HEADER_BYTES {
            return Some((Bytes::new(), vec![id]));
        }
        let fresh = || Partial { since: Instant::now(), parts: vec![None; count] };
        let partial = self.partial.entry(report.to_owned()).or_insert_with(fresh);
        let Some(part) = partial.parts.get_mut(number - 1) else {
            return Some((Bytes::new(), vec![id])); // of more parts than the first one said
        };
        *part = Some((message.payload.clone(), id));
        if partial.parts.iter().any(Option::is_none) {
            return None;
        }
        let parts = self.partial.remove(report)?.parts.into_iter().flatten();
        let (payloads, ids): (Vec<Bytes>, Vec<String>) = parts.unzip();
        Some((payloads.concat().into(), ids))
    }

    /// Ids of parts that wait in vain, because their worker has died.
    pub fn give_up(&mut self, now: Instant) -> Vec<String> {
        let mut ids = Vec::new();
        self.partial.retain(|report, partial| {
            let waiting = now.duration_since(partial.since) < PATIENCE;
            if !waiting {
                error!(report, "parts of a report have not come; dropped");
                ids.extend(partial.parts.drain(..).flatten().map(|(_, id)| id));
            }
            waiting
        });
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{AttemptId, JobId, TaskId, TaskName, WorkerId};
    use async_nats::HeaderMap;

    fn message(payload: &Bytes, part: Option<&str>) -> Message {
        let headers = part.map(|part| {
            let mut headers = HeaderMap::new();
            headers.insert(REPORT, "r");
            headers.insert(PART, part);
            headers
        });
        Message {
            subject: "farm.report".into(),
            reply: None,
            payload: payload.clone(),
            headers,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_report_comes_together_from_parts_in_any_order() {
        let parts = split(Bytes::from_static(b"abcdefg"), 3);
        assert_eq!(parts, ["abc", "def", "g"]);
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(&message(&parts[2], Some("3/3")), "c".into()), None);
        assert_eq!(assembly.take(&message(&parts[0], Some("1/3")), "a".into()), None);
        let other = Bytes::from_static(b"other");
        assert_eq!(assembly.take(&message(&other, None), "o".into()), Some((other, vec!["o".into()])));
        assert_eq!(assembly.take(&message(&parts[0], Some("1/3")), "a".into()), None, "the same part again");
        let whole = assembly.take(&message(&parts[1], Some("2/3")), "b".into());
        assert_eq!(whole, Some((Bytes::from_static(b"abcdefg"), vec!["a".into(), "b".into(), "c".into()])));
    }

    #[test]
    fn what_nobody_would_read_is_said_to_have_failed() {
        let text = "long".repeat(LARGEST_MESSAGE_BYTES / 4);
        let long = TaskReport {
            task: TaskId { job: JobId::new("job").unwrap(), name: TaskName::Index },
            attempt: AttemptId(3),
            worker: WorkerId::new("w").unwrap(),
            outcome: Outcome::Failed(TaskError::input("undecodable", text)),
        };
        let size = encode_report(&long).len();
        assert!(size > LARGEST_MESSAGE_BYTES);
        let said = crate::wire::decode_report(&encode_report(&too_long(&long, size))).unwrap();
        assert_eq!((&said.task, said.attempt, &said.worker), (&long.task, long.attempt, &long.worker));
        assert!(matches!(said.outcome, Outcome::Failed(error) if error.code == "record_too_long"));
    }

    #[test]
    fn a_part_that_does_not_fit_is_handled_as_no_report() {
        let (mut assembly, part) = (Assembly::default(), Bytes::from_static(b"x"));
        assert_eq!(assembly.take(&message(&part, Some("1/2")), "a".into()), None);
        assert_eq!(assembly.take(&message(&part, Some("3/3")), "c".into()), Some((Bytes::new(), vec!["c".into()])));
    }

    #[test]
    fn parts_whose_worker_died_are_given_up() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(&message(&Bytes::from_static(b"x"), Some("1/2")), "a".into()), None);
        let now = Instant::now();
        assert_eq!(assembly.give_up(now), [] as [String; 0]);
        assert_eq!(assembly.give_up(now + PATIENCE), ["a"]);
    }
}
