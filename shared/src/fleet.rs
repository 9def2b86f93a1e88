//! What workers tell of themselves and what they are told besides tasks. Nothing of it is stored: what was lost is said
//! again with the next heartbeat.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::task::{AttemptId, Cancellation, TaskId, WorkerId};

/// What a task needs of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Decodes, scales and encodes in software.
    Cpu,
    /// Encodes on a GPU, and does the rest where it can.
    Gpu,
}

impl Class {
    /// Every class there is.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Gpu];

    /// As it stands in subjects and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that a task of a class may need, as a worker has tried it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ability {
    /// Of which class.
    pub class: Class,
    /// What: a codec's name as profiles have it, which is then encoded and decoded there, or [`Self::SOURCES`].
    pub name: String,
    /// Why it does not work, for people; `None`: it does.
    pub lack: Option<String>,
}

impl Ability {
    /// Every decoder that sources may ask for.
    pub const SOURCES: &'static str = "sources";
}

/// Which of two waiting tasks a free slot takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// What makes a job playable, and jobs that must not wait.
    Urgent,
    /// Everything else.
    Normal,
}

impl Urgency {
    /// Every urgency, the most urgent first.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Normal];

    /// As it stands in subjects and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
        }
    }
}

/// Where on the queue a task waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Who can take it.
    pub class: Class,
    /// Who takes it first.
    pub urgency: Urgency,
}

/// An attempt, by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    /// At which task.
    pub task: TaskId,
    /// Which try.
    pub attempt: AttemptId,
}

/// Whether a worker takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It takes what comes.
    Working,
    /// It was told to hold: what runs goes on, nothing new begins.
    Holding,
    /// It finishes what runs and ends.
    Draining,
}

/// What a worker says every [`HEARTBEAT_MS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Who.
    pub worker: WorkerId,
    /// Version of the program.
    pub build: String,
    /// Host name, for people.
    pub host: String,
    /// What it has proven that it can do.
    pub classes: Vec<Class>,
    /// What it has tried; empty if nothing was.
    pub abilities: Vec<Ability>,
    /// Times that it was tried since the start.
    pub proofs: u32,
    /// Attempts of [`Class::Cpu`] that it can run at once.
    pub slots: u32,
    /// What it has for [`Class::Gpu`].
    pub gpu: GpuShare,
    /// What runs, of every class.
    pub running: Vec<AttemptRef>,
    /// Whether it takes tasks.
    pub standing: Standing,
    /// Milliseconds of presentation that one slot of [`Class::Cpu`] encodes in a second of wall time, by the chunks it has
    /// made; 0 before the first.
    pub speed_ms_per_s: u32,
    /// When it started, in milliseconds of UNIX time by its own clock. With another one than before, it is another process:
    /// what the one before it ran has died with that.
    pub started_ms: u64,
}

/// What a worker has on its GPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GpuShare {
    /// Attempts that it can run there at once.
    pub slots: u32,
    /// Of those that run, how many run there.
    pub busy: u32,
    /// As [`Heartbeat::speed_ms_per_s`].
    pub speed_ms_per_s: u32,
    /// There is a driver, and what it has is being tried for the first time: soon there may be slots.
    pub on_trial: bool,
}

impl Heartbeat {
    /// Attempts of a class that it can run at once; 0 if it has not proven the class.
    pub fn slots_of(&self, class: Class) -> u32 {
        match class {
            _ if !self.classes.contains(&class) => 0,
            Class::Cpu => self.slots,
            Class::Gpu => self.gpu.slots,
        }
    }

    /// Attempts of a class that run.
    pub fn busy_of(&self, class: Class) -> u32 {
        match class {
            Class::Cpu => u32::try_from(self.running.len()).unwrap_or(u32::MAX).saturating_sub(self.gpu.busy),
            Class::Gpu => self.gpu.busy,
        }
    }

    /// Milliseconds of presentation that one slot of a class encodes in a second of wall time; 0 before the first chunk.
    pub fn speed_of(&self, class: Class) -> u32 {
        match class {
            Class::Cpu => self.speed_ms_per_s,
            Class::Gpu => self.gpu.speed_ms_per_s,
        }
    }
}

/// Between two heartbeats of a worker.
pub const HEARTBEAT_MS: u64 = 2_000;

/// Two processes have one name: the one that started last keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GiveWay {
    /// The name.
    pub worker: WorkerId,
    /// When the one that keeps it started, in milliseconds of UNIX time by its own clock. The others started before that.
    pub started_ms: u64,
    /// Where that one runs, for people.
    pub host: String,
}

/// What the coordinator tells workers. Whoever it does not concern ignores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    /// Attempts of a job are not wanted: kill those that run, refuse those to come.
    Cancel(Cancellation),
    /// One attempt is not wanted: another has made the task, or the coordinator has given it up.
    Stop(AttemptRef),
    /// Take nothing new.
    Hold(WorkerId),
    /// Take tasks again.
    Release(WorkerId),
    /// Finish what runs, then end.
    Drain(WorkerId),
    /// Try again what it can do.
    Prove(WorkerId),
    /// Take nothing new, until told to take tasks again: another process has the name.
    GiveWay(GiveWay),
}
