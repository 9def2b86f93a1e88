//! The power goes at every step; the job ends as if it had not.

use coordinator::farm::Round;
use coordinator::job::JobState;
use shared::source::Verdict;
use shared::testing::synthetic::Source;

use crate::world::World;

fn whole(world: &World) -> &Round {
    world.rounds.last().unwrap()
}

#[test]
fn restart_at_every_step_ends_with_the_same_presentation() {
    let source = Source::default();
    let mut undisturbed = World::with_job();
    assert!(undisturbed.run(&source));
    for power in 0..undisturbed.commands {
        let mut world = World::new();
        world.power = Some(power);
        let started = world.apply(coordinator::farm::Event::Submitted(Box::new(crate::world::spec().into())));
        assert!(!started || !world.run(&source), "the power did not go after {power} commands");
        let unsettled = world.jobs.values().all(|job| !job.settled);
        world.views.clear();
        world.restart();
        assert!(world.run(&source));
        assert_eq!(world.state(), JobState::Completed, "after {power} commands");
        assert!(world.tasks.is_empty());
        if unsettled {
            assert_eq!(world.cleaned.last().map(|order| order.take_away.clone()), Some(None));
        }
        let (got, expected) = (whole(&world), whole(&undisturbed));
        assert_eq!(got.presentation, expected.presentation, "after {power} commands");
        assert_eq!(
            got.last.as_ref().map(|last| &last.certificate),
            expected.last.as_ref().map(|last| &last.certificate),
        );
    }
}

#[test]
fn finished_chunks_are_not_made_again() {
    let source = Source::default();
    let mut world = crate::world::indexed(&source);
    for name in ["video-000000", "audio-000000", "video-000001"] {
        let task = world.take(name.parse().unwrap());
        world.reports(source.work(&task));
    }
    world.restart();
    assert!(world.names().iter().all(|name| !["index", "video-000000", "video-000001"].contains(&name.as_str())));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn a_source_that_changed_in_between_fails_loudly() {
    let mut world = World::with_job();
    let index = world.take("index".parse().unwrap());
    let reports = Source::default().work(&index);
    world.reports(reports[..4].to_vec());
    world.restart();
    let index = world.take("index".parse().unwrap());
    world.reports(Source { length_ms: 50_000, ..Source::default() }.work(&index));
    assert_eq!(world.view().problems.last().unwrap().code, "source_changed");
}

#[test]
fn attempts_are_told_what_the_source_was_and_another_one_fails_the_job() {
    let marked = |mark: Option<&str>| Source { mark: mark.map(str::to_owned), ..Source::default() };
    for (first, second, fails) in [
        (Some("a"), Some("b"), true),
        (Some("a"), Some("a"), false),
        (None, Some("a"), false), // a worker of an earlier version knew none
        (Some("a"), None, false),
    ] {
        let mut world = World::with_job();
        let index = world.take("index".parse().unwrap());
        assert_eq!(index.source_mark, None);
        let reports = marked(first).work(&index);
        world.reports(reports[..4].to_vec());
        let chunk = world.take("video-000000".parse().unwrap());
        assert_eq!(chunk.source_mark.as_deref(), first);
        world.restart();
        let index = world.take("index".parse().unwrap());
        assert_eq!(index.source_mark.as_deref(), first);
        world.reports(marked(second).work(&index)[..4].to_vec());
        let failed = world.state().is_final();
        assert_eq!(failed, fails, "{first:?} {second:?}");
        if fails {
            let problem = world.view().problems.last().unwrap();
            assert_eq!((problem.code.as_str(), world.view().verdict), ("source_changed", Some(Verdict::Standard)));
        }
    }
}

#[test]
fn an_ended_job_is_shown_as_before() {
    let mut world = World::with_job();
    assert!(world.run(&Source::default()));
    let before = std::mem::take(&mut world.views).pop().unwrap();
    world.restart();
    let after = world.view();
    assert!(before.settled && before.chunks.done > 0);
    assert_eq!((after.chunks, after.cpu_ms, after.settled), (before.chunks, before.cpu_ms, true));
}
