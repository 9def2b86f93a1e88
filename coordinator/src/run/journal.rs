//! What becomes of jobs and of their tasks, as spans. It is read off what is saved, so that the core knows nothing of
//! traces, and told once that is durable: a leader that is one no longer tells nothing. Without a tracer it stays empty.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::SystemTime;

use shared::task::{AttemptId, JobId, Receipt, TaskId, TaskName};
use shared::trace::{Attribute, Span, SpanEvent, SpanId, TraceContext, Tracer, Value, moment};

use crate::farm::{Command, Restored};
use crate::job::{Accepted, JobRecord, JobState, Milestone, TaskRecord, TaskState, begun_ms};

/// Spans of jobs that are under way.
pub(super) struct Journal {
    tracer: Tracer,
    jobs: BTreeMap<JobId, JobStory>,
    /// Of what is not durable yet.
    spans: Vec<Span>,
}

/// A job that is traced, until it ends.
struct JobStory {
    span: TraceContext,
    begun_ms: u64,
    events: Vec<SpanEvent>,
    tasks: BTreeMap<TaskName, TaskStory>,
}

/// A task that was handed out, until it is done.
struct TaskStory {
    since_ms: u64,
    attempt: AttemptId,
    /// The attempt has not failed.
    out: bool,
    events: Vec<SpanEvent>,
    /// How many of the record's are among the events.
    failures: usize,
}

impl Journal {
    /// Spans go to `tracer`.
    pub fn new(tracer: Tracer) -> Self {
        Self { tracer, jobs: BTreeMap::new(), spans: Vec::new() }
    }

    /// Where spans go.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Goes on with what an earlier coordinator has not told to its end.
    pub fn resume(&mut self, restored: &Restored) {
        if !self.tracer.is_on() {
            return;
        }
        restored.jobs.iter().for_each(|record| self.job_saved(record));
        let now = SystemTime::now();
        for story in self.jobs.values_mut() {
            story.events.push(SpanEvent { at: now, name: "leader_changed", attributes: Vec::new() });
        }
        let open = |task: &&TaskRecord| !matches!(task.state, TaskState::Done(_));
        restored.tasks.iter().filter(open).for_each(|record| self.task_saved(record));
        self.spans.clear();
    }

    /// Reads what is about to be done.
    pub fn read(&mut self, command: &Command) {
        if !self.tracer.is_on() {
            return;
        }
        match command {
            Command::SaveJob(record) => self.job_saved(record),
            Command::SaveTask(record) => self.task_saved(record),
            Command::ForgetJob(job) => drop(self.jobs.remove(job)),
            _ => {}
        }
    }

    /// What was read has been saved.
    pub fn tell(&mut self) {
        self.spans.drain(..).for_each(|span| self.tracer.tell(span));
    }

    /// What the spans of a task's attempts hang below; `None`: it is not traced.
    pub fn task(&self, task: &TaskId) -> Option<TraceContext> {
        self.jobs.get(&task.job).map(|story| story.task(task))
    }

    /// Writes a round of playlists, and tells of it.
    pub fn publishing<T, E: Display, W: Future<Output = Result<T, E>>>(
        &self,
        job: &JobId,
        last: bool,
        work: W,
    ) -> impl Future<Output = Result<T, E>> + use<T, E, W> {
        let parent = self.jobs.get(job).map(|story| story.span);
        let (tracer, job) = (self.tracer.clone(), job.clone());
        async move {
            let start = SystemTime::now();
            let result = work.await;
            if let Some(parent) = parent {
                let id = SpanId::of_moment(&["publish", job.as_str()], start);
                let attributes = vec![("farm.job", job.as_str().into()), ("farm.last", last.into())];
                let error = result.as_ref().err().map(ToString::to_string);
                let span = Span::new(parent, id, "publish", start).until(SystemTime::now());
                tracer.tell(Span { attributes, error, ..span });
            }
            result
        }
    }

    fn job_saved(&mut self, record: &JobRecord) {
        let id = &record.spec.id;
        if record.state.is_final() {
            let ended = self.jobs.remove(id);
            self.spans.extend(ended.into_iter().flat_map(|story| story.ended(record)));
            return;
        }
        let begun_ms = begun_ms(&record.history);
        if self.jobs.get(id).is_some_and(|story| story.begun_ms == begun_ms) {
            return;
        }
        if let Some(span) = job_context(&self.tracer, id, begun_ms) {
            let (events, tasks) = (Vec::new(), BTreeMap::new());
            self.jobs.insert(id.clone(), JobStory { span, begun_ms, events, tasks });
        }
    }

    fn task_saved(&mut self, record: &TaskRecord) {
        let Some(job) = self.jobs.get_mut(&record.id.job) else { return };
        let Some(handed_out_ms) = record.handed_out_ms else { return };
        let since_ms = handed_out_ms.max(job.begun_ms); // it may have been tried in an earlier life already
        let name = record.id.name;
        if let TaskState::Done(accepted) = &record.state {
            if let Some(mut task) = job.tasks.remove(&name) {
                task.failed(record);
                let span = task.ended(job.span, job.task(&record.id), &record.id, moment(accepted.at_ms));
                self.spans.push(made(span, accepted));
            }
            return;
        }
        let new = || TaskStory { since_ms, attempt: AttemptId(0), out: false, events: Vec::new(), failures: 0 };
        let task = job.tasks.entry(name).or_insert_with(new);
        task.failed(record);
        task.handed_out(record);
    }
}

