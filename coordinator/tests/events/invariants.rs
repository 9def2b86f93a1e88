//! The five invariants of `farm.rs`, by name.

use coordinator::job::JobState;
use coordinator::retry;
use shared::cmaf::DecoderConfig;
use shared::error::ErrorKind;
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, indexed};

/// Checked at every single `Enqueue` of a whole job.
#[test]
fn save_before_enqueue() {
    let mut world = World::with_job();
    assert!(world.run(&Source::default()));
    assert_eq!(world.state(), JobState::Completed);
    assert!(world.commands > 50, "{}", world.commands);
}

#[test]
fn first_complete_report_wins() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    let Work::Video(work) = &task.work else { panic!() };
    let first = source.chunk(work);
    world.report(report(&task, Outcome::Done(Receipt::Video(first.clone()))));
    let second = VideoReceipt { spent: Spent::new(99, 99), ..first.clone() };
    let before = world.commands;
    world.report(report(&task, Outcome::Done(Receipt::Video(second))));
    assert_eq!(world.commands, before, "the second report changed something");
    assert_eq!(world.task(TaskName::Video(0)).receipt(), Some(&Receipt::Video(first)));
}

#[test]
fn a_key_has_one_content() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    let Work::Video(work) = &task.work else { panic!() };
    let mut receipt = source.chunk(work);
    receipt.parts[0].segments[0].object.sha256[0] ^= 1; // other content under the same key
    world.report(report(&task, Outcome::Done(Receipt::Video(receipt))));
    let record = world.task(TaskName::Video(0));
    assert_eq!(record.failures[0].code, "wrong_receipt");
    assert!(record.failures[0].message.contains("key is"), "{}", record.failures[0].message);
}

/// What each round leads to is checked as it goes out; here: that none goes out too early.
#[test]
fn master_means_done() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    world.reports(source.work(&task));
    assert!(world.rounds.is_empty(), "published without audio");
    let task = world.take(TaskName::Audio(0));
    world.reports(source.work(&task));
    assert_eq!(world.rounds.len(), 1);
    assert!(!world.rounds[0].presentation.complete);
    assert_eq!(world.rounds[0].presentation.video[0].segments.len(), 1);
    assert!(world.run(&source));
    let whole = world.rounds.last().unwrap();
    assert!(whole.presentation.complete);
    assert!(whole.presentation.video.iter().all(|track| track.segments.len() == 10));
    assert_eq!(world.rounds.iter().filter(|round| round.presentation.complete).count(), 1);
}

/// What never fits: see also `families.rs`.
#[test]
fn one_decoder_config_a_track() {
    let source = Source { length_ms: 600_000, ..Source::default() };
    let mut world = indexed(&source);
    for name in [TaskName::Video(0), TaskName::Audio(0)] {
        let task = world.take(name);
        world.reports(source.work(&task));
    }
    for _ in 0..=retry::MOST_MISFITS {
        let task = world.take(TaskName::Video(1));
        let Work::Video(work) = &task.work else { panic!() };
        let mut receipt = source.chunk(work);
        receipt.parts[1].config = DecoderConfig::Avc(vec![1, 2, 3]);
        world.report(report(&task, Outcome::Done(Receipt::Video(receipt))));
        world.come_round(&source);
    }
    assert_eq!(world.state(), JobState::Failed(ErrorKind::Unsupported));
    let problem = world.view().problems.iter().find(|problem| problem.fatal).unwrap();
    assert_eq!(problem.code, "family_misfit");
    assert!(world.rounds.iter().all(|round| round.presentation.video[1].segments.len() == 1));
}
