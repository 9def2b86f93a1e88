//! One thing goes wrong at a time.

use coordinator::farm::{Event, Refusal};
use coordinator::job::{JobRecord, JobSpec, JobState, ProblemClass, Submission, TaskState};
use coordinator::retry;
use shared::error::{ErrorKind, TaskError};
use shared::fleet::AttemptRef;
use shared::source::Verdict;
use shared::task::*;
use shared::testing::synthetic::{Source, report};

use crate::world::{SILENCE_MS, World, indexed, spec};

fn fatal(world: &World) -> (&str, &str) {
    let problem = world.view().problems.iter().find(|problem| problem.fatal).unwrap();
    (&problem.code, &problem.scope)
}

fn fail(world: &mut World, name: TaskName, error: TaskError) {
    let task = world.take(name);
    world.report(report(&task, Outcome::Failed(error)));
}

#[test]
fn an_undisturbed_job_goes_through_its_states() {
    let mut world = World::with_job();
    assert!(world.run(&Source::default()));
    let mut states: Vec<JobState> = world.views.iter().map(|view| view.state).collect();
    states.dedup();
    assert_eq!(states, [JobState::Probing, JobState::Encoding, JobState::Publishing, JobState::Completed]);
    let view = world.view();
    assert!(view.settled && view.chunks.complete && view.problems.is_empty());
    assert!(view.chunks.done >= 4 && view.chunks.done == view.chunks.planned);
    assert_eq!((view.playable_segments, view.playable_ms), (10, 60_000));
    let done: Vec<_> = view.renditions.iter().map(|r| (r.name.as_str(), r.done_ms, r.total_ms)).collect();
    let whole = |name| (name, 60_000, Some(60_000));
    assert_eq!(done, [whole("720p"), whole("480p"), whole("360p"), whole("audio-en")]);
    assert!(world.tasks.is_empty() && world.cleaned.len() == 1 && world.cleaned[0].take_away.is_none());
    let storyboard = world.rounds.last().unwrap().presentation.storyboard.as_ref().unwrap();
    assert_eq!(storyboard.tiles, (0..30).collect::<Vec<u64>>());
}

#[test]
fn progress_never_falls_in_an_undisturbed_job() {
    let mut world = World::with_job();
    assert!(world.run(&Source::default()));
    for pair in world.views.windows(2) {
        for (before, after) in pair[0].renditions.iter().zip(&pair[1].renditions) {
            assert!(before.done_ms <= after.done_ms, "{before:?} {after:?}");
        }
    }
}

#[test]
fn a_job_of_a_thousand_tasks_is_not_shown_at_every_step_of_one() {
    let mut world = indexed(&Source { length_ms: 8 * 3_600_000, ..Source::default() });
    assert!(world.tasks.len() > 1_000);
    let chunk = world.take(TaskName::Video(0));
    let shown = world.views.len();
    for done_ms in 1..=100 {
        world.report(report(&chunk, Outcome::Progress(Progress { done_ms, frames: 0 })));
    }
    assert_eq!(world.views.len(), shown);
    world.wait(500);
    assert_eq!((world.views.len(), world.view().renditions[0].done_ms), (shown + 1, 100));
    world.apply(Event::Cancelled(spec().id));
    assert_eq!(world.view().state, JobState::Cancelled);
}

#[test]
fn a_farm_of_a_thousand_tasks_is_not_looked_through_at_the_end_of_each() {
    let source = Source { length_ms: 8 * 3_600_000, ..Source::default() };
    let mut world = indexed(&source);
    world.wait(500);
    let queued = world.names().len();
    for number in 0..2 {
        let chunk = world.take(TaskName::Video(number));
        world.reports(source.work(&chunk));
    }
    assert_eq!(world.names().len(), queued - 2);
    world.wait(500);
    assert_eq!(world.names().len(), queued);
}

#[test]
fn the_queue_is_kept_short_and_starts_with_what_can_be_played() {
    let world = indexed(&Source::default());
    assert_eq!(world.names(), ["video-000000", "video-000001", "video-000002", "audio-000000"]);
}

