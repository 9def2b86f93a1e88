//! Workers come, go and fail.

use coordinator::farm::{Count, Event, Hedge};
use coordinator::job::{JobSpec, JobState, TaskState};
use coordinator::workers::{Hold, Quarantined};
use coordinator::{retry, workers};
use shared::error::{ErrorKind, TaskError};
use shared::fleet::{Ability, AttemptRef, Class, Directive, GiveWay, HEARTBEAT_MS, Heartbeat, Standing};
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, heartbeat, indexed, spec};

/// After which an attempt that has left the queue, and of which nobody has said a word, is made again.
const UNHEARD_MS: u64 = workers::LOST_AFTER_MS + HEARTBEAT_MS;

#[test]
fn what_ran_on_a_worker_that_is_gone_is_made_again_and_nothing_is_counted_against_it() {
    let source = Source::default();
    let mut world = indexed(&source);
    for _ in 0..retry::MOST_BUGS + retry::MOST_TRANSIENT + 1 {
        let task = world.take(TaskName::Video(0));
        let running = vec![AttemptRef { task: task.id.clone(), attempt: task.attempt }];
        world.worker = Some(Heartbeat { running, ..heartbeat() });
        world.wait(1_000);
        world.worker = None;
        world.wait(workers::ALL_LOST_AFTER_MS);
        assert_eq!(world.task(TaskName::Video(0)).failures.last().unwrap().code, retry::WORKER_LOST);
        world.queue.retain(|task| task.id.name == TaskName::Index);
        world.apply(Event::QueueLost);
        world.worker = Some(heartbeat());
        world.wait(1_000);
    }
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn what_runs_in_vain_is_stopped() {
    let source = Source::default();
    let mut world = indexed(&source);
    let first = world.take(TaskName::Video(0));
    world.reports(source.work(&first));
    let ghost = TaskId { job: JobId::new("ghost").unwrap(), name: TaskName::Index };
    let running = [first.id, ghost].map(|task| AttemptRef { task, attempt: AttemptId(1) }).to_vec();
    world.worker = Some(Heartbeat { running: running.clone(), ..heartbeat() });
    world.beat();
    assert_eq!(world.directives, running.into_iter().map(Directive::Stop).collect::<Vec<_>>());
}

#[test]
fn what_a_kept_queue_holds_goes_on_after_a_restart_and_is_handed_out_again_only_if_it_is_not_there() {
    let source = Source::default();
    let mut world = indexed(&source);
    let (queued, waiting) = (world.queue.clone(), world.names());
    world.fail_over();
    assert_eq!(world.names(), waiting, "nothing is handed out twice");
    world.apply(Event::QueueDepth(4));
    world.wait(60_000);
    assert_eq!(world.queue, queued);
    world.queue.clear();
    world.apply(Event::QueueDepth(0));
    world.wait(UNHEARD_MS);
    assert!(world.queue.is_empty(), "they may be on their way");
    world.wait(1_000);
    let (mut again, mut before) = (world.names(), waiting);
    again.sort();
    before.sort();
    assert_eq!(again, before);
    assert!(world.queue.iter().all(|task| task.attempt == AttemptId(2)));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn what_a_worker_took_just_before_it_died_with_the_coordinator_is_made_again_soon() {
    let source = Source { length_ms: 300_000, ..Source::default() };
    let mut world = indexed(&source);
    let taken = world.take(TaskName::Video(1));
    world.fail_over();
    // The other worker goes on with what waits, and what follows is handed out.
    let next = world.take(TaskName::Video(0));
    world.reports(source.work(&next));
    let other = world.take(TaskName::Video(2));
    world.reports(source.work(&other));
    world.wait(60_000);
    assert!(world.queue.iter().all(|task| task.id != taken.id), "for all that is known, it may still wait there");
    let later = world.take(TaskName::Video(3));
    world.report(report(&later, Outcome::Started));
    world.wait(UNHEARD_MS);
    assert!(world.queue.iter().all(|task| task.id != taken.id), "it may be on its way");
    world.reports(source.work(&later));
    world.wait(1_000);
    assert_eq!(world.take(TaskName::Video(1)).attempt, AttemptId(2));
    assert_eq!(world.task(TaskName::Video(1)).failures, []);
}

#[test]
fn what_a_worker_has_begun_since_its_last_heartbeat_is_missed_with_it() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    world.report(report(&task, Outcome::Started));
    let other = Heartbeat { worker: WorkerId::new("other").unwrap(), ..heartbeat() };
    world.worker = Some(other);
    world.wait(workers::LOST_AFTER_MS + HEARTBEAT_MS);
    assert_eq!(world.task(TaskName::Video(0)).failures.last().unwrap().code, retry::WORKER_LOST);
    world.worker = Some(heartbeat());
    world.come_round(&source);
    assert_eq!(world.take(TaskName::Video(0)).attempt, AttemptId(2));
}

#[test]
fn a_worker_that_comes_back_as_another_process_has_lost_what_it_ran() {
    let source = Source::default();
    let mut world = indexed(&source);
    let named = world.take(TaskName::Video(0));
    world.worker = Some(Heartbeat { running: vec![reference(&named)], started_ms: 1, ..heartbeat() });
    world.wait(1_000);
    let begun = world.take(TaskName::Video(1));
    world.report(report(&begun, Outcome::Started));
    world.worker = Some(Heartbeat { started_ms: 2, ..heartbeat() });
    world.beat();
    for name in [TaskName::Video(0), TaskName::Video(1)] {
        assert_eq!(world.task(name).failures.last().unwrap().code, retry::WORKER_LOST);
    }
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn what_a_worker_that_drains_gives_back_is_made_again_and_counts_against_nobody() {
    let source = Source::default();
    let mut world = indexed(&source);
    for round in 1..retry::MOST_LOST as u64 + 3 {
        let task = world.take(TaskName::Video(0));
        assert_eq!(task.attempt, AttemptId(round as u32));
        world.report(report(&task, Outcome::Started));
        let drains = Heartbeat { running: vec![reference(&task)], standing: Standing::Draining, ..heartbeat() };
        world.worker = Some(Heartbeat { started_ms: round, ..drains });
        world.beat();
        world.worker = Some(Heartbeat { started_ms: round + 1, ..heartbeat() });
        world.beat();
    }
    assert_eq!(world.task(TaskName::Video(0)).failures, []);
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn two_workers_of_one_name_lose_nothing_again_and_again_and_people_are_told_of_both() {
    let source = Source::default();
    let mut world = indexed(&source);
    let process = |host: &str, started_ms| Heartbeat { host: host.into(), started_ms, ..heartbeat() };
    let task = world.take(TaskName::Video(0));
    let first = process("attic", 1);
    let second = Heartbeat { running: vec![reference(&task)], ..process("cellar", 2) };
    for _ in 0..20 {
        world.worker = Some(first.clone());
        world.wait(1_000);
        world.worker = Some(second.clone());
        world.wait(1_000);
    }
    assert_eq!(world.task(TaskName::Video(0)).failures, [], "both live");
    assert_eq!(world.twins, [(heartbeat().worker, ["cellar".to_owned(), "attic".to_owned()])], "once");
    let give_way = GiveWay { worker: heartbeat().worker, started_ms: 2, host: "cellar".into() };
    assert!(world.directives.iter().all(|said| *said == Directive::GiveWay(give_way.clone())), "to the older alone");
    assert!(world.directives.len() >= 10, "as long as it takes tasks: {}", world.directives.len());
    world.directives.clear();
    world.worker = Some(Heartbeat { standing: Standing::Holding, ..first.clone() });
    world.beat();
    assert_eq!(world.directives, [], "it does as it was told");
    world.wait(workers::LOST_AFTER_MS + HEARTBEAT_MS);
    assert_eq!(world.directives[0], Directive::Release(heartbeat().worker), "it is alone");
    world.worker = Some(first);
    assert_eq!(world.task(TaskName::Video(0)).failures.last().unwrap().code, retry::WORKER_LOST, "that one has ended");
    assert!(world.run(&source));
}

#[test]
fn an_attempt_that_nobody_wants_is_stopped_at_its_first_word() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    world.reports(source.work(&task));
    world.report(report(&task, Outcome::Started));
    let ghost = Task { id: TaskId { job: JobId::new("ghost").unwrap(), name: TaskName::Index }, ..task.clone() };
    world.report(report(&ghost, Outcome::Started));
    assert_eq!(world.directives, [&task, &ghost].map(|task| Directive::Stop(reference(task))));
}

#[test]
fn what_an_attempt_writes_after_its_job_was_settled_is_removed() {
    let source = Source::default();
    let mut world = World::with_job();
    let index = world.queue.front().unwrap().clone();
    assert!(world.run(&source));
    let cleaned = world.cleaned.len();
    world.report(report(&index, Outcome::Started)); // handed out once more
    assert_eq!(world.directives, [Directive::Stop(reference(&index))]);
    world.wait(60_000);
    world.answer();
    let orders = &world.cleaned[cleaned..];
    assert_eq!(orders.len(), 1);
    assert!(!orders[0].keep_parts && orders[0].take_away.is_none(), "the presentation stays: {orders:?}");
}

fn reference(task: &Task) -> AttemptRef {
    AttemptRef { task: task.id.clone(), attempt: task.attempt }
}

/// Another worker, which does nothing unless a test lets it.
fn second() -> Heartbeat {
    shared::testing::heartbeat("second")
}

/// The second worker makes it.
fn make_elsewhere(world: &mut World, source: &Source, task: &Task) {
    let reports = source.work(task).into_iter().map(|report| TaskReport { worker: second().worker, ..report });
    world.reports(reports.collect());
}

#[test]
fn a_task_that_failed_goes_to_others_and_a_black_hole_is_told_to_hold_until_it_has_proven_itself() {
    let source = Source::default();
    let mut world = indexed(&source);
    world.apply(Event::Heartbeat(second()));
    let worker = heartbeat().worker;
    for name in ["video-000000", "video-000001", "audio-000000"].map(|name| name.parse().unwrap()) {
        let task = world.take(name);
        assert_eq!(task.avoid, []);
        world.report(report(&task, Outcome::Failed(TaskError::bug("the machine is on fire"))));
        world.apply(Event::Tick);
    }
    assert_eq!(world.directives, [], "it may be the job's fault");
    while !world.names().contains(&"video-000000".to_owned()) {
        let other = world.queue.pop_front().unwrap();
        make_elsewhere(&mut world, &source, &other);
    }
    let again = world.take(TaskName::Video(0));
    assert_eq!(again.avoid, std::slice::from_ref(&worker));
    make_elsewhere(&mut world, &source, &again);
    assert_eq!(world.directives, [Directive::Hold(worker.clone())]);
    assert!(matches!(&world.holds[&worker], Some(Hold::Quarantined(_))));
    assert_eq!(world.counts.last(), Some(&Count::Quarantine(Quarantined::BlackHole)));

    world.worker = Some(Heartbeat { standing: Standing::Holding, ..heartbeat() });
    world.beat();
    assert_eq!(world.directives.last(), Some(&Directive::Prove(worker.clone())));
    world.worker = Some(Heartbeat { standing: Standing::Holding, proofs: 2, ..heartbeat() });
    world.wait(60_000);
    assert_eq!(world.directives.last(), Some(&Directive::Release(worker.clone())));
    assert_eq!(world.holds[&worker], None);
    world.worker = Some(heartbeat());
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn a_chunk_that_fails_alike_on_two_workers_fails_the_job_at_once_and_says_where() {
    let source = Source::default();
    let mut world = indexed(&source);
    world.apply(Event::Heartbeat(second()));
    let began_ms = world.now_ms;
    let task = world.take(TaskName::Video(0));
    let crash = || Outcome::Failed(TaskError::new(ErrorKind::Bug, "slot_crashed", "SIGSEGV"));
    world.report(report(&task, crash()));
    world.apply(Event::Heartbeat(second()));
    world.come_round(&source);
    let again = world.take(TaskName::Video(0));
    assert_eq!(again.avoid, [heartbeat().worker]);
    world.report(TaskReport { worker: second().worker, ..report(&again, crash()) });
    assert!(matches!(world.state(), JobState::Failed(ErrorKind::Bug)), "{}", world.state());
    assert!(world.now_ms - began_ms <= 60_000);
    let problem = world.view().problems.iter().find(|problem| problem.fatal).unwrap();
    assert_eq!((problem.code.as_str(), problem.text.as_str()), ("slot_crashed", "SIGSEGV, after 2 attempts"));
    assert!(problem.scope.starts_with("chunk 0, 0:00:00.000"), "{}", problem.scope);
    let workers: Vec<_> = world.task(TaskName::Video(0)).failures.iter().map(|one| one.worker.clone()).collect();
    assert_eq!(workers, [Some(heartbeat().worker), Some(second().worker)]);
}

#[test]
fn what_one_worker_can_t_do_another_does_and_a_source_nobody_reads_is_refused_at_once() {
    let unsupported = || Outcome::Failed(TaskError::unsupported("video_codec", "no decoder for vvc"));
    let lack = Ability { class: Class::Cpu, name: Ability::SOURCES.into(), lack: Some("no decoder for vvc".into()) };
    for (able, state) in [(true, JobState::Completed), (false, JobState::Failed(ErrorKind::Unsupported))] {
        let (source, mut world) = (Source::default(), World::with_job());
        let unable = Heartbeat { abilities: vec![lack.clone()], ..heartbeat() };
        world.worker = Some(unable.clone());
        world.beat();
        world
            .apply(Event::Heartbeat(Heartbeat { abilities: if able { vec![] } else { unable.abilities }, ..second() }));
        let index = world.take(TaskName::Index);
        world.report(report(&index, unsupported()));
        if able {
            world.apply(Event::Tick);
            assert_eq!(world.queue[0].avoid, [heartbeat().worker]);
        }
        assert!(world.run(&source));
        assert_eq!(world.state(), state);
    }
}

#[test]
fn a_chunk_that_is_made_too_fast_is_made_once_more_and_the_same_claim_confirms_it() {
    let source = Source { length_ms: 240_000, ..Source::default() };
    let mut world = indexed(&source);
    world.apply(Event::Heartbeat(second()));
    let (mut doubted, mut made) = (None, 0);
    while doubted.is_none() {
        let task = world.queue.pop_front().expect("there should be enough chunks");
        let slow = |mut report: TaskReport| {
            if let Outcome::Done(receipt) = &mut report.outcome {
                receipt.spent_mut().wall_ms = 60_000;
            }
            report
        };
        if made >= 5 && matches!(task.id.name, TaskName::Video(_)) {
            world.reports(source.work(&task));
            doubted = Some(task);
        } else {
            made += usize::from(matches!(task.id.name, TaskName::Video(_)));
            let reports = source.work(&task).into_iter().map(slow);
            world.reports(reports.map(|report| TaskReport { worker: second().worker, ..report }).collect());
        }
    }
    let name = doubted.unwrap().id.name;
    let record = world.task(name).clone();
    assert_eq!(record.failures.last().map(|failure| failure.code.as_str()), Some(retry::IMPLAUSIBLE), "{record:?}");
    assert!(world.run(&source), "the second attempt claims the same");
    assert_eq!(world.state(), JobState::Completed);
    assert_eq!(world.directives, [], "nobody is blamed");
}

#[test]
fn a_straggler_gets_one_rival_and_the_first_of_the_two_counts() {
    let source = Source { length_ms: 120_000, ..Source::default() };
    let mut world = indexed(&source);
    let slow = world.take(TaskName::Video(0));
    world.report(report(&slow, Outcome::Started));
    while let Some(task) = world.queue.pop_front() {
        world.reports(source.work(&task));
    }
    assert!(world.views.last().is_some_and(|view| view.chunks.done >= 3), "too few chunks to tell what is slow");
    let running = vec![AttemptRef { task: slow.id.clone(), attempt: slow.attempt }];
    world.worker = Some(Heartbeat { running, ..heartbeat() });
    world.wait(600_000);
    assert_eq!(world.names(), ["video-000000"], "one rival and no more");
    assert_eq!(world.counts.last(), Some(&Count::Hedge(Hedge::Started)));
    assert_eq!(world.directives, [], "both are wanted");
    assert_eq!(world.task(TaskName::Video(0)).failures, []);
    world.reports(source.work(&slow));
    let TaskState::Done(accepted) = &world.task(TaskName::Video(0)).state else { panic!("it is not done") };
    assert_eq!(accepted.attempt, slow.attempt);
    assert!(world.counts.contains(&Count::Hedge(Hedge::Lost)), "{:?}", world.counts);
    let late = world.take(TaskName::Video(0));
    assert_eq!(world.directives, [Directive::Stop(reference(&late))], "it writes in vain");
    world.directives.clear();
    world.worker = Some(Heartbeat { running: vec![reference(&late)], ..heartbeat() });
    world.beat();
    assert_eq!(world.directives, [Directive::Stop(reference(&late))]);
}

#[test]
fn workers_that_nobody_hears_go_on_and_are_believed_when_they_are_heard_again() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    world.worker = Some(Heartbeat { running: vec![reference(&task)], ..heartbeat() });
    world.wait(1_000);
    let beating = world.worker.take();
    world.wait(3 * workers::LOST_AFTER_MS); // the broker is away
    assert_eq!(world.task(TaskName::Video(0)).failures, []);
    world.wait(workers::ALL_LOST_AFTER_MS);
    assert_eq!(world.task(TaskName::Video(0)).state, TaskState::Waiting);
    world.worker = beating;
    world.beat();
    assert_eq!((world.task(TaskName::Video(0)).state.clone(), &world.directives[..]), (TaskState::Out, &[][..]));
    assert_eq!(world.task(TaskName::Video(0)).attempt, task.attempt);
}

#[test]
fn an_attempt_that_was_given_back_is_not_lost_with_whoever_had_it_first() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    world.worker = Some(Heartbeat { running: vec![reference(&task)], ..heartbeat() });
    world.beat();
    let other = Heartbeat { worker: WorkerId::new("other").unwrap(), running: vec![reference(&task)], ..heartbeat() };
    world.worker = Some(other);
    world.wait(workers::LOST_AFTER_MS + HEARTBEAT_MS);
    assert_eq!((world.task(TaskName::Video(0)).state.clone(), &world.directives[..]), (TaskState::Out, &[][..]));
}

#[test]
fn a_job_that_nobody_can_do_says_so() {
    let mut world = World::new();
    world.apply(Event::Submitted(Box::new(spec().into())));
    let says_so = |world: &World| {
        let lines = world.farm.explain(&spec().id, world.now_ms).unwrap();
        lines.iter().any(|line| line.text.starts_with("No worker takes tasks"))
    };
    assert!(!says_so(&world));
    world.apply(Event::Hold(WorkerId::new("worker").unwrap(), true));
    assert!(says_so(&world));
}

#[test]
fn a_job_says_who_makes_it_since_when_and_that_nobody_is_heard_any_more() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    world.report(report(&task, Outcome::Started));
    let says = |world: &World, words: &str| {
        let lines = world.farm.explain(&spec().id, world.now_ms).unwrap();
        lines.iter().any(|line| line.at_ms.is_none() && line.text.contains(words))
    };
    world.wait(3_000);
    assert!(says(&world, "Attempt 1 by worker has run for 3.0 s; 0.0 s of presentation are made."));
    assert!(!says(&world, "No worker has been heard"));
    world.worker = None;
    world.wait(workers::LOST_AFTER_MS + HEARTBEAT_MS);
    assert!(says(&world, "No worker has been heard for 1"));
    assert!(says(&world, "by worker has run for"), "silence is not death");
    world.worker = Some(heartbeat());
    world.wait(HEARTBEAT_MS);
    assert!(!says(&world, "No worker has been heard"));
}

#[test]
fn a_record_that_no_store_takes_fails_its_job_and_no_other() {
    let source = Source::default();
    let mut world = indexed(&source);
    let audio = world.take("audio-000000".parse().unwrap());
    world.apply(Event::TooLong(audio.id, 99));
    let problem = world.view().problems.last().unwrap();
    assert_eq!((problem.code.as_str(), problem.fatal), ("record_too_long", true));
    assert!(problem.scope.starts_with("audio track"), "{problem:?}");
    assert!(world.run(&source) && world.tasks.is_empty());
    let other = JobSpec { id: JobId::new("other").unwrap(), ..spec() };
    world.views.clear();
    world.apply(Event::Submitted(Box::new(other.into())));
    assert!(world.run(&source));
    assert_eq!(world.view().state, JobState::Completed);
}
