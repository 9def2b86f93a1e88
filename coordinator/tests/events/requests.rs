//! What people ask of jobs that are there.

use std::collections::BTreeMap;

use coordinator::farm::Event;
use coordinator::job::{JobSpec, JobState, Milestone, Submission, TaskState, Terms, TermsChange};
use shared::error::TaskError;
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, spec};

const KEPT_MS: u64 = 3_600_000;

/// A world in which the job keeps its parts and has failed of its second chunk.
fn failed(source: &Source) -> World {
    let mut world = failing(source);
    world.answer();
    world.wait(10_000);
    world
}

/// The same while its playlists are being taken away.
fn failing(source: &Source) -> World {
    let mut world = World::new();
    let spec = JobSpec { keep_parts_ms: KEPT_MS, ..spec() };
    world.apply(Event::Submitted(Box::new(spec.into())));
    let index = world.take(TaskName::Index);
    world.reports(source.work(&index));
    let first = world.take(TaskName::Video(0));
    world.reports(source.work(&first));
    let second = world.take(TaskName::Video(1));
    world.report(report(&second, Outcome::Failed(TaskError::input("undecodable", "no frame can be decoded"))));
    while let Some(task) = world.queue.pop_front() {
        world.report(report(&task, Outcome::Failed(TaskError::cancelled())));
    }
    assert!(matches!(world.answers.back(), Some(Event::CleanedUp(..))), "{:?}", world.answers);
    world
}

fn milestones(world: &World) -> Vec<Milestone> {
    world.view().history.iter().map(|moment| moment.what).collect()
}

#[test]
fn a_failed_job_that_keeps_its_parts_is_tried_again_where_it_failed() {
    let source = Source::default();
    let mut world = failed(&source);
    assert!(matches!(world.state(), JobState::Failed(_)));
    assert!(world.cleaned.iter().all(|order| order.keep_parts), "parts are gone: {:?}", world.cleaned);
    assert!(matches!(world.task(TaskName::Video(0)).state, TaskState::Done(_)));
    world.apply(Event::Retried(spec().id));
    assert_eq!(world.state(), JobState::Encoding);
    assert!(!world.names().contains(&"video-000000".to_owned()) && !world.names().contains(&"index".to_owned()));
    assert!(world.run(&source));
    use Milestone::*;
    assert_eq!(milestones(&world), [Accepted, Probed, Failed, Retried, Playable, Completed]);
}

#[test]
fn kept_parts_go_when_their_time_is_over_and_outlive_a_restart() {
    let source = Source::default();
    let mut world = failed(&source);
    world.power_cycle();
    world.answer();
    world.wait(60_000);
    assert!(matches!(world.task(TaskName::Video(0)).state, TaskState::Done(_)));
    world.now_ms += KEPT_MS;
    world.wait(1_000);
    world.answer();
    world.wait(1_000);
    assert!(world.tasks.is_empty() && world.view().settled);
    assert!(!world.cleaned.last().unwrap().keep_parts);
}

#[test]
fn a_job_that_has_not_failed_is_not_tried_again() {
    let source = Source::default();
    let mut world = World::with_job();
    assert!(world.run(&source));
    let before = world.jobs.clone();
    world.apply(Event::Retried(spec().id));
    assert_eq!(world.jobs, before);
}

#[test]
fn new_terms_are_saved_and_shown() {
    let mut world = World::with_job();
    let labels = BTreeMap::from([("team".to_owned(), "news".to_owned())]);
    let some = TermsChange { deadline_ms: Some(Some(1)), labels: Some(labels.clone()), ..TermsChange::default() };
    world.apply(Event::Updated(spec().id, some));
    let others = TermsChange { priority: Some(7), ..TermsChange::default() };
    world.apply(Event::Updated(spec().id, others.clone()));
    let terms = Terms { priority: 7, deadline_ms: Some(1), labels };
    assert_eq!(world.view().terms, terms);
    assert_eq!(world.jobs.values().next().unwrap().terms, terms);
    world.apply(Event::Cancelled(spec().id));
    world.apply(Event::Updated(spec().id, TermsChange { priority: Some(9), ..others }));
    assert_eq!(world.view().terms, terms, "it has ended");
}

