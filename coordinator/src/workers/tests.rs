//! Workers that are lost, held, doubted and let go again.

use shared::task::{AttemptId, IndexTask, TaskName};
use shared::testing::heartbeat;

use super::*;
use crate::job::Failure;

fn task(chunk: u32) -> TaskId {
    TaskId { job: JobId::new("job").unwrap(), name: TaskName::Video(chunk) }
}

#[test]
fn only_those_who_take_tasks_count() {
    let mut workers = Workers::default();
    assert_eq!(workers.beat(heartbeat("a"), 0), None);
    assert_eq!(workers.beat(heartbeat("b"), 0), None);
    assert_eq!(workers.slots(Class::Cpu), 4);
    let b = WorkerId::new("b").unwrap();
    assert_eq!(workers.hold(&b, true), Some(Directive::Hold(b.clone())));
    assert_eq!(workers.slots(Class::Cpu), 2);
    workers.lose_silent(0);
    workers.lose_silent(STALL_MS);
    workers.beat(heartbeat("b"), LOST_AFTER_MS);
    assert_eq!(workers.lose_silent(LOST_AFTER_MS).len(), 1);
    assert_eq!(workers.slots(Class::Cpu), 0);
    workers.beat(heartbeat("a"), LOST_AFTER_MS);
    assert_eq!(workers.slots(Class::Cpu), 2);
}

#[test]
fn a_lost_directive_is_said_again_with_the_next_heartbeat() {
    let mut workers = Workers::default();
    let a = WorkerId::new("a").unwrap();
    workers.beat(heartbeat("a"), 0);
    workers.hold(&a, true);
    assert_eq!(workers.beat(heartbeat("a"), 1), Some(Directive::Hold(a.clone())));
    let holding = Heartbeat { standing: Standing::Holding, ..heartbeat("a") };
    assert_eq!(workers.beat(holding.clone(), 2), None);
    workers.hold(&a, false);
    assert_eq!(workers.beat(holding, 3), Some(Directive::Release(a)));
}

#[test]
fn of_two_processes_of_one_name_the_one_that_started_last_is_listened_to() {
    let mut workers = Workers::default();
    let process = |host: &str, started_ms| Heartbeat { host: host.into(), started_ms, ..heartbeat("a") };
    let (old, new) = (process("attic", 1), process("cellar", 2));
    assert_eq!(workers.is_twin(&old, 0), None);
    workers.beat(old.clone(), 0);
    assert_eq!(workers.is_twin(&new, 1_000), None, "it may have been started again");
    assert!(workers.began_anew(&new).is_some());
    workers.beat(new.clone(), 1_000);
    assert_eq!(workers.is_twin(&old, 2_000), Some(true));
    assert_eq!(workers.is_twin(&old, 4_000), Some(false), "that is known");
    let view = workers.views().next().unwrap();
    let hosts = (view.heartbeat.host.as_str(), view.twin.as_ref().map(|twin| twin.host.as_str()));
    assert_eq!(hosts, ("cellar", Some("attic")));
    workers.beat(new.clone(), 3_000);
    workers.lose_silent(4_000 + LOST_AFTER_MS);
    assert_eq!(workers.views().next().unwrap().twin, None, "it has gone");
    assert_eq!(workers.is_twin(&old, 3_000 + LOST_AFTER_MS), None, "the other has gone");
}

fn task_of(job: &str, chunk: u32) -> TaskId {
    TaskId { job: JobId::new(job).unwrap(), name: TaskName::Video(chunk) }
}

/// A farm of two, and what `a` is told about one crash after another.
fn crash(workers: &mut Workers, tasks: &[TaskId]) -> Vec<Option<Directive>> {
    let a = WorkerId::new("a").unwrap();
    tasks.iter().map(|task| workers.failed(&a, task, ErrorKind::Bug, "slot_died", 0)).collect()
}

