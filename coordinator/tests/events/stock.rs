//! What was made and is gone is made again, and nothing else is.

use coordinator::farm::Event;
use coordinator::job::{JobSpec, JobState, TaskState};
use coordinator::retry::{MOST_MISSING, PARTS_MISSING};
use shared::error::TaskError;
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, indexed, spec};

const LISTS: &str = "index/0-000000";

fn missing(task: &Task) -> TaskReport {
    report(task, Outcome::Failed(TaskError::transient("store_missing", "the key is not there")))
}

fn video(receipt: &Receipt) -> &VideoReceipt {
    let Receipt::Video(receipt) = receipt else { panic!("not a chunk's") };
    receipt
}

/// The job keeps its parts and has failed of its storyboard; all else is made.
fn failed_at_the_end(source: &Source) -> World {
    let mut world = World::new();
    world.apply(Event::Submitted(Box::new(JobSpec { keep_parts_ms: 3_600_000, ..spec() }.into())));
    loop {
        match world.queue.pop_front() {
            Some(task) if task.id.name == TaskName::Storyboard => {
                world.report(report(&task, Outcome::Failed(TaskError::input("odd", "a tile is no picture"))));
                break;
            }
            Some(task) => world.reports(source.work(&task)),
            None => world.wait(1_000),
        }
    }
    world.answer();
    world.wait(10_000);
    world.answer();
    assert!(matches!(world.state(), JobState::Failed(_)));
    world
}

/// Lets everybody work until the job is settled; says which tasks were made.
fn made(world: &mut World, source: &Source) -> Vec<String> {
    let mut made = Vec::new();
    while !world.view().settled || world.view().state != JobState::Completed {
        assert!(!matches!(world.state(), JobState::Failed(_)), "{:?}", world.view().problems);
        match world.queue.pop_front() {
            Some(task) => {
                made.push(task.id.name.to_string());
                world.reports(source.work(&task));
            }
            None => world.wait(1_000),
        }
        world.answer();
    }
    made.sort();
    made
}

#[test]
fn a_retry_makes_again_what_is_gone_and_nothing_else() {
    let source = Source::default();
    let mut world = failed_at_the_end(&source);
    let segment = video(world.task(TaskName::Video(1)).receipt().unwrap()).parts[0].segments[0].object.key.clone();
    let tile = video(world.task(TaskName::Video(2)).receipt().unwrap()).tiles[0].1.key.clone();
    world.gone = [segment, tile, LISTS.to_owned()].into();
    world.apply(Event::Retried(spec().id));
    assert!(world.queue.is_empty(), "nothing goes out before it is known what is there");
    let before = world.task(TaskName::Video(0)).clone();
    let answer = world.answers.pop_front().unwrap();
    world.gone.clear(); // what is made from now on is there
    world.apply(answer);
    let failure = world.task(TaskName::Video(1)).failures.last().unwrap().clone();
    assert_eq!(failure.code, PARTS_MISSING);
    assert_eq!(made(&mut world, &source), ["index", "storyboard", "video-000001", "video-000002"]);
    assert!(matches!(before.state, TaskState::Done(_)));
}

#[test]
fn a_retry_whose_folder_of_work_is_gone_makes_again_all_that_was_in_it() {
    let source = Source::default();
    let mut world = failed_at_the_end(&source);
    let chunks: Vec<_> = world.tasks.values().filter(|task| matches!(task.id.name, TaskName::Video(_))).collect();
    world.gone =
        chunks.iter().flat_map(|task| &video(task.receipt().unwrap()).tiles).map(|(_, o)| o.key.clone()).collect();
    let mut expected: Vec<String> = chunks.iter().map(|task| task.id.name.to_string()).collect();
    expected.extend(["index".to_owned(), "storyboard".to_owned()]);
    expected.sort();
    world.apply(Event::Retried(spec().id));
    let answer = world.answers.pop_front().unwrap();
    world.gone.clear();
    world.apply(answer);
    assert_eq!(made(&mut world, &source), expected);
}

#[test]
fn a_retry_that_finds_everything_makes_only_what_had_failed() {
    let source = Source::default();
    for restarted in [false, true] {
        let mut world = failed_at_the_end(&source);
        world.apply(Event::Retried(spec().id));
        if restarted {
            world.power_cycle(); // before the answer is there
        }
        assert_eq!(made(&mut world, &source), ["storyboard"]);
    }
}