#[test]
fn a_deleted_job_is_called_off_removed_and_forgotten() {
    let source = Source::default();
    let mut world = World::with_job();
    world.apply(Event::Deleted(spec().id, true));
    assert_eq!(world.state(), JobState::Cancelled);
    world.wait(10_000);
    world.answer();
    assert!(world.jobs.is_empty() && world.tasks.is_empty());

    let mut world = World::with_job();
    assert!(world.run(&source));
    for (erase, taken) in [(false, false), (true, true)] {
        let mut world = World { jobs: world.jobs.clone(), ..World::new() };
        world.power_cycle();
        world.apply(Event::Deleted(spec().id, erase));
        world.answer();
        assert!(world.jobs.is_empty());
        assert_eq!(world.cleaned.last().unwrap().take_away.as_ref().is_some_and(|all| all.whole), taken);
    }
}

#[test]
fn a_job_that_is_erased_while_it_is_tidied_up_is_erased() {
    let source = Source::default();
    let mut world = World::with_job();
    while !matches!(world.answers.front(), Some(Event::CleanedUp(..))) {
        match (world.answers.pop_front(), world.queue.pop_front()) {
            (Some(answer), task) => {
                world.apply(answer);
                world.queue.extend(task);
            }
            (None, Some(task)) => world.reports(source.work(&task)),
            (None, None) => world.wait(1_000),
        }
    }
    assert_eq!(world.cleaned.last().unwrap().take_away, None, "a job that completed is tidied up");
    world.apply(Event::Deleted(spec().id, true));
    world.answer();
    assert!(world.cleaned.last().unwrap().take_away.as_ref().is_some_and(|all| all.whole));
    assert!(world.jobs.is_empty());
}

#[test]
fn what_outlived_a_job_is_no_reason_to_tidy_up_a_target_that_is_anothers() {
    for taken in [false, true] {
        let mut world = World::with_job();
        let task = world.take(TaskName::Index);
        world.apply(Event::Cancelled(spec().id));
        world.wait(10_000);
        world.answer();
        assert!(world.view().settled);
        if taken {
            let other = JobSpec { id: JobId::new("other").unwrap(), ..spec() };
            assert_eq!(world.farm.refuses(&other.clone().into()), None);
            world.apply(Event::Submitted(Box::new(other.into())));
        }
        let before = world.cleaned.len();
        world.report(report(&task, Outcome::Started));
        while world.cleaned.len() == before {
            world.wait(10_000);
        }
        let last = world.cleaned.last().unwrap();
        assert_eq!((last.job.clone(), last.take_away.is_none()), (spec().id, taken));
    }
}

#[test]
fn a_job_tried_again_while_its_playlists_go_keeps_what_was_made() {
    let source = Source::default();
    for restarted in [false, true] {
        let mut world = failing(&source);
        world.apply(Event::Retried(spec().id));
        if restarted {
            world.fail_over();
            world.wait(10_000);
        }
        world.answer();
        assert_eq!(world.state(), JobState::Encoding);
        assert!(matches!(world.task(TaskName::Video(0)).state, TaskState::Done(_)));
        assert!(world.run(&source));
        assert_eq!(world.state(), JobState::Completed);
    }
}

#[test]
fn what_is_tried_again_is_not_what_was_called_off() {
    let source = Source { length_ms: 300_000, ..Source::default() };
    for restarted in [false, true] {
        let mut world = World::new();
        let spec = JobSpec { keep_parts_ms: KEPT_MS, ..spec() };
        world.apply(Event::Submitted(Box::new(spec.clone().into())));
        let index = world.take(TaskName::Index);
        world.reports(source.work(&index));
        let under_way = world.take(TaskName::Video(1));
        world.report(report(&under_way, Outcome::Started));
        // Its attempts have higher numbers than that of the chunk which is under way.
        for _ in 0..3 {
            let task = world.take(TaskName::Video(0));
            world.report(report(&task, Outcome::Failed(TaskError::transient("reset", "reset by peer"))));
            world.come_round(&source);
        }
        let task = world.take(TaskName::Video(0));
        world.report(report(&task, Outcome::Failed(TaskError::input("odd", "no picture in it"))));
        let called_off = world.cancelled.last().unwrap().clone();
        assert!(called_off.covers(&under_way));
        world.answer();
        world.queue.clear(); // workers have dropped it
        if restarted {
            world.fail_over();
        }
        world.apply(Event::Retried(spec.id.clone()));
        world.answer();
        world.wait(20_000);
        let again: Vec<_> = world.queue.iter().filter(|task| called_off.covers(task)).collect();
        assert!(!world.queue.is_empty() && again.is_empty(), "workers would stop these at once: {again:?}");
    }
}