#[test]
fn a_black_hole_is_quarantined_and_one_bad_task_is_not_its_fault() {
    let (mut workers, a) = (Workers::default(), WorkerId::new("a").unwrap());
    workers.beat(heartbeat("a"), 0);
    workers.beat(heartbeat("b"), 0);
    for _ in 0..5 {
        assert_eq!(crash(&mut workers, &[task(0)]), [None]);
    }
    for kind in [ErrorKind::Input, ErrorKind::Exhausted, ErrorKind::Unsupported] {
        let mut failed = |chunk| workers.failed(&a, &task_of("other", chunk), kind, "x", 0);
        assert_eq!([1, 2, 3].map(&mut failed), [None, None, None], "{kind:?}");
    }
    workers.succeeded(&a, &task(7), false, 0);
    assert_eq!(crash(&mut workers, &[task(1), task_of("second", 2)]), [None, None]);
    assert_eq!(crash(&mut workers, &[task_of("third", 3)]), [Some(Directive::Hold(a.clone()))]);
    assert!(matches!(&workers.get(&a).unwrap().hold, Some(Hold::Quarantined(_))));
    assert_eq!(workers.slots(Class::Cpu), 2);
}

#[test]
fn one_job_that_crashes_everybody_quarantines_nobody_unless_another_makes_what_failed() {
    let (mut workers, ids) = (Workers::default(), ["a", "b"].map(|id| WorkerId::new(id).unwrap()));
    workers.beat(heartbeat("a"), 0);
    workers.beat(heartbeat("b"), 0);
    assert_eq!(crash(&mut workers, &[0, 1, 2, 3].map(task)), [None, None, None, None]);
    assert_eq!(workers.succeeded(&ids[1], &task(9), false, 0), [], "that one did not fail");
    assert_eq!(workers.succeeded(&ids[1], &task(1), false, 0), [Directive::Hold(ids[0].clone())]);
}

#[test]
fn jobs_that_crash_everybody_quarantine_nobody() {
    for together in [false, true] {
        let (mut workers, ids) = (Workers::default(), ["a", "b"].map(|id| WorkerId::new(id).unwrap()));
        ids.iter().for_each(|id| drop(workers.beat(heartbeat(id.as_str()), 0)));
        let tasks: Vec<TaskId> =
            ["x", "y"].into_iter().flat_map(|job| [0, 1].map(|chunk| task_of(job, chunk))).collect();
        let mut fail = |id: &WorkerId, task: &TaskId| workers.failed(id, task, ErrorKind::Bug, "slot_died", 0);
        if together {
            // One worker has failed at all of it before the other has come to any.
            assert!(tasks.iter().all(|task| fail(&ids[0], task).is_none()));
            assert!(tasks.iter().all(|task| fail(&ids[1], task).is_none()));
        } else {
            assert!(tasks.iter().all(|task| ids.iter().all(|id| fail(id, task).is_none())));
        }
        // Nothing of it is held against anybody later.
        let more = [task_of("z", 0), task_of("z", 1)];
        assert!(more.iter().all(|task| fail(&ids[1], task).is_none()));
        assert_eq!(workers.succeeded(&ids[0], &more[0], false, 0), [], "two of its own are no three");
    }
}

#[test]
fn two_black_holes_do_not_excuse_each_other_for_long() {
    let (mut workers, ids) = (Workers::default(), ["a", "b"].map(|id| WorkerId::new(id).unwrap()));
    ["a", "b", "c"].iter().for_each(|id| drop(workers.beat(heartbeat(id), 0)));
    let mut told = Vec::new();
    for job in 0..2 * MOST_FAULTY_JOBS {
        for id in &ids {
            told.extend(workers.failed(id, &task_of(&format!("job-{job}"), 0), ErrorKind::Bug, "slot_died", 0));
        }
    }
    assert_eq!(told, ids.map(Directive::Hold), "both are told");
}

#[test]
fn who_was_doubted_and_is_confirmed_is_not_blamed() {
    let (mut workers, b) = (Workers::default(), WorkerId::new("b").unwrap());
    workers.beat(heartbeat("a"), 0);
    workers.beat(heartbeat("b"), 0);
    for chunk in [1, 2] {
        crash(&mut workers, &[task(chunk)]);
        assert_eq!(workers.succeeded(&b, &task(chunk), true, 0), []);
    }
    assert_eq!(crash(&mut workers, &[task(3), task_of("other", 4)]), [None, None]);
}

#[test]
fn the_only_worker_is_never_quarantined() {
    let mut workers = Workers::default();
    workers.beat(heartbeat("a"), 0);
    assert_eq!(crash(&mut workers, &[task(1), task(2), task_of("other", 3)]), [None, None, None]);
}