#[test]
fn a_chunk_whose_packets_are_gone_has_the_source_read_again() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    world.report(missing(&task));
    world.answer();
    world.come_round(&source);
    world.wait(60_000);
    assert!(world.queue.iter().all(|task| task.id.name != TaskName::Video(0)), "its lists are not there yet");
    let index = world.take(TaskName::Index);
    world.reports(source.work(&index));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn tiles_that_a_storyboard_misses_are_made_again() {
    let source = Source::default();
    let mut world = indexed(&source);
    let storyboard = loop {
        match world.queue.pop_front() {
            Some(task) if task.id.name == TaskName::Storyboard => break task,
            Some(task) => world.reports(source.work(&task)),
            None => world.wait(1_000),
        }
        world.answer();
    };
    let tile = video(world.task(TaskName::Video(1)).receipt().unwrap()).tiles[0].1.key.clone();
    let (rounds, playable) = (world.rounds.len(), world.view().playable_segments);
    assert!(playable > 0);
    world.gone = [tile].into();
    world.report(missing(&storyboard));
    let answer = world.answers.pop_front().unwrap();
    world.gone.clear();
    world.apply(answer);
    assert_eq!(made(&mut world, &source), ["index", "storyboard", "video-000001"]);
    let segments = |round: &coordinator::farm::Round| round.presentation.video[0].segments.len() as u64;
    assert!(world.rounds[rounds..].iter().all(|round| segments(round) >= playable), "a playlist became shorter");
}

#[test]
fn segments_that_the_last_round_misses_are_made_again() {
    let source = Source::default();
    let mut world = indexed(&source);
    while world.state() != JobState::Publishing {
        match world.queue.pop_front() {
            Some(task) => world.reports(source.work(&task)),
            None => world.wait(1_000),
        }
        if world.state() != JobState::Publishing {
            world.answer();
        }
    }
    let segment = video(world.task(TaskName::Video(0)).receipt().unwrap()).parts[1].segments[0].object.key.clone();
    world.answers.clear();
    world.gone = [segment].into();
    let (job, message) = (spec().id, "000000: not found".to_owned());
    world.apply(Event::PublishFailed { job, transient: true, missing: true, message });
    let answer = world.answers.pop_front().unwrap();
    world.gone.clear();
    world.apply(answer);
    assert_eq!(world.state(), JobState::Encoding);
    assert_eq!(made(&mut world, &source), ["index", "video-000000"]);
}

#[test]
fn what_is_gone_again_and_again_fails_the_job() {
    let source = Source::default();
    let mut world = indexed(&source);
    let mut times = 0;
    while !matches!(world.state(), JobState::Failed(_)) {
        match world.queue.pop_front() {
            Some(task) if task.id.name == TaskName::Video(0) => {
                times += 1;
                world.report(missing(&task));
            }
            Some(task) => world.reports(source.work(&task)),
            None => world.wait(1_000),
        }
        world.answer();
        assert!(times <= 2 * MOST_MISSING, "it goes on for ever");
    }
    let problem = world.view().problems.iter().find(|problem| problem.fatal).unwrap();
    assert!(["store_missing", PARTS_MISSING].contains(&problem.code.as_str()), "{problem:?}");
}

#[test]
fn a_claim_of_what_was_looked_for_and_is_gone_does_not_count_again() {
    let source = Source::default();
    let mut world = failed_at_the_end(&source);
    let record = world.task(TaskName::Video(1)).clone();
    let TaskState::Done(accepted) = record.state else { panic!("it is not done") };
    world.gone = [video(&accepted.receipt).parts[0].segments[0].object.key.clone()].into();
    world.apply(Event::Retried(spec().id));
    let answer = world.answers.pop_front().unwrap();
    world.gone.clear();
    world.apply(answer);
    let again = TaskReport {
        task: record.id,
        attempt: accepted.attempt,
        worker: accepted.worker,
        outcome: Outcome::Done(accepted.receipt),
    };
    world.report(again); // the queue tells it once more
    assert!(!matches!(world.task(TaskName::Video(1)).state, TaskState::Done(_)));
    assert!(made(&mut world, &source).contains(&"video-000001".to_owned()));
}

#[test]
fn a_store_that_does_not_answer_is_asked_again_and_says_so() {
    let source = Source::default();
    let mut world = failed_at_the_end(&source);
    world.apply(Event::Retried(spec().id));
    world.answers.clear();
    world.apply(Event::StockTaken(spec().id, Err("503".into())));
    assert!(world.answers.is_empty() && world.queue.is_empty());
    let lines = world.farm.explain(&spec().id, world.now_ms).unwrap();
    assert!(lines.iter().any(|line| line.text.starts_with("What was made is looked for")));
    world.wait(2_000);
    assert_eq!(made(&mut world, &source), ["storyboard"]);
}
