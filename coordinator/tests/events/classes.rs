//! What needs which machine.

use coordinator::farm::Event;
use coordinator::job::{JobState, TaskState};
use coordinator::workers;
use shared::fleet::{Ability, AttemptRef, Class, Directive, GpuShare, Heartbeat};
use shared::placement::{Fallback, Stage};
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{World, heartbeat};

/// A worker that has proven both classes: two slots on CPUs, three on its GPU.
fn with_gpu() -> Heartbeat {
    let gpu = GpuShare { slots: 3, busy: 0, speed_ms_per_s: 20_000, on_trial: false };
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

/// A worker that has begun to try its GPU.
fn with_gpu_on_trial() -> Heartbeat {
    Heartbeat { gpu: GpuShare { on_trial: true, ..GpuShare::default() }, ..heartbeat() }
}

#[test]
fn chunks_wait_for_gpus_that_are_being_tried() {
    let source = long();
    let mut world = planned(with_gpu_on_trial(), &source);
    let handed_out = |world: &World| world.queue.iter().any(|task| matches!(task.id.name, TaskName::Video(_)));
    assert!(!handed_out(&world) && world.view().awaits_gpus);
    assert!(world.queue.iter().any(|task| task.id.name == TaskName::Audio(0)), "what no GPU does goes out at once");
    let lines = world.farm.explain(&crate::world::spec().id, world.now_ms).unwrap();
    assert!(lines.iter().any(|line| line.text.contains("has tried its GPUs")), "{lines:?}");
    world.worker = Some(with_gpu());
    world.beat();
    assert_eq!(class_of(&world, TaskName::Video(0)), Class::Gpu);
    assert!(!world.view().awaits_gpus);

    let mut none = planned(with_gpu_on_trial(), &source);
    none.worker = Some(heartbeat()); // the GPU has failed its trial
    none.beat();
    assert_eq!(class_of(&none, TaskName::Video(0)), Class::Cpu);
}

#[test]
fn chunks_wait_for_a_trial_a_minute_and_no_longer() {
    let mut world = planned(with_gpu_on_trial(), &long());
    let handed_out = |world: &World| world.queue.iter().any(|task| matches!(task.id.name, TaskName::Video(_)));
    world.wait(58_000);
    assert!(!handed_out(&world));
    world.wait(4_000);
    assert_eq!(class_of(&world, TaskName::Video(0)), Class::Cpu);
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
    assert!(
        lines.iter().any(|line| line.text.contains("after 60 s without one its chunks go on to CPUs")),
        "{lines:?}"
    );
    world.wait(4_000);
    assert_eq!(class_of(&world, TaskName::Video(1)), Class::Cpu);
    let stale = |task: &&Task| world.task(task.id.name).attempt != task.attempt;
    assert_eq!(world.queue.iter().filter(stale).count(), 0, "nothing is left for GPUs");
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

#[test]
fn what_a_gpu_did_not_do_is_told_once_for_each_stage() {
    let source = long();
    let mut world = planned(with_gpu(), &source);
    let reason = |stage, reason: &str| Fallback::new(stage, reason);
    for (number, fallbacks) in [
        (0, vec![reason(Stage::Slot, "no frame in 20 s"), reason(Stage::Slot, "no frame in 20 s, again")]),
        (1, vec![reason(Stage::Slot, "no frame in 20 s"), reason(Stage::Encode, "no session is free")]),
    ] {
        let task = world.take(TaskName::Video(number));
        let mut reports = source.work(&task);
        for report in &mut reports {
            if let Outcome::Done(Receipt::Video(receipt)) = &mut report.outcome {
                receipt.hardware.fallbacks.clone_from(&fallbacks);
            }
        }
        world.reports(reports);
    }
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
    let problems = &world.views.last().unwrap().problems;
    let told: Vec<_> = problems.iter().map(|problem| (problem.code.as_str(), problem.text.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                "gpu_slot_fallback",
                "Its slot died on a GPU of worker, and it began again with less of it: no frame in 20 s."
            ),
            ("gpu_encode_fallback", "A GPU did not encode on worker, and something else did: no session is free."),
        ]
    );
    assert!(problems.iter().all(|problem| !problem.fatal && problem.at_ms.is_some()));
    assert!(problems[0].scope.starts_with("chunk 0") && problems[1].scope.starts_with("chunk 1"), "{problems:?}");
}

/// A job that asks for chunks where GPUs come when there is work, within two minutes; nobody has one now.
fn awaited() -> (World, Source) {
    let source = long();
    let mut world = World::new();
    world.farm = crate::world::farm().awaiting_gpus(120_000);
    world.apply(Event::Restored(Box::default()));
    world.worker = Some(heartbeat());
    world.beat();
    world.apply(Event::Submitted(Box::new(crate::world::spec().into())));
    let index = world.take(TaskName::Index);
    world.reports(source.work(&index));
    (world, source)
}

fn chunks_handed_out(world: &World) -> usize {
    world.queue.iter().filter(|task| matches!(task.id.name, TaskName::Video(_))).count()
}

#[test]
fn chunks_wait_for_a_gpu_that_is_to_come_and_are_the_work_that_starts_it() {
    let (mut world, source) = awaited();
    world.wait(60_000);
    assert_eq!(chunks_handed_out(&world), 0);
    assert!(world.farm.backlog(world.now_ms)[&Class::Gpu].left_ms > 200_000);
    world.worker = Some(with_gpu());
    assert!(world.run(&source));
    assert!(
        world.lanes.iter().all(|(task, lane)| matches!(task.name, TaskName::Video(_)) == (lane.class == Class::Gpu))
    );
}

#[test]
fn chunks_wait_no_longer_than_that_and_not_for_one_that_can_t_do_it() {
    let (mut world, source) = awaited();
    world.wait(118_000);
    assert_eq!(chunks_handed_out(&world), 0);
    world.wait(4_000);
    assert_eq!(class_of(&world, TaskName::Video(0)), Class::Cpu);
    assert!(world.run(&source));
    assert_eq!(world.views.last().unwrap().problems[0].code, "gpu_gone");

    let (mut world, _) = awaited();
    let lack = Ability { class: Class::Gpu, name: "h264".into(), lack: Some("its driver is too old".into()) };
    world.worker = Some(Heartbeat { abilities: vec![lack], ..with_gpu() });
    world.wait(2_000);
    assert_eq!(class_of(&world, TaskName::Video(0)), Class::Cpu);
}