#[test]
fn a_worker_gets_out_of_quarantine_by_proving_itself_and_later_each_time() {
    let (mut workers, a) = (Workers::default(), WorkerId::new("a").unwrap());
    let holding = |proofs, classes: &[Class]| Heartbeat {
        standing: Standing::Holding,
        proofs,
        classes: classes.to_vec(),
        ..heartbeat("a")
    };
    let (prove, release) = (Some(Directive::Prove(a.clone())), Some(Directive::Release(a.clone())));
    workers.beat(heartbeat("b"), 0);
    workers.beat(heartbeat("a"), 0);
    for (proofs, pause_ms) in [(1, 30_000), (2, 60_000)] {
        let now_ms = u64::from(proofs) * 1_000_000;
        for (job, chunk) in [("x", 1), ("y", 2), ("z", 3)] {
            workers.failed(&a, &task_of(job, chunk), ErrorKind::Bug, "slot_died", now_ms);
        }
        assert_eq!(workers.beat(Heartbeat { proofs, ..heartbeat("a") }, now_ms), Some(Directive::Hold(a.clone())));
        assert_eq!(workers.beat(holding(proofs, &[Class::Cpu]), now_ms), prove, "until it has tried");
        assert_eq!(workers.beat(holding(proofs + 1, &[]), now_ms + pause_ms), None, "its trial failed");
        assert_eq!(workers.beat(holding(proofs + 1, &[Class::Cpu]), now_ms + pause_ms - 1), None, "too soon");
        assert!(workers.is_held(&a));
        assert_eq!(workers.beat(holding(proofs + 1, &[Class::Cpu]), now_ms + pause_ms), release);
        assert!(!workers.is_held(&a));
        workers.beat(Heartbeat { proofs: proofs + 1, ..heartbeat("a") }, now_ms + pause_ms);
    }
}

#[test]
fn a_quarantine_from_before_a_restart_ends_in_the_same_way() {
    let (mut workers, a) = (Workers::default(), WorkerId::new("a").unwrap());
    workers.restore(a.clone(), Hold::Quarantined("it was on fire".into()), 0);
    let holding = |proofs| Heartbeat { standing: Standing::Holding, proofs, ..heartbeat("a") };
    assert_eq!(workers.beat(holding(5), 1_000), Some(Directive::Prove(a.clone())));
    assert_eq!(workers.beat(holding(0), 2_000), Some(Directive::Prove(a.clone())), "another process");
    assert_eq!(workers.beat(holding(1), 1_000 + FIRST_QUARANTINE_MS), Some(Directive::Release(a)));
}

#[test]
fn others_are_asked_for_what_failed_or_can_t_be_done_somewhere() {
    let mut workers = Workers::default();
    let lack = |id: &str, lack: Option<&str>| {
        let lack = lack.map(str::to_owned);
        Heartbeat { abilities: vec![Ability { class: Class::Cpu, name: "opus".into(), lack }], ..heartbeat(id) }
    };
    let failed = |worker: &str, kind| Failure {
        attempt: AttemptId(1),
        worker: WorkerId::new(worker),
        at_ms: 0,
        kind,
        code: "x".into(),
        message: String::new(),
    };
    let index = Work::Index(IndexTask { max_pixels: 1, growing_ms: None });
    let record = |failures| TaskRecord { failures, ..TaskRecord::new(task(0), index.clone(), AttemptId(0)) };
    let avoided = |workers: &Workers, failures| -> Vec<String> {
        workers.to_avoid(Class::Cpu, &record(failures)).iter().map(ToString::to_string).collect()
    };
    workers.beat(lack("a", None), 0);
    assert_eq!(avoided(&workers, vec![failed("a", ErrorKind::Bug)]), [""; 0], "there is nobody else");
    workers.beat(lack("b", Some("no libopus")), 0);
    assert_eq!(avoided(&workers, vec![failed("a", ErrorKind::Bug), failed("a", ErrorKind::Bug)]), ["a"]);
    assert_eq!(avoided(&workers, vec![failed("a", ErrorKind::Transient)]), [""; 0]);
    let (a, b) = (WorkerId::new("a").unwrap(), WorkerId::new("b").unwrap());
    assert!(workers.others_differ(&[&b]));
    workers.beat(lack("c", Some("no libopus")), 0);
    assert!(!workers.others_differ(&[&a, &b]), "c has proven the same as b");
}