#[test]
fn a_lost_worker_costs_an_attempt_and_its_late_report_still_counts() {
    let source = Source::default();
    let mut world = indexed(&source);
    let lost = world.take(TaskName::Video(0));
    world.report(report(&lost, Outcome::Started));
    world.wait(SILENCE_MS - 1_000);
    assert_eq!(world.task(TaskName::Video(0)).state, TaskState::Out);
    world.wait(2_000);
    assert_eq!(world.task(TaskName::Video(0)).failures[0].code, "worker_lost");
    world.come_round(&source);
    let again = world.take(TaskName::Video(0));
    assert_eq!((lost.attempt, again.attempt), (AttemptId(1), AttemptId(2)));
    // The lost worker wakes up first: what it made is as good as any.
    world.reports(source.work(&lost));
    let done = world.task(TaskName::Video(0)).clone();
    assert!(matches!(&done.state, TaskState::Done(accepted) if accepted.attempt == AttemptId(1)));
    world.reports(source.work(&again));
    assert_eq!(world.task(TaskName::Video(0)), &done);
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn late_failures_and_unknown_reports_change_nothing() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    fail_with(&mut world, &task, TaskError::transient("disk", "try again"));
    world.come_round(&source);
    let again = world.take(TaskName::Video(0));
    let before = world.task(TaskName::Video(0)).clone();
    fail_with(&mut world, &task, TaskError::bug("late"));
    let unheard = Task { attempt: AttemptId(7), ..task.clone() };
    world.reports(source.work(&unheard));
    let elsewhere = Task { id: TaskId { job: JobId::new("other").unwrap(), name: task.id.name }, ..task.clone() };
    world.reports(source.work(&elsewhere));
    assert_eq!(world.task(TaskName::Video(0)), &before);
    world.reports(source.work(&again));
    assert!(world.run(&source));
}

fn fail_with(world: &mut World, task: &Task, error: TaskError) {
    world.report(report(task, Outcome::Failed(error)));
}

#[test]
fn transient_failures_are_made_good_after_a_pause() {
    let source = Source { length_ms: 300_000, ..Source::default() };
    let mut world = indexed(&source);
    for _ in 0..5 {
        fail(&mut world, TaskName::Video(0), TaskError::transient("storage", "timed out"));
        assert!(!world.names().contains(&"video-000000".to_owned()), "no pause");
        let told = world.farm.explain(&spec().id, world.now_ms).unwrap();
        let times = told.iter().filter(|line| line.text.contains("timed out")).count();
        assert_eq!(times, world.task(TaskName::Video(0)).failures.len(), "each is told once: {told:?}");
        world.come_round(&source);
    }
    assert!(world.run(&source));
    let view = world.view();
    assert_eq!((view.state, view.chunks.retried, view.problems.len()), (JobState::Completed, 5, 5));
    assert!(view.problems.iter().all(|problem| !problem.fatal && problem.class == ProblemClass::Storage));
}

#[test]
fn a_failure_for_good_says_what_where_and_what_to_do() {
    let source = Source::default();
    let mut world = indexed(&source);
    for _ in 0..=retry::MOST_BUGS_OF_ONE {
        fail(&mut world, TaskName::Video(1), TaskError::new(ErrorKind::Bug, "slot_crashed", "signal 11"));
        world.wait(1_000);
    }
    assert_eq!(world.state(), JobState::Failed(ErrorKind::Bug));
    let scope = "chunk 1, 0:00:06.000 to 0:00:18.000, renditions 720p, 480p, 360p";
    assert_eq!(fatal(&world), ("slot_crashed", scope));
    let problem = world.view().problems.last().unwrap();
    assert_eq!(problem.text, "signal 11, after 3 attempts");
    assert!(problem.advice.contains("report it"), "{}", problem.advice);
}

#[test]
fn a_failed_job_waits_for_its_attempts_and_leaves_nothing() {
    let source = Source::default();
    let mut world = indexed(&source);
    let running = world.take(TaskName::Video(0));
    world.report(report(&running, Outcome::Started));
    fail(&mut world, TaskName::Video(1), TaskError::input("truncated", "the source ends early"));
    assert_eq!((world.state(), world.cancelled.len()), (JobState::Failed(ErrorKind::Input), 1));
    assert!(world.cleaned.is_empty(), "cleaned up under a running attempt");
    for task in std::iter::once(running).chain(std::mem::take(&mut world.queue)) {
        world.report(report(&task, Outcome::Failed(TaskError::cancelled())));
    }
    let take_away = world.cleaned[0].take_away.as_ref().unwrap();
    assert_eq!(take_away.renditions, ["720p", "480p", "360p", "audio-en"]);
    assert!(world.run(&source));
    assert!(world.view().settled && world.tasks.is_empty());
}

#[test]
fn attempts_that_do_not_end_are_not_waited_for_for_ever() {
    let source = Source::default();
    let mut world = indexed(&source);
    world.apply(Event::Cancelled(spec().id));
    world.wait(4_500);
    assert!(world.cleaned.is_empty());
    world.wait(1_000);
    assert_eq!(world.cleaned.len(), 1);
}

#[test]
fn a_cancelled_job_is_taken_away_and_may_be_asked_for_again() {
    let source = Source::default();
    let mut world = indexed(&source);
    for name in [TaskName::Video(0), TaskName::Audio(0)] {
        let task = world.take(name);
        world.reports(source.work(&task));
    }
    assert_eq!(world.rounds.len(), 1);
    world.apply(Event::Cancelled(spec().id));
    world.queue.clear();
    // Asked for again while it still ends: it starts over by itself.
    world.apply(Event::Submitted(Box::new(spec().into())));
    assert_eq!((world.state(), world.view().state), (JobState::Cancelled, JobState::Probing));
    assert!(world.cleaned.is_empty(), "cleaned up under a round of publishing");
    assert!(world.run(&source));
    assert!(world.cleaned[0].take_away.is_some());
    assert_eq!(world.state(), JobState::Completed);
}

