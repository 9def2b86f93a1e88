//! Cards are lost in the middle of a job, and what they made does not go together with what software makes.

use coordinator::job::{JobState, TaskState};
use coordinator::retry;
use shared::cmaf::DecoderConfig;
use shared::error::{ErrorKind, TaskError};
use shared::family::Family;
use shared::fleet::{Ability, Class, Heartbeat};
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, heartbeat, indexed};

/// Id 6, at another level than the synthetic worker's: no init segment has both.
const OTHER_LEVEL: &str = "000000016764000d082cb40a0cfcf808800000030080000019078a1550000000016808042f3cb0";

/// An honest receipt of a card that makes all renditions.
fn by_card(source: &Source, task: &Task) -> TaskReport {
    let Work::Video(work) = &task.work else { panic!("not a chunk") };
    let mut receipt = source.chunk(work);
    for part in &mut receipt.parts {
        part.config = DecoderConfig::from_annexb_h264(&shared::hex::decode(OTHER_LEVEL).unwrap()).unwrap();
        part.family = Family::NvencAda;
    }
    report(task, Outcome::Done(Receipt::Video(receipt)))
}

fn is_pinned_to(task: &Task, family: Family) -> bool {
    let Work::Video(work) = &task.work else { return false };
    !work.pins.is_empty() && work.pins.values().all(|pin| *pin == family)
}

/// A worker whose cards are gone: it makes everything in software, and nothing that only a card can make.
fn without_cards(source: &Source, task: &Task) -> Vec<TaskReport> {
    if !is_pinned_to(task, Family::NvencAda) {
        return source.work(task);
    }
    let error = TaskError::new(ErrorKind::Unsupported, retry::FAMILY_UNAVAILABLE, "no nvenc-ada here");
    vec![report(task, Outcome::Failed(error))]
}

/// Three chunks are made by a card and published, with the sound; then the card is lost.
fn begun_by_a_card(source: &Source) -> World {
    let mut world = indexed(source);
    let ability = Ability { class: Class::Cpu, name: "h264".into(), lack: None };
    world.worker = Some(Heartbeat { abilities: vec![ability], ..heartbeat() });
    world.beat();
    let sound = world.take(TaskName::Audio(0));
    world.reports(source.work(&sound));
    for number in 0..3 {
        let task = next(&mut world, TaskName::Video(number));
        world.report(by_card(source, &task));
        world.answer();
    }
    world.wait(6_000);
    world.answer();
    assert_eq!(world.rounds.last().unwrap().presentation.video[0].segments.len(), 5);
    world
}

/// The task, when it is handed out.
fn next(world: &mut World, name: TaskName) -> Task {
    for _ in 0..100 {
        if world.queue.iter().any(|task| task.id.name == name) {
            break;
        }
        world.wait(500);
    }
    world.take(name)
}

/// Lets the worker without cards work until the job is settled; says whether there was power for all of it.
fn run(world: &mut World, source: &Source) -> bool {
    for _ in 0..10_000 {
        if world.views.last().is_some_and(|view| view.settled) {
            return true;
        }
        let reports = world.queue.pop_front().map(|task| without_cards(source, &task));
        let powered = match (reports, world.answers.pop_front()) {
            (Some(reports), answer) => {
                world.answers.extend(answer);
                reports.into_iter().all(|report| world.report(report))
            }
            (None, Some(answer)) => world.apply(answer),
            (None, None) => {
                world.wait(500);
                world.power != Some(0)
            }
        };
        if !powered {
            return false;
        }
    }
    panic!("the job does not end: {:?}", world.views.last());
}

/// Everything is by software, and what players were shown never became less.
fn ended_well(world: &World) {
    assert_eq!(world.state(), JobState::Completed, "{:?}", world.view().problems);
    let presentation = &world.rounds.last().unwrap().presentation;
    for track in &presentation.video {
        assert_eq!((track.segments.len(), track.outgrown.len()), (10, 0));
        assert!(track.config.codecs().unwrap().ends_with("0c"), "the level of software");
    }
}

