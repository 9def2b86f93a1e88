//! Traces: what became of a job and when, told by every process that had a part in it.
//!
//! ```text
//! job                          coordinator, when the job ends: from its submission on
//! ├─ create_job                coordinator, for the call that asked for it
//! ├─ task video                coordinator, when the task ends: from the moment it was first handed out
//! │  └─ attempt                the worker that made it, one for each try; two that overlap are rivals
//! │     ├─ fetch, upload       the time in which the worker read and stored
//! │     └─ decode, scale, …    the time in which the slot ran; how much of it the stage took is an attribute
//! └─ publish                   coordinator, one for each round of playlists
//! ```
//!
//! A job outlives processes and leaders, so nobody has to remember an id: those of traces, jobs and tasks are hashes of
//! names. A leader that follows another goes on in the same trace. Tasks carry the context (W3C Trace Context) to workers;
//! one without it is not traced.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::hex;
use crate::task::{JobId, TaskId};

/// The trace of a job, in all its lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TraceId(pub [u8; 16]);

/// One span of a trace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The first 16 bytes of the SHA-256 of `farm`, a zero byte and the job's id.
    pub fn of_job(job: &JobId) -> Self {
        Self(hash(&[job.as_str()]))
    }
}

impl SpanId {
    /// Of a job in the life that began then, in milliseconds of UNIX time.
    pub fn of_job(job: &JobId, begun_ms: u64) -> Self {
        Self(hash(&[job.as_str(), &begun_ms.to_string()]))
    }

    /// Of a task in that life of its job.
    pub fn of_task(task: &TaskId, begun_ms: u64) -> Self {
        Self(hash(&[task.job.as_str(), &begun_ms.to_string(), &task.name.to_string()]))
    }

    /// Of what is unlike everything else by these words.
    pub fn of_words(words: &[&str]) -> Self {
        Self(hash(words))
    }

    /// Of what may happen again, and began then.
    pub fn of_moment(words: &[&str], start: SystemTime) -> Self {
        let nanos = start.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        Self(hash(&[words, &[&nanos]].concat()))
    }
}

/// Words are told apart by the zero bytes between them, which none of them has.
fn hash<const N: usize>(words: &[&str]) -> [u8; N] {
    let mut sha = Sha256::new_with_prefix("farm");
    for word in words {
        sha.update([0]);
        sha.update(word);
    }
    let digest = sha.finalize();
    std::array::from_fn(|place| digest[place])
}

macro_rules! hexadecimal {
    ($($name:ident),*) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        })*
    };
}
hexadecimal!(TraceId, SpanId);

/// A span as others are told of it, in order to hang theirs below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// Its trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// It is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// The header that carries it.
    pub const HEADER: &str = "traceparent";

    /// Reads [`Self::HEADER`]; `None` if it says nothing that can be used (W3C Trace Context, 3.2).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut lower = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let plain = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            hex::decode(part).filter(|_| plain)
        };
        let (version, trace, span, flags) = (lower(2)?[0], lower(32)?, lower(16)?, lower(2)?[0]);
        // Later versions may have more parts.
        let whole = version == 0 && parts.next().is_none() || (1..0xff).contains(&version);
        let said = |id: &[u8]| id.iter().any(|byte| *byte != 0);
        (whole && said(&trace) && said(&span)).then_some(Self {
            trace: TraceId(trace.try_into().ok()?),
            span: SpanId(span.try_into().ok()?),
            sampled: flags & 1 == 1,
        })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Which one.
    pub id: SpanId,
    /// What it was a part of; `None`: nothing.
    pub parent: Option<SpanId>,
    /// One of a few names.
    pub name: Cow<'static, str>,
    /// Whose work it is, seen from others.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended; never before it began.
    pub end: SystemTime,
    /// What else is known.
    pub attributes: Vec<Attribute>,
    /// What happened meanwhile.
    pub events: Vec<SpanEvent>,
    /// Spans of other traces that it has to do with.
    pub links: Vec<TraceContext>,
    /// Why it failed; `None`: it did not.
    pub error: Option<String>,
}

