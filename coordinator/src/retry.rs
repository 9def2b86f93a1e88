//! What is done about a failure. Pure; the only place where anything is tried again.
//!
//! | [`ErrorKind`] | then |
//! |---|---|
//! | `Input` | the job fails: the source is broken or not what it says |
//! | `Unsupported` | at once elsewhere, if there is a worker that has proven other abilities than those that can't, up to [`MOST_UNSUPPORTED`] times; else the job fails |
//! | `Transient` | again after a pause that doubles, up to [`MOST_TRANSIENT`] times |
//! | the same, but an object store or web server does not answer ([`OUTAGES`]) | again after pauses of at most 8 s, up to [`MOST_OUTAGE`] times, for some five minutes: it comes back, and the source can't help it |
//! | `Exhausted` | again after a longer pause, up to [`MOST_EXHAUSTED`] times: memory and disk come back |
//! | `Cancelled` | again like `Transient`: a live job's attempt was dropped by a worker that shuts down |
//! | `Bug` | once more elsewhere, as crashes may be the machine's fault: when two workers have failed alike, or one so often as [`MOST_BUGS_OF_ONE`], the job fails |
//!
//! What an earlier task has made and is not there any more ([`MISSING`]) is made again, up to [`MOST_MISSING`] times for each
//! task.
//!
//! A chunk that does not go into its tracks' init segments ([`FAMILY_MISFIT`]) is made again at once by encoders that should
//! fit, up to [`MOST_MISFITS`] times, and nobody is blamed.
//!
//! A receipt that is refused counts as `Bug`. An attempt whose worker is gone ([`WORKER_LOST`]) is made again at once, up to
//! [`MOST_LOST`] times, and counts for nothing else.

use std::collections::BTreeSet;

use shared::error::ErrorKind;
use shared::storage::{Fault, SERVER_DOWN};
use shared::task::TaskId;

use crate::job::Failure;

/// Retries after network, storage and time-outs.
pub const MOST_TRANSIENT: usize = 5;
/// Codes of failures that are an object store's or a web server's: out of reach, or in trouble.
pub const OUTAGES: [&str; 2] = [Fault::Transient.code(), SERVER_DOWN];
/// Retries while a store or server is out of reach.
pub const MOST_OUTAGE: usize = 50;
/// Code of a task that was done, and whose objects are gone: it is as if it had failed.
pub const PARTS_MISSING: &str = "parts_missing";
/// Codes of failures over objects that an earlier task has made and that are gone: of attempts that would read them, from an
/// object store or a folder, and of the task that made them.
pub const MISSING: [&str; 3] = [Fault::Missing.code(), "work_missing", PARTS_MISSING];
/// Times that something may be gone of what a task reads or has made.
pub const MOST_MISSING: usize = 5;
/// Code of a failure that is nobody's but the worker's: it is gone.
pub const WORKER_LOST: &str = "worker_lost";
/// Codes of attempts whose process crashed.
const CRASHES: [&str; 2] = ["slot_crashed", "panic"];
/// Code of a receipt that came too soon to be believed; nobody has failed yet.
pub const IMPLAUSIBLE: &str = "implausible";
/// Code of a chunk whose parameter sets don't unite with those of its tracks.
pub const FAMILY_MISFIT: &str = "family_misfit";
/// Code of an attempt on a worker that has no encoder of a family that a rendition is pinned to.
pub const FAMILY_UNAVAILABLE: &str = "family_unavailable";
/// Times that a chunk may not fit. Most times a rendition is pinned for good, so more can't come of encoders that do as they
/// are told.
pub const MOST_MISFITS: usize = 12;
/// Workers that may be lost over one task: beyond that, the task is what kills them.
pub const MOST_LOST: usize = 20;
/// Retries where another worker may be able to do what one could not.
pub const MOST_UNSUPPORTED: usize = 3;
/// Retries after memory, disk or encoder sessions ran out.
pub const MOST_EXHAUSTED: usize = 8;
/// Retries after crashes, stalls or wrong receipts on different workers.
pub const MOST_BUGS: usize = 1;
/// Retries after crashes, stalls or wrong receipts where nobody else has tried.
pub const MOST_BUGS_OF_ONE: usize = 2;

const FIRST_PAUSE_MS: u64 = 500;
const FIRST_LONG_PAUSE_MS: u64 = 2_000;
const LONGEST_PAUSE_MS: u64 = 60_000;
/// Of a pause during an outage: nobody waits long once it is over.
const MOST_OUTAGE_DOUBLINGS: usize = 4;

/// What becomes of a task whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A new attempt, no sooner than in so many milliseconds.
    AgainAfter(u64),
    /// The job fails.
    GiveUp,
}

