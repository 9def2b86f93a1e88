//! Jobs that ended long ago leave the store, and come back when somebody wants something of them.

use coordinator::farm::{Command, Event};
use coordinator::job::{JobState, Milestone, Submission, Terms};
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{KEEP_FINISHED_MS, World, spec};

/// A world whose job is whole; nothing is left to do.
fn whole() -> World {
    let mut world = World::with_job();
    assert!(world.run(&Source::default()));
    world
}

fn pass(world: &mut World, ms: u64) {
    world.now_ms += ms;
    world.wait(1_000);
}

/// A world whose job has been put away.
fn put_away() -> World {
    let mut world = whole();
    pass(&mut world, KEEP_FINISHED_MS);
    world.answer();
    assert!(world.jobs.is_empty() && world.archive.len() == 1);
    world
}

#[test]
fn a_job_leaves_when_it_has_been_over_for_long_enough() {
    let mut world = whole();
    let (record, view) = (world.jobs.values().next().unwrap().clone(), world.view().clone());
    pass(&mut world, KEEP_FINISHED_MS - 60_000);
    assert!(world.archive.is_empty(), "too early");
    pass(&mut world, 60_000);
    let archived = &world.archive[&spec().id];
    assert_eq!(archived.record, record);
    assert_eq!(
        (archived.view.state, archived.view.chunks, archived.view.cpu_ms),
        (view.state, view.chunks, view.cpu_ms)
    );
    assert!(archived.view.sequence > view.sequence);
    assert!(archived.timeline.iter().any(|line| line.text == "The presentation is whole."));
    assert_eq!(world.jobs.len(), 1, "it is not known yet whether it is there");
    let before = world.commands;
    world.answer();
    assert_eq!((world.jobs.len(), world.commands - before), (0, 1), "one record is removed, and nothing else is done");
    assert!(world.farm.explain(&spec().id, world.now_ms).is_none());
}

#[test]
fn a_coordinator_that_dies_while_a_job_leaves_puts_it_away_again() {
    let mut world = whole();
    pass(&mut world, KEEP_FINISHED_MS);
    let first = world.archive.clone();
    world.power_cycle(); // the answer is lost
    assert_eq!(world.jobs.len(), 1);
    pass(&mut world, 1_000);
    world.answer();
    assert!(world.jobs.is_empty());
    assert_eq!(world.archive[&spec().id].record, first[&spec().id].record);
}

#[test]
fn a_job_that_can_not_be_put_away_stays_and_is_tried_again() {
    let mut world = whole();
    pass(&mut world, KEEP_FINISHED_MS);
    world.answers.clear();
    world.archive.clear();
    world.apply(Event::Archived(spec().id, false));
    assert_eq!(world.jobs.len(), 1);
    pass(&mut world, 60_000);
    world.answer();
    assert!(world.jobs.is_empty() && world.archive.len() == 1);
}

#[test]
fn a_job_that_was_put_away_can_be_brought_back_and_deleted() {
    let mut world = put_away();
    let record = world.archive[&spec().id].record.clone();
    world.apply(Event::Recalled(Box::new(record)));
    assert_eq!((world.jobs.len(), world.view().settled), (1, true));
    pass(&mut world, 30_000);
    assert_eq!(world.answers.len(), 0, "it stays for whoever brought it back");
    world.apply(Event::Deleted(spec().id, true));
    world.answer();
    assert!(world.jobs.is_empty() && world.archive.is_empty(), "{:?}", world.archive);
    assert!(world.cleaned.last().unwrap().take_away.as_ref().unwrap().whole);
    assert_eq!(world.view().history.last().unwrap().what, Milestone::Deleted);
}

#[test]
fn a_failed_job_that_was_put_away_starts_over_with_new_attempts() {
    let mut world = World::with_job();
    let index = world.take(TaskName::Index);
    world.report(report(&index, Outcome::Failed(shared::error::TaskError::input("corrupt", "no"))));
    world.answer();
    pass(&mut world, KEEP_FINISHED_MS);
    world.answer();
    assert!(world.jobs.is_empty());
    let record = world.archive[&spec().id].record.clone();
    world.apply(Event::Recalled(Box::new(record)));
    world.apply(Event::Retried(spec().id));
    assert!(world.take(TaskName::Index).attempt > index.attempt);
}

#[test]
fn a_job_that_is_deleted_while_it_leaves_leaves_nothing() {
    let mut world = whole();
    pass(&mut world, KEEP_FINISHED_MS);
    world.apply(Event::Deleted(spec().id, false));
    assert!(world.cleaned.iter().all(|order| order.forget.is_none()), "it is still being put away");
    world.answer();
    assert!(world.jobs.is_empty() && world.archive.is_empty());
    assert_eq!(world.cleaned.last().unwrap().forget, Some(TenantId::default()));
}

#[test]
fn a_job_that_starts_over_while_it_leaves_stays() {
    let mut world = World::with_job();
    world.apply(Event::Cancelled(spec().id));
    world.wait(10_000);
    world.answer();
    pass(&mut world, KEEP_FINISHED_MS);
    assert_eq!(world.answers.len(), 1);
    world.apply(Event::Submitted(Box::new(spec().into())));
    world.answer();
    assert_eq!(world.state(), JobState::Probing);
}

#[test]
fn a_probe_ends_with_its_source_known_and_does_not_outlive_its_coordinator() {
    let probe = || Submission { terms: Terms::of_probe(), ..spec().into() };
    let mut world = World::new();
    world.apply(Event::Submitted(Box::new(probe())));
    let index = world.take(TaskName::Index);
    world.reports(Source::default().work(&index));
    assert!(world.queue.is_empty() && world.rounds.is_empty(), "nothing is made of it");
    assert!(world.view().source.is_some());
    assert_eq!(world.state(), JobState::Cancelled);

    let mut world = World::new();
    world.apply(Event::Submitted(Box::new(probe())));
    world.power_cycle();
    world.wait(10_000);
    world.answer();
    assert!(world.jobs.is_empty() && world.tasks.is_empty(), "{:?}", world.jobs);
}

#[test]
fn few_jobs_leave_at_once() {
    let mut world = World::new();
    for number in 0..50 {
        let mut spec = spec();
        spec.id = JobId::new(format!("job-{number}")).unwrap();
        world.apply(Event::Submitted(Box::new(spec.clone().into())));
        world.apply(Event::Cancelled(spec.id));
    }
    world.queue.clear();
    world.wait(10_000);
    world.answer();
    world.now_ms += KEEP_FINISHED_MS;
    let leaving = |commands: &[Command]| commands.iter().filter(|it| matches!(it, Command::Archive(_))).count();
    assert_eq!(leaving(&world.farm.apply(Event::Tick, world.now_ms)), 16);
    assert_eq!(leaving(&world.farm.apply(Event::Tick, world.now_ms + 5_000)), 0, "those first");
}
