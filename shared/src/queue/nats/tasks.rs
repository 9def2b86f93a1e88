//! Tasks: from the coordinator into lanes, from lanes into workers' hands.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use async_nats::{Message, Subject};
use async_trait::async_trait;
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::backoff::Backoff;
use super::link::{Link, chain};
use super::pull::{ACK, IN_PROGRESS, NAK, Pull, Pulled, Source, TERMINATE};
use super::streams::{Names, failed, lanes};
use crate::fleet::{AttemptRef, Class, Lane};
use crate::queue::{Delivery, QueueError};
use crate::task::{AttemptId, JobId, Task, TaskId};
use crate::trace::TraceContext;
use crate::wire::{decode_task, encode_task};

/// How often the broker is told that a task is being worked on, at most; it hands the task on after `ack_wait`.
const RENEW_EVERY: Duration = Duration::from_secs(8);
/// How often an idle worker looks for tasks that nobody woke it for: those of workers that have died.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a lane may take to answer before the next one is asked. Where two ask for the last task at the same moment, the
/// broker may answer one of them only when another task comes.
const LANE_PATIENCE: Duration = Duration::from_secs(1);

/// Offers a task; returns its place in the stream.
///
/// # Errors
/// An attempt that was offered before is no task any more, for all that is known.
pub(super) async fn push(link: &Link, task: &Task, lane: Lane) -> Result<u64, QueueError> {
    let attempt = AttemptRef { task: task.id.clone(), attempt: task.attempt };
    let mut message = PublishMessage::build().message_id(message_id(&attempt)).payload(encode_task(task).into());
    if let Some(context) = &task.trace {
        message = message.header(TraceContext::HEADER, context.to_string());
    }
    let stored = link.store(link.names.lane(lane), message).await?;
    if stored.duplicate {
        return Err(QueueError(format!("{} was offered before", message_id(&attempt))));
    }
    wake(link, lane.class).await;
    Ok(stored.sequence)
}

/// Removes the tasks of a class from the stream, those in workers' hands as well: whoever is silent there is missed by others.
///
/// # Errors
/// Some or all may still be there.
pub(super) async fn clear(link: &Link, class: Class) -> Result<(), QueueError> {
    let tasks = &link.names.tasks;
    let stream = link.jetstream.get_stream_no_info(tasks).await.map_err(|error| failed("stream", tasks, &error))?;
    for lane in lanes(&[class]) {
        let subject = link.names.lane(lane);
        stream.purge().filter(subject.clone()).await.map_err(|error| failed("lane", &subject, &error))?;
    }
    Ok(())
}

/// Under this id the broker stores an attempt once.
pub(super) fn message_id(attempt: &AttemptRef) -> String {
    format!("{}/{}", attempt.task, attempt.attempt.0)
}

/// Reads what [`message_id`] wrote.
pub(super) fn parse_message_id(text: &str) -> Option<AttemptRef> {
    let mut parts = text.splitn(3, '/');
    let job = JobId::new(parts.next()?)?;
    let name = parts.next()?.parse().ok()?;
    let attempt = AttemptId(parts.next()?.parse().ok()?);
    Some(AttemptRef { task: TaskId { job, name }, attempt })
}

pub(super) fn id_of(message: &Message) -> Option<&str> {
    message.headers.as_ref()?.get(async_nats::header::NATS_MESSAGE_ID).map(|value| value.as_str())
}

/// The span that a task is told to hang its own below; `None`: it is not traced.
fn trace_of(message: &Message) -> Option<TraceContext> {
    let text = message.headers.as_ref()?.get(TraceContext::HEADER)?;
    TraceContext::parse(text.as_str()).filter(|context| context.sampled)
}

/// A worker's way to tasks of a class.
///
/// All requests are answered at once: what waits at the broker could be answered when nobody wants it any more, and could
/// not be taken back without losing an answer on its way. A worker that finds nothing waits for a word (`PREFIX.wake.CLASS`,
/// heard by one of those who wait) and looks now and then all the same. Who was woken and found something wakes the next.
pub(super) struct Puller {
    link: Arc<Link>,
    class: Class,
    /// One slot at a time looks; the others wait for their turn.
    turn: tokio::sync::Mutex<()>,
}

impl Puller {
    pub fn new(link: Arc<Link>, class: Class) -> Self {
        Self { link, class, turn: tokio::sync::Mutex::default() }
    }

    /// Waits for a task, the more urgent ones first. Nothing is lost when it is dropped.
    pub async fn next(&self) -> Box<dyn Delivery> {
        let _turn = self.turn.lock().await;
        let mut backoff = Backoff::default();
        loop {
            match self.wait().await {
                Ok(delivery) => return delivery,
                Err(error) => backoff.pause("no tasks come", &error).await,
            }
        }
    }

