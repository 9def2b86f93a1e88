//! Chunks of one job are made by encoders of different families.

use coordinator::job::{JobState, TaskState};
use coordinator::retry;
use shared::cmaf::DecoderConfig;
use shared::error::{ErrorKind, TaskError};
use shared::family::Family;
use shared::fleet::{Ability, Class, Heartbeat};
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, heartbeat, indexed};

/// As the synthetic worker's but for the PPS, or with id 15.
const SAME_IDS: &str = "000000016764000cacd941419f9f011000000300100000030320f14299600000000168efbcb0";
const OTHER_IDS: &str = "000000016764000c082cb40a0cfcf808800000030080000019078a1550000000016808042f3cb0";

/// An honest receipt, but another family has made the second rendition.
fn made_by(family: Family, sets: &str, source: &Source, task: &Task) -> TaskReport {
    let Work::Video(work) = &task.work else { panic!("not a chunk") };
    let mut receipt = source.chunk(work);
    receipt.parts[1].config = DecoderConfig::from_annexb_h264(&shared::hex::decode(sets).unwrap()).unwrap();
    receipt.parts[1].family = family;
    report(task, Outcome::Done(Receipt::Video(receipt)))
}

fn pins(task: &Task) -> Vec<(&str, Family)> {
    let Work::Video(work) = &task.work else { panic!("not a chunk") };
    work.pins.iter().map(|(rendition, family)| (rendition.as_str(), *family)).collect()
}

/// The first chunk is made, by software.
fn begun(source: &Source) -> World {
    let mut world = indexed(source);
    let task = world.take(TaskName::Video(0));
    world.reports(source.work(&task));
    world
}

#[test]
fn what_goes_into_one_init_segment_counts_and_is_told() {
    let source = Source::default();
    let mut world = begun(&source);
    let task = world.take(TaskName::Video(1));
    world.report(made_by(Family::NvencAda, OTHER_IDS, &source, &task));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
    let tracks = &world.rounds.last().unwrap().presentation.video;
    assert_eq!((tracks[0].outgrown.len(), tracks[1].outgrown.len()), (0, 1));
    let finding = world.rounds.last().unwrap().last.as_ref().unwrap().certificate.source.findings.last().unwrap();
    assert_eq!(finding.code, "mixed_encoders");
    let name = &tracks[1].rendition.name;
    let others = world.view().chunks.planned - 1;
    assert_eq!(
        finding.text,
        format!("{name}: chunks were made by different encoders, {others} by software, 1 by nvenc-ada")
    );
}

#[test]
fn what_does_not_fit_is_made_again_by_the_family_that_the_track_began_with() {
    let source = Source::default();
    let mut world = begun(&source);
    let task = world.take(TaskName::Video(1));
    assert_eq!(pins(&task), []);
    world.report(made_by(Family::FfmpegNvenc, SAME_IDS, &source, &task));
    let record = world.task(TaskName::Video(1)).clone();
    assert_eq!((record.failures[0].code.as_str(), record.refused), (retry::FAMILY_MISFIT, None));
    let said = &record.failures[0].message;
    assert!(said.contains(" by ffmpeg-nvenc does not fit what software began: PPS 0: "), "{said}");

    world.come_round(&source);
    let name = world.jobs.values().next().unwrap().ladder.video[1].name.clone();
    let again = world.take(TaskName::Video(1));
    assert_eq!(pins(&again), [(name.as_str(), Family::Software)]);
    world.reports(source.work(&again));
    assert!(matches!(world.task(TaskName::Video(1)).state, TaskState::Done(_)));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
    assert!(world.holds.is_empty(), "nobody is to blame");
}

#[test]
fn later_chunks_know_the_pin_over_restarts() {
    let source = Source { length_ms: 300_000, ..Source::default() };
    let mut world = begun(&source);
    let task = world.take(TaskName::Video(1));
    world.report(made_by(Family::FfmpegNvenc, SAME_IDS, &source, &task));
    world.power_cycle();
    world.wait(2_000);
    assert!(world.queue.iter().any(|task| matches!(task.id.name, TaskName::Video(_))));
    for task in world.queue.iter().filter(|task| matches!(task.id.name, TaskName::Video(_))) {
        assert_eq!(pins(task).len(), 1, "{}", task.id);
    }
}

#[test]
fn a_chunk_that_knows_a_pin_is_of_the_same_plan_when_the_source_is_read_again() {
    let source = Source::default();
    let mut world = begun(&source);
    let task = world.take(TaskName::Video(1));
    world.report(made_by(Family::FfmpegNvenc, SAME_IDS, &source, &task));
    world.come_round(&source);
    let again = world.take(TaskName::Video(1));
    assert_eq!(pins(&again).len(), 1);
    world.report(report(&again, Outcome::Failed(TaskError::transient("store_missing", "its packets are gone"))));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

/// Two drivers of one GPU generation write different bytes under the same ids.
#[test]
fn a_family_that_does_not_fit_itself_gives_way_to_software() {
    let source = Source::default();
    let mut world = indexed(&source);
    let first = world.take(TaskName::Video(0));
    world.report(made_by(Family::NvencAda, OTHER_IDS, &source, &first));
    let task = world.take(TaskName::Video(1));
    let other_driver = OTHER_IDS.replace("6808042f3cb0", "6808042f3ca0");
    world.report(made_by(Family::NvencAda, &other_driver, &source, &task));
    world.come_round(&source);
    let again = world.take(TaskName::Video(1));
    assert_eq!(pins(&again).iter().map(|(_, family)| *family).collect::<Vec<_>>(), [Family::Software]);
    world.reports(source.work(&again));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn software_tries_where_the_pinned_family_is_gone() {
    let source = Source::default();
    let mut world = indexed(&source);
    let ability = Ability { class: Class::Cpu, name: "h264".into(), lack: None };
    world.worker = Some(Heartbeat { abilities: vec![ability], ..heartbeat() });
    world.beat();
    let first = world.take(TaskName::Video(0));
    world.report(made_by(Family::NvencAda, OTHER_IDS, &source, &first));
    let task = world.take(TaskName::Video(1));
    let other_level = OTHER_IDS.replace("6764000c", "6764000d");
    world.report(made_by(Family::NvencTuring, &other_level, &source, &task));
    world.come_round(&source);
    let again = world.take(TaskName::Video(1));
    assert_eq!(pins(&again)[0].1, Family::NvencAda);
    let error = TaskError::new(ErrorKind::Unsupported, retry::FAMILY_UNAVAILABLE, "no nvenc-ada here");
    world.report(report(&again, Outcome::Failed(error)));
    world.come_round(&source);
    let last = world.take(TaskName::Video(1));
    assert_eq!(pins(&last)[0].1, Family::Software);
    world.reports(source.work(&last));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}