/// Decides after the last of `failures`; they are all of one task, in order. `elsewhere`: there is a worker that may be able
/// to do what those could not.
pub fn decide(task: &TaskId, failures: &[Failure], elsewhere: bool) -> Decision {
    let Some(last) = failures.last() else { return Decision::AgainAfter(0) };
    let lost = |failure: &Failure| failure.code == WORKER_LOST;
    let outage = |failure: &Failure| OUTAGES.contains(&failure.code.as_str());
    let misfit = |failure: &Failure| failure.code == FAMILY_MISFIT;
    let missing = |failure: &Failure| is_missing(&failure.code);
    let sort = |failure: &Failure| (failure.kind, lost(failure), outage(failure), misfit(failure), missing(failure));
    let alike = |failure: &&Failure| sort(failure) == sort(last);
    let times = failures.iter().filter(alike).count();
    let seed = format!("{task} {}", last.attempt.0);
    let (most, first_pause_ms) = match last.kind {
        _ if misfit(last) => (MOST_MISFITS, 0),
        ErrorKind::Transient if lost(last) => (MOST_LOST, 0),
        ErrorKind::Transient if missing(last) => (MOST_MISSING, FIRST_PAUSE_MS),
        ErrorKind::Transient if outage(last) => return during_outage(times, &seed),
        ErrorKind::Unsupported if elsewhere => (MOST_UNSUPPORTED, 0),
        ErrorKind::Input | ErrorKind::Unsupported => return Decision::GiveUp,
        ErrorKind::Transient | ErrorKind::Cancelled => (MOST_TRANSIENT, FIRST_PAUSE_MS),
        ErrorKind::Exhausted => (MOST_EXHAUSTED, FIRST_LONG_PAUSE_MS),
        ErrorKind::Bug if of_one_worker(failures) => (MOST_BUGS_OF_ONE, 0),
        ErrorKind::Bug => (MOST_BUGS, 0),
    };
    if times > most {
        return Decision::GiveUp;
    }
    Decision::AgainAfter(pause_ms(first_pause_ms, times, &seed))
}

/// Decides after a store or server was out of reach so many times.
pub fn during_outage(times: usize, seed: &str) -> Decision {
    match times {
        0..=MOST_OUTAGE => Decision::AgainAfter(pause_ms(FIRST_PAUSE_MS, times.min(MOST_OUTAGE_DOUBLINGS + 1), seed)),
        _ => Decision::GiveUp,
    }
}

/// Whether it is a code of objects that are gone.
pub fn is_missing(code: &str) -> bool {
    MISSING.contains(&code)
}

/// Whether the failure may be its worker's own: the next attempt is better made elsewhere.
pub fn blames_worker(failure: &Failure) -> bool {
    let own = matches!(failure.kind, ErrorKind::Bug | ErrorKind::Exhausted | ErrorKind::Unsupported);
    own || failure.code == IMPLAUSIBLE
}

/// Whether all these bugs showed on one worker.
fn of_one_worker(failures: &[Failure]) -> bool {
    let mut workers = failures.iter().filter(|failure| failure.kind == ErrorKind::Bug).map(|failure| &failure.worker);
    let first = workers.next().and_then(Option::as_ref);
    first.is_some() && workers.all(|worker| worker.as_ref() == first)
}

/// Between half of and all of a pause that doubles each time; which, depends on `seed` alone.
pub fn pause_ms(first_ms: u64, times: usize, seed: &str) -> u64 {
    let doublings = u32::try_from(times.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let whole = (first_ms << doublings).min(LONGEST_PAUSE_MS);
    // FNV-1a: spreads the retries of tasks that failed together, and repeats in tests.
    let hash = seed
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    whole / 2 + hash % (whole / 2 + 1)
}

/// What a person can do about a failure that retries did not cure.
pub fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Input => "Check the source with `farm probe`; a fresh copy or a remux may cure it.",
        ErrorKind::Unsupported => "Use a build of FFmpeg that has the codec, or another profile.",
        ErrorKind::Transient => "See that source and target can be read and written, then run it again: it continues.",
        ErrorKind::Exhausted => "Free memory or disk, or use fewer slots, then run it again.",
        ErrorKind::Cancelled => "Run it again: it continues.",
        ErrorKind::Bug => "Run it again; if it fails at the same place, report it with the source.",
    }
}