impl Span {
    /// A part of `parent` about which nothing more is known.
    pub fn new(parent: TraceContext, id: SpanId, name: impl Into<Cow<'static, str>>, start: SystemTime) -> Self {
        Self {
            trace: parent.trace,
            id,
            parent: Some(parent.span),
            name: name.into(),
            kind: SpanKind::Internal,
            start,
            end: start,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }

    /// It lasted until `end`. Clocks may have been set back meanwhile.
    #[must_use]
    pub fn until(self, end: SystemTime) -> Self {
        Self { end: end.max(self.start), ..self }
    }
}

/// How a span stands to those of other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// It does not.
    Internal,
    /// A call was answered.
    Server,
    /// A task was taken from the queue.
    Consumer,
}

/// Something that happened while a span lasted.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub at: SystemTime,
    /// One of a few names.
    pub name: &'static str,
    /// What else is known.
    pub attributes: Vec<Attribute>,
}

/// A name and a value.
pub type Attribute = (&'static str, Value);

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A number.
    Number(i64),
    /// Whether it is so.
    Flag(bool),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// A moment of a record.
pub fn moment(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms)
}

/// Where spans go. Unless it was made with a way, it is off: nothing is traced, and whoever asks first makes nothing of
/// spans.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    sample_percent: u8,
    spans: mpsc::Sender<Span>,
    lost: AtomicU64,
}

impl Tracer {
    /// Spans of so many jobs in a hundred go to `spans`. What finds no room there is lost.
    pub fn new(sample_percent: u8, spans: mpsc::Sender<Span>) -> Self {
        Self(Some(Arc::new(Way { sample_percent, spans, lost: AtomicU64::new(0) })))
    }

    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The trace of a job; `None` if it is not traced. The same everywhere in a farm whose programs trace the same share.
    pub fn trace_of(&self, job: &JobId) -> Option<TraceId> {
        let way = self.0.as_ref()?;
        let trace = TraceId::of_job(job);
        // As other samplers decide by the id of a trace: by its last 8 bytes.
        let [.., a, b, c, d, e, f, g, h] = trace.0;
        let place = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % 100;
        (place < u64::from(way.sample_percent)).then_some(trace)
    }

    /// Tells of a span, and never waits.
    pub fn tell(&self, span: Span) {
        if let Some(way) = &self.0
            && way.spans.try_send(span).is_err()
        {
            way.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Spans that found no room since this was last asked.
    pub fn take_lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |way| way.lost.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> JobId {
        JobId::new(id).unwrap()
    }

    #[test]
    fn a_job_has_the_trace_that_its_id_says() {
        // printf 'farm\0job-1' | sha256sum | head -c 32
        assert_eq!(TraceId::of_job(&job("job-1")).to_string(), "e9632c035114ee621fb731f07b0d8631");
        assert_ne!(SpanId::of_job(&job("job-1"), 1), SpanId::of_job(&job("job-1"), 2));
    }

    #[test]
    fn a_context_is_read_as_the_standard_writes_it() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), text);
        assert!(!TraceContext::parse(&text.replace("-01", "-00")).unwrap().sampled);
        let later = format!("cc{}-what-follows", &text[2..]);
        assert_eq!(TraceContext::parse(&later), Some(context));
        for wrong in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_share_that_was_asked_for_is_traced() {
        let traced = |percent| {
            let tracer = Tracer::new(percent, mpsc::channel(1).0);
            (0..2_000).filter(|number| tracer.trace_of(&job(&format!("job-{number}"))).is_some()).count()
        };
        assert_eq!((traced(0), traced(100)), (0, 2_000));
        assert!((150..250).contains(&traced(10)), "{}", traced(10));
        assert!(!Tracer::default().is_on() && Tracer::default().trace_of(&job("a")).is_none());
    }

    #[test]
    fn a_span_without_room_is_lost_and_counted() {
        let (spans, mut taken) = mpsc::channel(1);
        let tracer = Tracer::new(100, spans);
        let parent = TraceContext { trace: TraceId([1; 16]), span: SpanId([2; 8]), sampled: true };
        let span = Span::new(parent, SpanId([3; 8]), "attempt", moment(2)).until(moment(1));
        assert_eq!(span.end, moment(2), "it can't end before it began");
        (0..3).for_each(|_| tracer.tell(span.clone()));
        assert_eq!((tracer.take_lost(), tracer.take_lost()), (2, 0));
        assert_eq!(taken.try_recv().unwrap(), span);
    }
}
