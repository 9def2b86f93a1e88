//! `task.proto`: what workers say of themselves and what they are told.

use proto::v1;

use super::task::attempt;
use super::{Wire, WireEnum, WireError, all_from_wire, all_to_wire, required, wire_enum};
use crate::fleet::{Ability, AttemptRef, Class, Directive, GiveWay, GpuShare, Heartbeat, Standing};
use crate::task::{AttemptId, Cancellation, JobId, WorkerId};

wire_enum!(Class: Cpu, Gpu);
wire_enum!(Standing: Working, Holding, Draining);

impl Wire for AttemptRef {
    type Message = v1::AttemptRef;

    fn to_wire(&self) -> v1::AttemptRef {
        v1::AttemptRef { task: Some(self.task.to_wire()), attempt: self.attempt.0 }
    }

    fn from_wire(message: v1::AttemptRef) -> Result<Self, WireError> {
        Ok(Self { task: required("task", message.task)?, attempt: attempt(message.attempt)? })
    }
}

impl Wire for Ability {
    type Message = v1::Ability;

    fn to_wire(&self) -> v1::Ability {
        let lack = self.lack.clone().unwrap_or_default();
        v1::Ability { class: self.class.code(), name: self.name.clone(), lack }
    }

    fn from_wire(message: v1::Ability) -> Result<Self, WireError> {
        let v1::Ability { class, name, lack } = message;
        Ok(Self { class: Class::from_code("class", class)?, name, lack: Some(lack).filter(|lack| !lack.is_empty()) })
    }
}

impl Wire for Heartbeat {
    type Message = v1::Heartbeat;

    fn to_wire(&self) -> v1::Heartbeat {
        v1::Heartbeat {
            worker: self.worker.to_string(),
            build: self.build.clone(),
            host: self.host.clone(),
            classes: self.classes.iter().map(|class| class.code()).collect(),
            slots: self.slots,
            gpu_slots: self.gpu.slots,
            gpu_busy: self.gpu.busy,
            gpu_speed_ms_per_s: self.gpu.speed_ms_per_s,
            gpu_on_trial: self.gpu.on_trial,
            running: all_to_wire(&self.running),
            standing: self.standing.code(),
            speed_ms_per_s: self.speed_ms_per_s,
            started_ms: self.started_ms,
            abilities: all_to_wire(&self.abilities),
            proofs: self.proofs,
        }
    }

    fn from_wire(message: v1::Heartbeat) -> Result<Self, WireError> {
        let classes = message.classes.into_iter().map(|code| Class::from_code("classes", code));
        Ok(Self {
            worker: worker("worker", message.worker)?,
            build: message.build,
            host: message.host,
            classes: classes.collect::<Result<_, _>>()?,
            slots: message.slots,
            gpu: GpuShare {
                slots: message.gpu_slots,
                busy: message.gpu_busy,
                speed_ms_per_s: message.gpu_speed_ms_per_s,
                on_trial: message.gpu_on_trial,
            },
            running: all_from_wire("running", message.running)?,
            standing: Standing::from_code("standing", message.standing)?,
            speed_ms_per_s: message.speed_ms_per_s,
            started_ms: message.started_ms,
            abilities: all_from_wire("abilities", message.abilities)?,
            proofs: message.proofs,
        })
    }
}

impl Wire for Cancellation {
    type Message = v1::Cancellation;

    fn to_wire(&self) -> v1::Cancellation {
        v1::Cancellation { job: self.job.to_string(), last: self.last.0 }
    }

    /// Before the first attempt there is nothing that could be called off, but saying so is no mistake.
    fn from_wire(message: v1::Cancellation) -> Result<Self, WireError> {
        let job = JobId::try_from(message.job).map_err(|error| WireError::at("job", error))?;
        Ok(Self { job, last: AttemptId(message.last) })
    }
}

impl Wire for Directive {
    type Message = v1::Directive;

    fn to_wire(&self) -> v1::Directive {
        use v1::directive::Content;
        let content = match self {
            Self::Cancel(cancellation) => Content::Cancel(cancellation.to_wire()),
            Self::Stop(attempt) => Content::Stop(attempt.to_wire()),
            Self::Hold(worker) => Content::Hold(worker.to_string()),
            Self::Release(worker) => Content::Release(worker.to_string()),
            Self::Drain(worker) => Content::Drain(worker.to_string()),
            Self::Prove(worker) => Content::Prove(worker.to_string()),
            Self::GiveWay(other) => Content::GiveWay(other.to_wire()),
        };
        v1::Directive { content: Some(content) }
    }

    fn from_wire(message: v1::Directive) -> Result<Self, WireError> {
        use v1::directive::Content;
        let within = |field| move |error: WireError| error.within(field);
        Ok(match message.content.ok_or_else(|| WireError::at("content", "missing"))? {
            Content::Cancel(message) => Self::Cancel(Wire::from_wire(message).map_err(within("cancel"))?),
            Content::Stop(message) => Self::Stop(Wire::from_wire(message).map_err(within("stop"))?),
            Content::Hold(id) => Self::Hold(worker("hold", id)?),
            Content::Release(id) => Self::Release(worker("release", id)?),
            Content::Drain(id) => Self::Drain(worker("drain", id)?),
            Content::Prove(id) => Self::Prove(worker("prove", id)?),
            Content::GiveWay(message) => Self::GiveWay(Wire::from_wire(message).map_err(within("give_way"))?),
        })
    }
}

impl Wire for GiveWay {
    type Message = v1::GiveWay;

    fn to_wire(&self) -> v1::GiveWay {
        v1::GiveWay { worker: self.worker.to_string(), started_ms: self.started_ms, host: self.host.clone() }
    }

    fn from_wire(v1::GiveWay { worker: id, started_ms, host }: v1::GiveWay) -> Result<Self, WireError> {
        Ok(Self { worker: worker("worker", id)?, started_ms, host })
    }
}

pub(super) fn worker(field: &str, id: String) -> Result<WorkerId, WireError> {
    WorkerId::try_from(id).map_err(|error| WireError::at(field, error))
}