/// What an earlier life left on the queue, with workers and on its way back is never taken for the new one's.
#[test]
fn a_job_that_starts_over_counts_its_attempts_on() {
    let source = Source::default();
    let mut world = indexed(&source);
    let failed = world.take(TaskName::Video(0));
    world.report(report(&failed, Outcome::Failed(TaskError::transient("storage", "the network is down"))));
    world.come_round(&source);
    let early = world.take(TaskName::Video(0));
    assert_eq!(early.attempt, AttemptId(2));
    world.apply(Event::Cancelled(spec().id));
    assert_eq!(world.cancelled, [Cancellation { job: spec().id, last: AttemptId(2) }]);
    world.queue.clear();
    world.apply(Event::Submitted(Box::new(spec().into())));
    world.wait(6_000);
    world.restart();
    while let Some(answer) = world.answers.pop_front() {
        world.apply(answer);
    }
    let index = world.take(TaskName::Index);
    assert!(!world.cancelled[0].covers(&index), "attempt {} is called off already", index.attempt.0);
    world.reports(source.work(&index));
    world.reports(source.work(&early));
    assert!(
        !matches!(world.task(TaskName::Video(0)).state, TaskState::Done(_)),
        "an attempt of the earlier life counts"
    );
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
    let report = &world.rounds.last().unwrap().last.as_ref().unwrap().report;
    assert!(report.tasks.iter().all(|task| task.attempts == 1), "{:?}", report.tasks);
}

#[test]
fn a_completed_job_is_not_made_again() {
    let mut world = World::with_job();
    assert!(world.run(&Source::default()));
    world.apply(Event::Submitted(Box::new(spec().into())));
    assert!(world.queue.is_empty() && world.view().settled);
    let other = JobSpec { segment_ms: 4_000, ..spec() };
    assert_eq!(world.farm.refuses(&other.into()), Some(Refusal::Taken));
    assert_eq!(world.farm.refuses(&spec().into()), None);
}

#[test]
fn the_same_words_mean_the_same_job_whatever_the_farm_adds() {
    let asked = |words: &str, keep_parts_ms| {
        let spec = JobSpec { keep_parts_ms, ..spec() };
        Submission { words: Some(words.to_owned()), ..spec.into() }
    };
    let record = JobRecord::new(asked("a", 0), AttemptId(0), 0);
    assert!(record.is_asked_for_by(&asked("a", 7)));
    assert!(!record.is_asked_for_by(&asked("b", 0)));
}

#[test]
fn a_wrong_receipt_is_refused_and_the_chunk_made_again() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    let Work::Video(work) = &task.work else { panic!() };
    let mut receipt = source.chunk(work);
    receipt.parts.pop();
    world.report(report(&task, Outcome::Done(Receipt::Video(receipt))));
    assert_eq!(world.task(TaskName::Video(0)).failures[0].code, "wrong_receipt");
    assert!(world.run(&source));
    assert_eq!((world.state(), world.view().chunks.retried), (JobState::Completed, 1));
}

#[test]
fn frames_that_are_missing_twice_are_missing_in_the_source() {
    let source = Source { missing_frames: 3, ..Source::default() };
    let mut world = World::with_job();
    assert!(world.run(&source));
    assert_eq!((world.state(), world.view().chunks.retried), (JobState::Completed, 1));
    let certificate = &world.rounds.last().unwrap().last.as_ref().unwrap().certificate;
    let finding = certificate.source.findings.iter().find(|finding| finding.code == "frame_count").unwrap();
    assert!(finding.text.contains("147 frames came out of 150"), "{}", finding.text);
}

#[test]
fn frames_that_are_missing_differently_are_a_bug() {
    let mut world = indexed(&Source::default());
    for missing_frames in [3, 4, 5] {
        let task = world.take(TaskName::Video(0));
        world.reports(Source { missing_frames, ..Source::default() }.work(&task));
    }
    assert_eq!((world.state(), fatal(&world).0), (JobState::Failed(ErrorKind::Bug), "wrong_receipt"));
}

#[test]
fn a_refused_source_fails_the_job_with_its_verdict() {
    for (verdict, code) in [(Verdict::Corrupt, "corrupt"), (Verdict::Unsupported, "unsupported")] {
        let source = Source { verdict, ..Source::default() };
        let mut world = World::with_job();
        let index = world.take(TaskName::Index);
        world.reports(source.work(&index));
        assert_eq!(fatal(&world).0, code);
        assert_eq!(world.view().verdict, Some(verdict));
        world.queue.clear();
        world.wait(6_000);
        assert!(world.run(&source) && world.tasks.is_empty());
    }
}