    async fn wait(&self) -> Result<Box<dyn Delivery>, QueueError> {
        if let Some(delivery) = self.look().await? {
            return Ok(delivery);
        }
        let mut changes = self.link.changes();
        let mut woken = self.listen().await?;
        loop {
            if let Some(delivery) = self.look().await? {
                wake(&self.link, delivery.class).await;
                return Ok(delivery);
            }
            tokio::select! {
                _ = woken.next() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn listen(&self) -> Result<impl Stream<Item = Message> + use<>, QueueError> {
        let subscribed = self.link.client.queue_subscribe(self.link.names.wake(self.class), "workers".into()).await;
        subscribed.map_err(|error| QueueError(chain(&error)))
    }

    /// The most urgent task that is there now.
    async fn look(&self) -> Result<Option<Box<NatsDelivery>>, QueueError> {
        for lane in lanes(&[self.class]) {
            // Goes on when this is dropped; a delivery that nobody takes gives itself back.
            let (give, taken) = oneshot::channel();
            let link = self.link.clone();
            self.link.beside(async move {
                // Whoever waited may have gone.
                let _ = give.send(take(&link, lane).await);
            });
            match tokio::time::timeout(LANE_PATIENCE, taken).await {
                Ok(Ok(Ok(Some(delivery)))) => return Ok(Some(delivery)),
                Ok(Ok(Ok(None))) | Err(_) => {}
                Ok(Ok(Err(error))) => return Err(error),
                Ok(Err(_)) => return Err(QueueError("looking for tasks was called off".into())),
            }
        }
        Ok(None)
    }
}

/// The first task of a lane; `None` if there is none.
async fn take(link: &Arc<Link>, lane: Lane) -> Result<Option<Box<NatsDelivery>>, QueueError> {
    let consumer = Names::lane_consumer(lane);
    let source = Source { stream: &link.names.tasks, consumer: &consumer };
    loop {
        match Pull::now(link, source).await?.next().await {
            Pulled::Over => return Ok(None),
            Pulled::Broken(why) => return Err(QueueError(why)),
            Pulled::Message(message, reply) => match decode_task(&message.payload) {
                Ok(task) => {
                    let task = Task { trace: trace_of(&message), ..task };
                    return Ok(Some(Box::new(NatsDelivery::new(link.clone(), task, lane.class, reply))));
                }
                Err(problem) => terminate(link, &message, reply, &problem.to_string()),
            },
        }
    }
}

/// Tells one of the workers that wait to look.
async fn wake(link: &Link, class: Class) {
    if let Err(error) = link.say(link.names.wake(class), Vec::new()).await {
        debug!(%error, "nobody is woken; workers look by themselves");
    }
}

/// Nobody shall try a message that can't be read; the coordinator hears of it by the broker's advisory.
fn terminate(link: &Arc<Link>, message: &Message, reply: Subject, problem: &str) {
    let id = id_of(message).unwrap_or_default().to_owned();
    error!(id, subject = %message.subject, problem, "a task can't be read; refused");
    let client = link.client.clone();
    link.beside(async move {
        if let Err(error) = client.publish(reply, format!("{TERMINATE} {id}").into()).await {
            warn!(%error, "not refused; somebody else will");
        }
    });
}

/// A task from the broker.
struct NatsDelivery {
    link: Arc<Link>,
    task: Task,
    class: Class,
    reply: Subject,
    renewed: Mutex<Instant>,
    answered: bool,
}

impl NatsDelivery {
    fn new(link: Arc<Link>, task: Task, class: Class, reply: Subject) -> Self {
        Self { link, task, class, reply, renewed: Mutex::new(Instant::now()), answered: false }
    }

    fn renewal_is_due(&self) -> bool {
        let every = RENEW_EVERY.min(self.link.config.ack_wait() / 3);
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let due = renewed.elapsed() >= every;
        if due {
            *renewed = Instant::now();
        }
        due
    }
}

#[async_trait]
impl Delivery for NatsDelivery {
    fn task(&self) -> &Task {
        &self.task
    }

    /// A broker that does not hear it may hand the task out twice, which costs work and harms nothing.
    async fn still_working(&self) -> Result<(), QueueError> {
        if self.renewal_is_due()
            && let Err(error) = self.link.answer(&self.reply, IN_PROGRESS).await
        {
            debug!(task = %self.task.id, %error, "the broker does not know that this task goes on");
        }
        Ok(())
    }

    /// The report decides. Without the ack the task is handed out again, and the coordinator stops that.
    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        self.answered = true;
        if let Err(error) = self.link.answer(&self.reply, ACK).await {
            warn!(task = %self.task.id, %error, "not acknowledged; it may be handed out again");
        }
        Ok(())
    }

    async fn give_back(mut self: Box<Self>) -> Result<(), QueueError> {
        give_back(&self.link, &self.reply, &self.task, self.class).await;
        self.answered = true;
        Ok(())
    }

    /// Nobody is woken for it: whoever looks when the pause is over finds it.
    async fn pass_on(mut self: Box<Self>, pause: Duration) -> Result<(), QueueError> {
        self.answered = true;
        let nak = format!("{NAK} {{\"delay\": {}}}", pause.as_nanos());
        if let Err(error) = self.link.answer(&self.reply, nak).await {
            warn!(task = %self.task.id, %error, "not given back; it will be after ack_wait");
        }
        Ok(())
    }
}

impl Drop for NatsDelivery {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let (link, reply, task, class) = (self.link.clone(), self.reply.clone(), self.task.clone(), self.class);
        self.link.beside(async move { give_back(&link, &reply, &task, class).await });
    }
}

/// Without this it is handed out again after `ack_wait`.
async fn give_back(link: &Link, reply: &Subject, task: &Task, class: Class) {
    match link.answer(reply, NAK).await {
        Ok(()) => wake(link, class).await,
        Err(error) => warn!(task = %task.id, %error, "not given back; it will be after ack_wait"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskName;

    #[test]
    fn an_attempt_is_known_by_its_message_id() {
        let task = TaskId { job: JobId::new("job-1").unwrap(), name: TaskName::Video(7) };
        let attempt = AttemptRef { task, attempt: AttemptId(3) };
        assert_eq!(message_id(&attempt), "job-1/video-000007/3");
        assert_eq!(parse_message_id(&message_id(&attempt)), Some(attempt));
        assert_eq!(parse_message_id("job-1/video-000007"), None);
        assert_eq!(parse_message_id(""), None);
    }
}
