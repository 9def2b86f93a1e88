//! What needs which machine.

use coordinator::farm::Event;
use coordinator::job::{JobState, TaskState};
use coordinator::workers;
use shared::fleet::{Ability, AttemptRef, Class, Directive, GpuShare, Heartbeat};
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, heartbeat};

/// A worker that has proven both classes: two slots on CPUs, three on its GPU.
fn with_gpu() -> Heartbeat {
    let gpu = GpuShare { slots: 3, busy: 0, speed_ms_per_s: 20_000 };
    Heartbeat { classes: Class::ALL.to_vec(), gpu, ..heartbeat() }
}

/// The job, planned, on a farm of this worker.
fn planned(worker: Heartbeat, source: &Source) -> World {
    let mut world = World::new();
    world.worker = Some(worker);
    world.beat();
    world.apply(Event::Submitted(Box::new(crate::world::spec().into())));
    let index = world.take(TaskName::Index);
    world.reports(source.work(&index));
    world
}

fn class_of(world: &World, name: TaskName) -> Class {
    world.lanes.iter().find(|(task, _)| task.name == name).expect("it should have been handed out").1.class
}

fn long() -> Source {
    Source { length_ms: 300_000, ..Source::default() }
}

#[test]
fn chunks_go_to_gpus_and_everything_else_to_cpus() {
    let source = long();
    let mut world = planned(with_gpu(), &source);
    assert_eq!(class_of(&world, TaskName::Video(0)), Class::Gpu);
    assert_eq!(class_of(&world, TaskName::Index), Class::Cpu);
    assert_eq!(class_of(&world, TaskName::Audio(0)), Class::Cpu);
    let chunks = world.queue.iter().filter(|task| matches!(task.id.name, TaskName::Video(_))).count();
    assert_eq!(chunks, 6, "two for each slot of the GPU, whatever waits for CPUs");
    let backlog = world.farm.backlog(world.now_ms);
    assert!(backlog[&Class::Gpu].left_ms > 200_000 && backlog[&Class::Cpu].left_ms == 0, "{backlog:?}");
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
    assert!(
        world.lanes.iter().all(|(task, lane)| matches!(task.name, TaskName::Video(_)) == (lane.class == Class::Gpu))
    );
}

#[test]
fn a_gpu_that_lacks_what_the_job_asks_for_gets_none_of_it() {
    let lack = Ability { class: Class::Gpu, name: "h264".into(), lack: Some("its driver is too old".into()) };
    let world = planned(Heartbeat { abilities: vec![lack], ..with_gpu() }, &long());
    assert_eq!(class_of(&world, TaskName::Video(0)), Class::Cpu);
}

#[test]
fn a_job_that_began_on_cpus_stays_there() {
    let source = long();
    let mut world = planned(heartbeat(), &source);
    assert_eq!(class_of(&world, TaskName::Video(0)), Class::Cpu);
    world.worker = Some(with_gpu());
    assert!(world.run(&source));
    assert!(world.lanes.values().all(|lane| lane.class == Class::Cpu));
}

#[test]
fn a_job_whose_gpus_have_gone_goes_on_on_cpus_and_says_so() {
    let source = long();
    let mut world = planned(with_gpu(), &source);
    let begun = world.take(TaskName::Video(0));
    world.report(report(&begun, Outcome::Started));
    let waiting = world.take(TaskName::Video(1));
    let running = vec![AttemptRef { task: begun.id.clone(), attempt: begun.attempt }];
    world.worker = Some(Heartbeat { running, ..heartbeat() }); // its GPU has fallen off the bus; what began goes on
    world.wait(workers::ALL_LOST_AFTER_MS - 2_000);
    assert_eq!(class_of(&world, TaskName::Video(1)), Class::Gpu, "it may come back");
    let lines = world.farm.explain(&begun.id.job, world.now_ms).unwrap();
    assert!(lines.iter().any(|line| line.text.contains("in a minute its chunks go on to CPUs")), "{lines:?}");
    world.wait(4_000);
    assert_eq!(class_of(&world, TaskName::Video(1)), Class::Cpu);
    assert_eq!(world.task(TaskName::Video(0)).attempt, begun.attempt, "what runs goes on");
    assert_eq!(world.task(TaskName::Video(0)).state, TaskState::Out);
    // Whoever takes the earlier attempt after all is told at its first word.
    world.report(report(&waiting, Outcome::Started));
    let stop = AttemptRef { task: waiting.id.clone(), attempt: waiting.attempt };
    assert_eq!(world.directives, [Directive::Stop(stop)]);
    world.reports(source.work(&begun));
    world.worker = Some(heartbeat());
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
    let problems = &world.views.last().unwrap().problems;
    assert_eq!(
        problems.iter().map(|problem| (problem.code.as_str(), problem.fatal)).collect::<Vec<_>>(),
        [("gpu_gone", false)]
    );
}

#[test]
fn where_its_chunks_go_survives_a_restart() {
    let source = long();
    let mut world = planned(with_gpu(), &source);
    world.worker = Some(heartbeat());
    world.fail_over();
    world.apply(Event::QueueLost);
    world.wait(2_000);
    assert_eq!(class_of(&world, TaskName::Video(0)), Class::Gpu);
    world.worker = Some(with_gpu());
    assert!(world.run(&source));
    assert!(
        world.lanes.iter().all(|(task, lane)| matches!(task.name, TaskName::Video(_)) == (lane.class == Class::Gpu))
    );
}
