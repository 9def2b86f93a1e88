//! One slot's worth of a worker: takes a delivery, runs it, answers for it, one after another.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use shared::error::{ErrorKind, TaskError};
use shared::fleet::Class;
use shared::placement::{Fallback, Placement};
use shared::queue::{Delivery, QueueError};
use shared::task::{Outcome, Receipt, Spent, Task, TaskName, TaskReport};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error_span, info, warn};

use super::Shared;
use super::attempt::{Attempt, Stop};
use super::gpus::Seat;
use super::ladder::{Fall, Ladder};
use super::trace::Recording;
use crate::slot::Slot;
use crate::slot::request::GpuOrder;
use crate::slot::sight::Sight;
use crate::slot::spawner::Spawner;

/// A slot that ran out of memory, disk or files takes nothing for so long, twice as long each time in a row: others may have
/// more, and taking one task after the other would only spoil them.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// How often the queue is told that an attempt goes on. It passes on as much of that as it needs.
const RENEW_EVERY: Duration = Duration::from_millis(200);
/// For so long nobody gets a task that this worker leaves to others.
const PASS_PAUSE: Duration = Duration::from_secs(2);

/// Which tasks a loop takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// Those of [`Class::Cpu`].
    Cpu,
    /// Those of [`Class::Gpu`], while there are more slots for them than this number.
    Gpu(u32),
}

/// One slot's worth of a worker.
pub struct SlotLoop {
    shared: Arc<Shared>,
    spawner: Spawner,
    abort: CancellationToken,
    takes: Takes,
    slot: Option<Slot>,
    /// Attempts that ran out of something since the last success of a task that needs as much.
    exhausted: u32,
}

impl SlotLoop {
    /// Without a child yet.
    pub fn new(shared: Arc<Shared>, spawner: Spawner, abort: CancellationToken, takes: Takes) -> Self {
        Self { shared, spawner, abort, takes, slot: None, exhausted: 0 }
    }

    /// Works until the queue is closed, the worker drains or `abort` is cancelled. No child is left then.
    ///
    /// # Errors
    /// The queue can't be reached.
    pub async fn run(mut self) -> Result<(), QueueError> {
        let result = self.serve_all().await;
        self.close_slot().await;
        result
    }

    async fn serve_all(&mut self) -> Result<(), QueueError> {
        loop {
            // The next slot starts while there is nothing to do: loading the media libraries takes longer than forking.
            let ready = self.slot.as_mut().is_some_and(Slot::is_ready);
            let opened = if ready { Ok(()) } else { self.open_slot(Sight::Nothing).await };
            let delivery = tokio::select! {
                biased;
                () = self.abort.cancelled() => return Ok(()),
                () = self.shared.draining.cancelled() => return Ok(()),
                () = self.takes_tasks(false) => {
                    tokio::select! {
                        () = self.abort.cancelled() => return Ok(()),
                        () = self.shared.draining.cancelled() => return Ok(()),
                        () = self.takes_tasks(true) => continue,
                    }
                }
                delivery = self.shared.queue.pull(self.class()) => match delivery? {
                    Some(delivery) => delivery,
                    None => return Ok(()),
                },
            };
            if self.shared.presence.leaves_to_others(delivery.task()) {
                info!(task = %delivery.task().id, attempt = delivery.task().attempt.0, "left to other workers");
                delivery.pass_on(PASS_PAUSE).await?;
                continue;
            }
            self.serve(delivery, opened).await?;
            self.rest().await;
        }
    }

    fn class(&self) -> Class {
        match self.takes {
            Takes::Cpu => Class::Cpu,
            Takes::Gpu(_) => Class::Gpu,
        }
    }

    /// Waits until this loop takes tasks (`true`) or does not.
    async fn takes_tasks(&self, takes: bool) {
        let Takes::Gpu(number) = self.takes else { return self.shared.presence.takes_tasks(takes).await };
        if takes {
            self.shared.gpus.has_slots(number, true).await;
            return self.shared.presence.takes_tasks(true).await;
        }
        tokio::select! {
            () = self.shared.gpus.has_slots(number, false) => {}
            () = self.shared.presence.takes_tasks(false) => {}
        }
    }