/// The same about a failure that came after `failures`, if all of them say that the source is to blame: its process crashed on
/// several workers.
pub fn poison_advice(failures: &[Failure]) -> Option<String> {
    let crashes = failures.iter().filter(|failure| CRASHES.contains(&failure.code.as_str()));
    let workers: BTreeSet<&str> = crashes.filter_map(|failure| Some(failure.worker.as_ref()?.as_str())).collect();
    let names = workers.iter().copied().collect::<Vec<_>>().join(", ");
    (workers.len() > 1).then(|| {
        format!(
            "The source, or what decodes it, crashed its process on {} workers ({names}): if they do other jobs, running it \
             again will hardly help. Keep the source and report it.",
            workers.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use shared::task::{AttemptId, JobId, TaskName};

    use super::*;

    fn task(chunk: u32) -> TaskId {
        TaskId { job: JobId::new("job").unwrap(), name: TaskName::Video(chunk) }
    }

    fn failures(kinds: &[ErrorKind]) -> Vec<Failure> {
        let failure = |(n, kind): (usize, &ErrorKind)| Failure {
            attempt: AttemptId(n as u32 + 1),
            worker: None,
            at_ms: 0,
            kind: *kind,
            code: "x".into(),
            message: "x".into(),
        };
        kinds.iter().enumerate().map(failure).collect()
    }

    fn retries(kind: ErrorKind) -> usize {
        (1..).take_while(|n| decide(&task(0), &failures(&vec![kind; *n]), false) != Decision::GiveUp).count()
    }

    #[test]
    fn an_outage_is_waited_out_for_minutes_and_costs_no_more_than_seconds_once_it_is_over() {
        for code in OUTAGES {
            let failed = |times: usize| {
                let mut failures = failures(&vec![ErrorKind::Transient; times]);
                failures.iter_mut().for_each(|failure| failure.code = code.into());
                failures
            };
            let pauses: Vec<u64> = (1..)
                .map_while(|times| match decide(&task(0), &failed(times), false) {
                    Decision::AgainAfter(ms) => Some(ms),
                    Decision::GiveUp => None,
                })
                .collect();
            assert!(pauses.iter().sum::<u64>() > 200_000 && pauses.iter().all(|ms| *ms <= 8_000), "{pauses:?}");
            let other = [failed(MOST_OUTAGE), failures(&[ErrorKind::Transient; MOST_TRANSIENT])].concat();
            assert_ne!(decide(&task(0), &other, false), Decision::GiveUp, "they are counted apart");
        }
    }

    #[test]
    fn the_table_is_kept() {
        use ErrorKind::*;
        let expected = [(Input, 0), (Unsupported, 0), (Transient, 5), (Exhausted, 8), (Cancelled, 5), (Bug, 1)];
        assert_eq!(expected.map(|(kind, _)| (kind, retries(kind))), expected);
    }

    #[test]
    fn what_crashes_on_several_workers_is_the_sources_doing() {
        let crashed = |worker: &str, code: &str| Failure {
            worker: Some(shared::task::WorkerId::new(worker).unwrap()),
            code: code.to_owned(),
            ..failures(&[ErrorKind::Bug]).remove(0)
        };
        let told = poison_advice(&[crashed("w2", "slot_crashed"), crashed("w1", "panic")]).unwrap();
        assert!(told.contains("on 2 workers (w1, w2)") && told.contains("report it"), "{told}");
        assert_eq!(poison_advice(&[crashed("w1", "slot_crashed"), crashed("w1", "slot_crashed")]), None);
        assert_eq!(poison_advice(&[crashed("w1", "slot_crashed"), crashed("w2", "slot_stalled")]), None);
    }

    #[test]
    fn what_one_worker_can_t_do_another_is_asked_for() {
        let failed = |times: usize| failures(&vec![ErrorKind::Unsupported; times]);
        assert_eq!(decide(&task(0), &failed(1), true), Decision::AgainAfter(0));
        assert_eq!(decide(&task(0), &failed(1), false), Decision::GiveUp);
        assert_eq!(decide(&task(0), &failed(MOST_UNSUPPORTED + 1), true), Decision::GiveUp);
    }

    #[test]
    fn kinds_are_counted_apart() {
        use ErrorKind::*;
        let mixed = [Transient, Transient, Bug, Transient, Transient, Transient];
        assert_ne!(decide(&task(0), &failures(&mixed), false), Decision::GiveUp);
        assert_eq!(decide(&task(0), &failures(&[Bug, Transient, Bug]), false), Decision::GiveUp);
    }

    #[test]
    fn pauses_double_are_bounded_and_differ_between_tasks() {
        let pause = |chunk, times| match decide(&task(chunk), &failures(&vec![ErrorKind::Transient; times]), false) {
            Decision::AgainAfter(ms) => ms,
            Decision::GiveUp => panic!("gave up"),
        };
        for times in 1..=5 {
            let whole = 500 << (times - 1);
            assert!((whole / 2..=whole).contains(&pause(0, times)), "{times}: {}", pause(0, times));
        }
        assert_eq!(pause(0, 3), pause(0, 3));
        assert!((0..10).any(|chunk| pause(chunk, 3) != pause(0, 3)));
        assert!(pause_ms(2_000, 60, "x") <= LONGEST_PAUSE_MS);
    }
}