#[test]
fn a_retry_that_has_not_begun_can_be_called_off() {
    let mut world = failing(&Source::default());
    world.apply(Event::Retried(spec().id));
    world.apply(Event::Cancelled(spec().id));
    world.answer();
    world.wait(10_000);
    assert!(matches!(world.state(), JobState::Failed(_)));
}

#[test]
fn nothing_goes_on_from_parts_of_which_some_are_gone() {
    let source = Source::default();
    for restarted in [false, true] {
        let mut world = failed(&source);
        world.now_ms += KEPT_MS;
        world.wait(500);
        assert!(!world.cleaned.last().unwrap().keep_parts);
        world.answers.clear();
        world.apply(Event::CleanedUp(spec().id, Err("the store went away in the middle".into())));
        if restarted {
            world.fail_over();
        }
        world.apply(Event::Retried(spec().id));
        assert!(matches!(world.state(), JobState::Failed(_)));
        world.wait(60_000);
        world.answer();
        assert_eq!(world.names(), ["index"], "it starts over");
    }
}

#[test]
fn a_job_that_was_forgotten_and_is_asked_for_again_uses_no_attempt_number_twice() {
    let mut world = World::with_job();
    let forget = |world: &mut World| {
        let attempt = world.take(TaskName::Index);
        world.apply(Event::Deleted(spec().id, true));
        world.report(report(&attempt, Outcome::Failed(TaskError::cancelled())));
        world.answer();
        assert!(world.jobs.is_empty());
        attempt.attempt
    };
    let first = forget(&mut world);
    world.apply(Event::Submitted(Box::new(spec().into())));
    let second = forget(&mut world);
    assert!(second > first, "in the same second");
    world.power_cycle();
    world.wait(10_000);
    world.apply(Event::Submitted(Box::new(spec().into())));
    let lines = world.farm.explain(&spec().id, world.now_ms).unwrap();
    assert_eq!(lines.last().unwrap().text, "Attempt 1 waits on the queue for a free slot.");
    assert!(world.take(TaskName::Index).attempt > second, "by the clock alone");
}

#[test]
fn an_idempotent_submission_leaves_a_failed_job_as_it_is() {
    let mut world = failed(&Source::default());
    let spec = JobSpec { keep_parts_ms: KEPT_MS, ..spec() };
    world.apply(Event::Submitted(Box::new(Submission { again: false, ..spec.into() })));
    assert!(matches!(world.state(), JobState::Failed(_)));
}

#[test]
fn a_timeline_names_who_failed_and_what_stands() {
    let source = Source::default();
    let world = failed(&source);
    let lines = world.farm.explain(&spec().id, world.now_ms).unwrap();
    let text: Vec<String> = lines.iter().map(|line| format!("{}: {}", line.about, line.text)).collect();
    assert!(
        text.iter()
            .any(|line| line == "video-000001: Attempt 1 by worker failed: no frame can be decoded (undecodable).")
    );
    assert!(text.iter().any(|line| line.starts_with("video-000000: Attempt 1 by worker encoded")));
    let place = |words: &str| text.iter().position(|line| line.contains(words)).unwrap();
    assert!(place("Attempt 1 by worker failed") < place("job: It failed."), "{text:?}");
    assert!(lines.is_sorted_by_key(|line| line.at_ms.unwrap_or(u64::MAX)));
}