/// The span of a job in the life that began then; `None`: it is not traced.
pub(crate) fn job_context(tracer: &Tracer, job: &JobId, begun_ms: u64) -> Option<TraceContext> {
    let trace = tracer.trace_of(job)?;
    Some(TraceContext { trace, span: SpanId::of_job(job, begun_ms), sampled: true })
}

impl JobStory {
    fn task(&self, task: &TaskId) -> TraceContext {
        TraceContext { span: SpanId::of_task(task, self.begun_ms), ..self.span }
    }

    /// The job's span, and those of tasks that were not done.
    fn ended(mut self, record: &JobRecord) -> Vec<Span> {
        let end = record.ended_ms.map_or_else(SystemTime::now, moment);
        let mut spans = Vec::new();
        for (name, task) in std::mem::take(&mut self.tasks) {
            let id = TaskId { job: record.spec.id.clone(), name };
            let error = (!task.out).then(|| "it was not made".to_owned()).filter(|_| task.failures > 0);
            let span = task.ended(self.span, self.task(&id), &id, end);
            spans.push(Span { error, ..span });
        }
        // What the ends of the span do not say.
        let on_the_way = [Milestone::Probed, Milestone::Playable, Milestone::Retried];
        let steps = record.history.iter().filter(|step| step.at_ms >= self.begun_ms && on_the_way.contains(&step.what));
        self.events.extend(steps.map(|step| SpanEvent {
            at: moment(step.at_ms),
            name: step.what.as_str(),
            attributes: Vec::new(),
        }));
        self.events.sort_by_key(|event| event.at);
        let fatal = record.problems.iter().rfind(|problem| problem.fatal);
        let fatal = fatal.filter(|_| matches!(record.state, JobState::Failed(_)));
        let mut attributes: Vec<Attribute> = vec![
            ("farm.job", record.spec.id.as_str().into()),
            ("farm.tenant", record.spec.tenant.as_str().into()),
            ("farm.profile", record.spec.profile.name.as_str().into()),
            ("farm.state", record.state.to_string().into()),
            ("farm.problems", Value::from(record.problems.len() as u64)),
        ];
        attributes.extend(record.duration_ms.map(|ms| ("farm.source_ms", ms.into())));
        attributes.extend(fatal.map(|problem| ("error.type", problem.code.as_str().into())));
        let error = fatal.map(|problem| format!("{}: {}", problem.scope, problem.text));
        let span = Span::new(self.span, self.span.span, "job", moment(self.begun_ms)).until(end);
        spans.push(Span { parent: None, attributes, events: self.events, error, ..span });
        spans
    }
}

impl TaskStory {
    /// What the record knows of failures beyond those that are told already.
    fn failed(&mut self, record: &TaskRecord) {
        for failure in record.failures.iter().skip(self.failures) {
            let mut attributes: Vec<Attribute> = vec![
                ("farm.attempt", u64::from(failure.attempt.0).into()),
                ("error.type", failure.code.as_str().into()),
                ("exception.message", failure.message.as_str().into()),
            ];
            attributes.extend(failure.worker.as_ref().map(|worker| ("farm.worker", worker.as_str().into())));
            self.events.push(SpanEvent { at: moment(failure.at_ms), name: "attempt_failed", attributes });
        }
        self.failures = record.failures.len();
    }

    /// One that is handed out while an earlier one has not ended is its rival, or the queue has lost that one.
    fn handed_out(&mut self, record: &TaskRecord) {
        let (was_out, out) = (self.out, record.state == TaskState::Out);
        self.out = out;
        if out && record.attempt != self.attempt {
            self.attempt = record.attempt;
            let attempt = ("farm.attempt", u64::from(record.attempt.0).into());
            let attributes = vec![attempt, ("farm.earlier_is_out", was_out.into())];
            self.events.push(SpanEvent { at: SystemTime::now(), name: "handed_out", attributes });
        }
    }

    fn ended(self, job: TraceContext, own: TraceContext, id: &TaskId, end: SystemTime) -> Span {
        let handed_out = self.events.iter().filter(|event| event.name == "handed_out").count();
        let attributes = vec![
            ("farm.job", id.job.as_str().into()),
            ("farm.task", id.name.to_string().into()),
            ("farm.attempts", Value::from(handed_out as u64)),
            ("farm.failed_attempts", Value::from(self.failures as u64)),
        ];
        let span = Span::new(job, own.span, format!("task {}", id.name.kind()), moment(self.since_ms)).until(end);
        Span { attributes, events: self.events, ..span }
    }
}

/// Who made the task in the end, and on what.
fn made(mut span: Span, accepted: &Accepted) -> Span {
    span.attributes.push(("farm.attempt", u64::from(accepted.attempt.0).into()));
    span.attributes.push(("farm.worker", accepted.worker.as_str().into()));
    if let Receipt::Video(video) = &accepted.receipt {
        span.attributes.push(("farm.placement", video.hardware.placement.as_str().into()));
        span.attributes.push(("farm.fallbacks", Value::from(video.hardware.fallbacks.len() as u64)));
    }
    span
}