    /// Makes sure that there is a slot that takes a task, and sees these GPUs.
    async fn open_slot(&mut self, sight: Sight) -> Result<(), TaskError> {
        if self.slot.as_mut().is_some_and(|slot| *slot.sight() == sight && slot.is_ready()) {
            return Ok(());
        }
        self.close_slot().await;
        let config = &self.shared.config;
        let slot = Slot::open(config.clone(), &self.spawner, sight).await.map_err(|error| {
            let text = format!("starting {}: {error}", config.slot_program.path.display());
            TaskError::new(ErrorKind::Exhausted, "slot_spawn", text)
        })?;
        self.slot = Some(slot);
        Ok(())
    }

    async fn close_slot(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.close().await;
        }
    }

    /// After attempts that ran out of something. One that was asked to end does not rest.
    async fn rest(&self) {
        if self.exhausted > 0 {
            let rest = FIRST_REST.saturating_mul(1 << (self.exhausted - 1).min(16)).min(LONGEST_REST);
            warn!(seconds = rest.as_secs(), "a slot rests");
            tokio::select! {
                () = self.abort.cancelled() => {}
                () = self.shared.draining.cancelled() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Runs one attempt and answers for it. A queue that does not answer ends the worker.
    async fn serve(&mut self, delivery: Box<dyn Delivery>, opened: Result<(), TaskError>) -> Result<(), QueueError> {
        let longest = self.shared.config.attempt_timeout() * 2; // its inputs have as long as its slot
        let answer = tokio::select! {
            biased;
            answer = self.try_once(delivery.task(), opened).instrument(trace_of(delivery.task())) => answer?,
            Err(error) = renew(&*delivery, longest) => return Err(error),
        };
        match answer {
            Answer::Ack => delivery.ack().await,
            Answer::GiveBack => delivery.give_back().await,
        }
    }

    /// Runs one attempt and reports how it ended.
    async fn try_once(&mut self, task: &Task, opened: Result<(), TaskError>) -> Result<Answer, QueueError> {
        let shared = self.shared.clone();
        let Some(running) = shared.presence.begin(task, self.class()) else {
            info!(task = %task.id, attempt = task.attempt.0, "delivered once more; it runs here already");
            return Ok(Answer::Ack);
        };
        info!(task = %task.id, attempt = task.attempt.0, "attempt started");
        let result = match opened {
            Ok(()) => self.climb_down(&shared, task).await,
            Err(error) => Err(Stop::Failed(error)),
        };
        if result.is_err() {
            self.close_slot().await; // before the report: whoever reads it may rely on the attempt being over
        }
        let outcome = match result {
            Ok(receipt) => {
                let Spent { wall_ms, cpu_ms, stages } = receipt.spent();
                let storage_wait_ms = stages.fetch_ms + stages.upload_ms; // requests at once count each
                info!(task = %task.id, attempt = task.attempt.0, wall_ms, cpu_ms, storage_wait_ms, "attempt done");
                self.shared.presence.made(&receipt, self.class());
                if task.id.name != TaskName::Index {
                    self.exhausted = 0; // an index takes next to nothing of what others ran out of
                }
                Outcome::Done(receipt)
            }
            Err(Stop::Failed(error)) => {
                let TaskError { kind, code, message } = &error;
                warn!(task = %task.id, attempt = task.attempt.0, ?kind, code, text = message, "attempt failed");
                self.exhausted += u32::from(*kind == ErrorKind::Exhausted);
                Outcome::Failed(error)
            }
            Err(Stop::Aborted) => {
                info!(task = %task.id, attempt = task.attempt.0, "attempt given back");
                return Ok(Answer::GiveBack);
            }
            Err(Stop::Queue(error)) => return Err(error),
        };
        let report =
            TaskReport { task: task.id.clone(), attempt: task.attempt, worker: self.shared.id.clone(), outcome };
        tokio::select! {
            biased;
            sent = self.shared.queue.report(report) => sent?,
            () = self.abort.cancelled() => return Ok(Answer::GiveBack),
        }
        drop(running); // after the report, so that no heartbeat leaves it out before
        Ok(Answer::Ack)
    }

    /// Runs the attempt where it is best placed. One that fails by a GPU begins again with less of it, down to software: the
    /// receipt names what was left out.
    async fn climb_down(&mut self, shared: &Shared, task: &Task) -> Result<Receipt, Stop> {
        let mut recording = Recording::begin(&shared.tracer, task, &shared.id);
        let abort = self.abort.clone();
        let mut attempt = Attempt::new(shared, task, &abort);
        let result = self.descend(shared, &mut attempt, &mut recording).await;
        if let Some(recording) = recording {
            recording.end(attempt.times(), &result);
        }
        result
    }

    async fn descend(
        &mut self,
        shared: &Shared,
        attempt: &mut Attempt<'_>,
        recording: &mut Option<Recording>,
    ) -> Result<Receipt, Stop> {
        let task = attempt.task();
        let seat = shared.gpus.seat(task, self.class());
        let mut ladder = Ladder::new(seat.as_ref().map_or(Placement::SOFTWARE, |seat| seat.placement));
        let (mut fallbacks, mut blamed): (Vec<Fallback>, Option<(&Seat<'_>, String)>) = Default::default();
        attempt.begin().await?;
        loop {
            let seat = seat.as_ref().filter(|_| ladder.now().needs_gpu());
            let order = seat.map(|seat| GpuOrder {
                uuid: seat.card.uuid.clone(),
                placement: ladder.now(),
                libraries: shared.config.gpu.libraries(),
                sessions: seat.card.seat_sessions,
            });
            self.open_slot(seat.map_or(Sight::Nothing, |seat| Sight::One(seat.card.uuid.clone()))).await?;
            let Some(slot) = &mut self.slot else {
                return Err(TaskError::bug("a slot that was opened is gone").into());
            };
            let error = match attempt.run(slot, order).await {
                Ok(mut receipt) => {
                    // Once for each attempt, and only now: what fails without the card too is the input's fault.
                    blamed.into_iter().for_each(|(seat, what)| seat.blame(&what));
                    receipt.fell_back(fallbacks);
                    return Ok(receipt);
                }
                Err(Stop::Failed(error)) => error,
                Err(stop) => return Err(stop),
            };
            let (Some(seat), Some(fall)) = (seat, Fall::of(&error)) else { return Err(error.into()) };
            let TaskError { code, message, .. } = &error;
            warn!(task = %task.id, gpu = seat.card.uuid, placement = %ladder.now(), code, text = message, "falls back");
            let fallback = Fallback::new(fall.stage, format!("{message} ({code})"));
            if fall.blamed {
                blamed.get_or_insert_with(|| (seat, format!("{}: {}", fall.stage.as_str(), fallback.reason)));
            }
            recording.iter_mut().for_each(|recording| recording.fell_back(&fallback));
            fallbacks.push(fallback);
            ladder.step_down(fall.stage);
            self.close_slot().await;
        }
    }
}

/// What all log lines of an attempt that is traced are in.
fn trace_of(task: &Task) -> Span {
    task.trace.map_or_else(Span::none, |context| error_span!("attempt", trace_id = %context.trace))
}

/// What becomes of a delivery.
enum Answer {
    Ack,
    GiveBack,
}

/// Keeps a task from being handed to somebody else while it is tried. What a source that is far away, or a store that is
/// slow, can take is longer than any sign of progress may stay out; but every request has a time-out, and a slot that
/// stands still is killed, so an attempt that lasts longer than `longest` hangs.
async fn renew(delivery: &dyn Delivery, longest: Duration) -> Result<Infallible, QueueError> {
    let ends = Instant::now() + longest;
    while Instant::now() < ends {
        tokio::time::sleep(RENEW_EVERY).await;
        delivery.still_working().await?;
    }
    std::future::pending().await
}