#[test]
fn what_software_can_t_go_on_with_it_makes_again() {
    let source = Source::default();
    let mut world = begun_by_a_card(&source);
    assert!(run(&mut world, &source));
    ended_well(&world);
    let shown: Vec<usize> = world.rounds.iter().map(|round| round.presentation.video[0].segments.len()).collect();
    assert!(shown.is_sorted(), "{shown:?}");
    let problem = world.view().problems.iter().find(|problem| problem.code == "encoders_changed").unwrap();
    assert!(!problem.fatal);
    assert!(problem.text.starts_with("3 chunks are made again by software: "), "{}", problem.text);
    assert!(problem.text.contains("by nvenc-ada: level"), "{}", problem.text);
    let certificate = &world.rounds.last().unwrap().last.as_ref().unwrap().certificate;
    assert!(certificate.source.findings.iter().all(|finding| finding.code != "mixed_encoders"));
    assert!(world.holds.is_empty(), "nobody is to blame");
}

/// What was saved until then is always a state to go on from.
#[test]
fn a_coordinator_may_die_at_any_moment_of_it() {
    let source = Source::default();
    let mut moments = 0;
    for power in 0.. {
        let mut world = begun_by_a_card(&source);
        world.power = Some(power);
        let whole = run(&mut world, &source);
        if !whole {
            world.power_cycle();
            assert!(run(&mut world, &source));
        }
        ended_well(&world);
        if whole {
            break;
        }
        moments += 1;
    }
    assert!(moments > 50, "{moments}");
}

/// Both were asked of the card that is gone before anybody knew it.
#[test]
fn chunks_that_wait_for_a_lost_card_together_end_together() {
    let source = Source::default();
    let mut world = begun_by_a_card(&source);
    for number in [3, 4] {
        let task = next(&mut world, TaskName::Video(number));
        world.reports(source.work(&task));
    }
    let pinned: Vec<Task> = [3, 4].map(|number| next(&mut world, TaskName::Video(number))).into();
    assert!(pinned.iter().all(|task| is_pinned_to(task, Family::NvencAda)), "{:?}", world.names());
    for task in &pinned {
        world.reports(without_cards(&source, task));
    }
    assert!(run(&mut world, &source));
    ended_well(&world);
}

/// What a card began and finished before its colleagues gave up comes too late, and changes nothing.
#[test]
fn a_card_s_late_chunk_does_not_turn_it_back() {
    let source = Source::default();
    let mut world = begun_by_a_card(&source);
    let late = next(&mut world, TaskName::Video(4));
    while world.view().problems.iter().all(|problem| problem.code != "encoders_changed") {
        let task = next(&mut world, TaskName::Video(3));
        world.reports(without_cards(&source, &task));
        world.wait(1_000);
    }
    world.report(by_card(&source, &late));
    assert!(!matches!(world.task(TaskName::Video(4)).state, TaskState::Done(_)));
    assert!(run(&mut world, &source));
    ended_well(&world);
}

/// The plan is told again while chunks are pinned, and is still the same.
#[test]
fn a_plan_that_is_made_again_knows_pinned_chunks() {
    let source = Source { length_ms: 300_000, gops_a_piece: 1, ..Source::default() };
    let mut world = World::with_job();
    let index = world.take(TaskName::Index);
    let pieces = source.work(&index);
    world.reports(pieces[..40].to_vec());
    let first = next(&mut world, TaskName::Video(0));
    world.report(by_card(&source, &first));
    let second = next(&mut world, TaskName::Video(1));
    world.reports(source.work(&second));
    world.wait(5_000);
    assert!(is_pinned_to(&next(&mut world, TaskName::Video(1)), Family::NvencAda));
    world.power_cycle();
    world.wait(1_000);
    assert!(run(&mut world, &source));
    assert_eq!(world.state(), JobState::Completed, "{:?}", world.view().problems);
}