#[test]
fn an_index_that_gives_up_is_a_verdict_too() {
    let refusals = [
        (TaskError::unsupported("video_codec", "no decoder for vvc"), Verdict::Unsupported),
        (TaskError::input("no_packets", "a header and nothing else"), Verdict::Corrupt),
    ];
    for (error, verdict) in refusals {
        let mut world = World::with_job();
        fail(&mut world, TaskName::Index, error.clone());
        assert_eq!((world.state(), fatal(&world).0), (JobState::Failed(error.kind), error.code.as_str()));
        assert_eq!(world.view().verdict, Some(verdict));
    }
}

#[test]
fn an_index_that_fails_begins_again_and_keeps_what_is_done() {
    let source = Source::default();
    let mut world = World::with_job();
    let index = world.take(TaskName::Index);
    let reports = source.work(&index);
    world.reports(reports[..5].to_vec());
    let chunk = world.take(TaskName::Video(0));
    world.reports(source.work(&chunk));
    fail_with(&mut world, &index, TaskError::transient("storage", "the network is gone"));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
    let runs = &world.rounds.last().unwrap().last.as_ref().unwrap().report.tasks;
    let attempts = |name: TaskName| runs.iter().find(|run| run.name == name).unwrap().attempts;
    assert_eq!((attempts(TaskName::Index), attempts(TaskName::Video(0))), (2, 1));
}

#[test]
fn a_queue_that_lost_everything_is_filled_again() {
    let source = Source::default();
    let mut world = indexed(&source);
    let before = world.names();
    world.queue.clear();
    world.apply(Event::QueueLost);
    assert_eq!((world.names().len(), world.names()[0].as_str()), (before.len(), "video-000000"));
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn a_task_that_could_not_be_enqueued_is_offered_again() {
    let source = Source::default();
    let mut world = indexed(&source);
    let task = world.take(TaskName::Video(0));
    world.apply(Event::NotEnqueued(AttemptRef { task: task.id.clone(), attempt: task.attempt }));
    assert!(world.task(TaskName::Video(0)).failures.is_empty());
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn an_attempt_that_could_not_be_enqueued_takes_no_receipt_back() {
    let source = Source::default();
    let mut world = indexed(&source);
    let first = world.take(TaskName::Video(0));
    world.apply(Event::QueueLost);
    let second = world.take(TaskName::Video(0));
    world.reports(source.work(&first));
    world.apply(Event::NotEnqueued(AttemptRef { task: second.id.clone(), attempt: second.attempt }));
    assert!(world.task(TaskName::Video(0)).receipt().is_some());
    assert!(world.run(&source));
    assert_eq!(world.state(), JobState::Completed);
}

#[test]
fn publishing_is_tried_again_and_then_given_up() {
    let source = Source::default();
    let mut world = World::with_job();
    world.failing_rounds = 3;
    assert!(world.run(&source));
    assert_eq!((world.state(), world.view().problems.len()), (JobState::Completed, 3));
    let mut world = World::with_job();
    world.failing_rounds = 100;
    assert!(world.run(&source));
    assert_eq!((world.state(), fatal(&world).0), (JobState::Failed(ErrorKind::Transient), "publish_failed"));
}

#[test]
fn rounds_are_no_more_frequent_than_segments() {
    let source = Source { length_ms: 600_000, ..Source::default() };
    let mut world = World::with_job();
    assert!(world.run(&source));
    assert!(world.now_ms < 6_900, "the test lets no time pass");
    assert!(world.rounds.len() <= 3, "{} rounds", world.rounds.len());
}

#[test]
fn a_source_without_anything_for_the_profile_is_refused() {
    let mut world = World::new();
    let spec = JobSpec { profile: coordinator::profile::Profile::named("audio").unwrap(), ..spec() };
    world.apply(Event::Submitted(Box::new(spec.into())));
    let index = world.take(TaskName::Index);
    let mut info = Source::default().info();
    info.audio.clear();
    world.report(report(&index, Outcome::Index(IndexReport::Source(info))));
    assert_eq!(fatal(&world).0, "nothing_to_make");
}

#[test]
fn audio_alone_makes_a_presentation() {
    let mut world = World::new();
    let spec = JobSpec { profile: coordinator::profile::Profile::named("audio").unwrap(), ..spec() };
    world.apply(Event::Submitted(Box::new(spec.into())));
    assert!(world.run(&Source::default()));
    assert_eq!(world.state(), JobState::Completed);
    let presentation = &world.rounds.last().unwrap().presentation;
    assert_eq!((presentation.video.len(), presentation.audio[0].segments.len()), (0, 10));
}
