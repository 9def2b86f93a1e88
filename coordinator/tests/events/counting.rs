//! What happens is counted once, whoever leads, and as what it is.

use coordinator::farm::{Count, Event, HowEnded, TaskCounts};
use coordinator::job::{JobSpec, Submission, Terms};
use shared::error::TaskError;
use shared::source::Verdict;
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, indexed, spec};

/// How jobs have ended so far.
fn ends(world: &World) -> Vec<HowEnded> {
    let end = |count: &Count| if let Count::Ended(how, _) = count { Some(*how) } else { None };
    world.counts.iter().filter_map(end).collect()
}

fn playable(world: &World) -> usize {
    world.counts.iter().filter(|count| matches!(count, Count::Playable(_))).count()
}

#[test]
fn a_job_is_counted_once_however_often_the_leader_changes() {
    let source = Source::default();
    let mut world = World::with_job();
    assert!(world.run(&source));
    let commands = world.commands;
    for power in 0..commands {
        let mut world = World::with_job();
        world.power = Some(power);
        while !world.run(&source) {
            world.restart();
        }
        world.fail_over();
        // One that dies between saving a step and counting it leaves it uncounted.
        assert!(playable(&world) <= 1 && ends(&world).len() <= 1, "power for {power}: {:?}", world.counts);
        if power + 1 < commands && playable(&world) == 0 {
            assert_eq!(ends(&world), [HowEnded::Succeeded], "only one of them is lost");
        }
    }
}

#[test]
fn time_counts_from_when_a_job_was_asked_for_or_tried_again() {
    let source = Source::default();
    let mut world = World::new();
    world.apply(Event::Submitted(Box::new(JobSpec { keep_parts_ms: 3_600_000, ..spec() }.into())));
    world.wait(100_000);
    let index = world.take(TaskName::Index);
    world.reports(source.work(&index));
    let first = world.take(TaskName::Video(0));
    world.report(report(&first, Outcome::Failed(TaskError::input("undecodable", "no frame can be decoded"))));
    assert_eq!(world.counts, [Count::Ended(HowEnded::Refused, 100_000)]);
    world.queue.clear();
    world.wait(10_000);
    world.answer();
    world.counts.clear();
    world.apply(Event::Retried(spec().id));
    world.wait(7_000);
    assert!(world.run(&source));
    let [Count::Playable(playable_ms), Count::Ended(HowEnded::Succeeded, whole_ms)] = world.counts[..] else {
        panic!("{:?}", world.counts)
    };
    assert!((7_000..60_000).contains(&playable_ms) && (playable_ms..60_000).contains(&whole_ms));
}

#[test]
fn what_the_source_can_t_help_is_the_farm_s_failure() {
    for (verdict, how) in [(Verdict::Corrupt, HowEnded::Refused), (Verdict::Unsupported, HowEnded::Refused)] {
        let mut world = World::with_job();
        let index = world.take(TaskName::Index);
        world.reports(Source { verdict, ..Source::default() }.work(&index));
        assert_eq!(ends(&world), [how], "{verdict:?}");
    }
    for (error, how) in [
        (TaskError::input("source_missing", "there is none"), HowEnded::Refused),
        (TaskError::unsupported("video_codec", "no decoder for vvc"), HowEnded::Refused),
        (TaskError::bug("the machine is on fire"), HowEnded::Failed),
    ] {
        let mut world = World::with_job();
        while ends(&world).is_empty() {
            let index = world.take(TaskName::Index);
            world.report(report(&index, Outcome::Failed(error.clone())));
            world.wait(60_000);
        }
        assert_eq!(ends(&world), [how], "{error:?}");
        let tried_again = world.counts.iter().filter(|count| **count == Count::Retry(TaskName::Index)).count();
        assert_eq!(tried_again > 0, how == HowEnded::Failed);
    }
    let mut world = World::with_job();
    world.apply(Event::TooLong(TaskId { job: spec().id, name: TaskName::Index }, 99));
    assert_eq!(ends(&world), [HowEnded::Failed]);
}

#[test]
fn what_is_called_off_is_nobody_s_failure_and_a_probe_is_no_job() {
    let mut world = World::with_job();
    world.apply(Event::Cancelled(spec().id));
    world.apply(Event::Deleted(spec().id, true));
    assert_eq!(ends(&world), [HowEnded::Cancelled]);
    let mut world = World::new();
    world.apply(Event::Submitted(Box::new(Submission { terms: Terms::of_probe(), ..spec().into() })));
    let index = world.take(TaskName::Index);
    world.reports(Source::default().work(&index));
    assert_eq!(world.counts, []);
}

#[test]
fn every_task_that_is_not_done_stands_somewhere() {
    let source = Source::default();
    let mut world = indexed(&source);
    let begun = world.take(TaskName::Video(0));
    world.report(report(&begun, Outcome::Started));
    let counts = world.farm.task_counts();
    let [index, video] = ["index", "video"].map(|kind| counts[kind]);
    assert_eq!(index, TaskCounts::default(), "it is done");
    let open = world.tasks.values().filter(|task| matches!(task.id.name, TaskName::Video(_))).count() as u64;
    assert_eq!((video.running, video.waiting + video.queued + video.running), (1, open));
    let queued: u64 = counts.values().map(|counts| counts.queued).sum();
    assert_eq!(queued, world.queue.len() as u64);
}
