//! `FleetService`: parse, ask, answer.

use proto::v1;
use proto::v1::fleet_service_server::FleetService;
use shared::fleet::{Ability, Class, Standing};
use shared::task::WorkerId;
use tonic::{Request, Response, Status};

use super::answer::time;
use super::door::Call;
use super::error;
use super::request::known_id;
use crate::farm::Backlog;
use crate::run::Closed;
use crate::workers::{Hold, Load, WorkerView};

/// The service.
pub(super) struct Fleet;

async fn find(call: &Call, id: &str) -> Result<WorkerView, Status> {
    let worker = known_id("worker", id, WorkerId::new)?;
    let found = call.handle.workers().await.into_iter().find(|view| view.heartbeat.worker == worker);
    found.ok_or_else(|| error::not_found("worker", id))
}

async fn hold(call: &Call, id: &str, hold: bool) -> Result<Response<v1::Worker>, Status> {
    let known = find(call, id).await?;
    call.handle.hold(known.heartbeat.worker, hold).await.map_err(|Closed| error::closed())?;
    Ok(Response::new(message(&find(call, id).await?)))
}

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let workers = Call::of(&request)?.handle.workers().await;
        Ok(Response::new(v1::ListWorkersResponse { workers: workers.iter().map(message).collect() }))
    }

    async fn get_worker(&self, request: Request<v1::GetWorkerRequest>) -> Result<Response<v1::Worker>, Status> {
        let view = find(&Call::of(&request)?, &request.get_ref().worker_id).await?;
        Ok(Response::new(message(&view)))
    }

    async fn cordon_worker(&self, request: Request<v1::CordonWorkerRequest>) -> Result<Response<v1::Worker>, Status> {
        hold(&Call::of(&request)?, &request.get_ref().worker_id, true).await
    }

    async fn uncordon_worker(
        &self,
        request: Request<v1::UncordonWorkerRequest>,
    ) -> Result<Response<v1::Worker>, Status> {
        hold(&Call::of(&request)?, &request.get_ref().worker_id, false).await
    }

    async fn drain_worker(&self, request: Request<v1::DrainWorkerRequest>) -> Result<Response<v1::Worker>, Status> {
        let call = Call::of(&request)?;
        let known = find(&call, &request.get_ref().worker_id).await?;
        call.handle.drain(known.heartbeat.worker.clone()).await.map_err(|Closed| error::closed())?;
        Ok(Response::new(message(&known)))
    }

    async fn get_scale_signal(
        &self,
        request: Request<v1::GetScaleSignalRequest>,
    ) -> Result<Response<v1::ScaleSignal>, Status> {
        let handle = Call::of(&request)?.handle;
        let (backlog, workers) = (handle.backlog().await, handle.workers().await);
        let load = |class: Class| load(class, &backlog.get(&class).copied().unwrap_or_default(), &workers);
        Ok(Response::new(v1::ScaleSignal { classes: Class::ALL.into_iter().map(load).collect() }))
    }
}

fn load(class: Class, backlog: &Backlog, workers: &[WorkerView]) -> v1::ClassLoad {
    let Load { queued_seconds, slots, busy_slots, speed_ms_per_s } = Load::of(class, backlog, workers);
    let queued_ms = backlog.left_ms;
    v1::ClassLoad { class: work_class(class).into(), queued_seconds, queued_ms, slots, busy_slots, speed_ms_per_s }
}

fn work_class(class: Class) -> v1::WorkClass {
    match class {
        Class::Cpu => v1::WorkClass::Cpu,
        Class::Gpu => v1::WorkClass::Gpu,
    }
}

fn state(view: &WorkerView) -> v1::WorkerState {
    match (&view.hold, view.heartbeat.standing) {
        _ if view.lost => v1::WorkerState::Lost,
        (_, Standing::Draining) => v1::WorkerState::Draining,
        (Some(Hold::Quarantined(_)), _) => v1::WorkerState::Quarantined,
        (Some(Hold::Cordoned), _) => v1::WorkerState::Cordoned,
        (None, _) => v1::WorkerState::Working,
    }
}

fn message(view: &WorkerView) -> v1::Worker {
    let beat = &view.heartbeat;
    let hold_reason = match &view.hold {
        Some(Hold::Quarantined(reason)) => format!("{reason}{}", lacks(&beat.abilities)),
        Some(Hold::Cordoned) | None => String::new(),
    };
    v1::Worker {
        id: beat.worker.to_string(),
        state: state(view).into(),
        hold_reason,
        host: beat.host.clone(),
        build: beat.build.clone(),
        classes: beat.classes.iter().map(|class| work_class(*class).into()).collect(),
        slots: beat.slots,
        running: beat.running.iter().map(|attempt| attempt.task.to_string()).collect(),
        speed_ms_per_s: beat.speed_ms_per_s,
        heard_time: Some(time(view.heard_ms)),
        done: view.done,
        failed: view.failed,
        abilities: beat.abilities.iter().map(ability).collect(),
        gpu_slots: beat.slots_of(Class::Gpu),
        gpu_speed_ms_per_s: beat.speed_of(Class::Gpu),
        warning: view.twin.as_ref().map(|twin| warning(&twin.host)).unwrap_or_default(),
    }
}

fn warning(host: &str) -> String {
    format!("another worker of this name runs on {host}, and takes nothing: give it a name of its own")
}

/// What does not work, if anything was tried.
fn lacks(abilities: &[Ability]) -> String {
    let lacks =
        abilities.iter().filter_map(|one| Some(format!("; {} {}: {}", one.class, one.name, one.lack.as_ref()?)));
    lacks.collect()
}

fn ability(Ability { class, name, lack }: &Ability) -> v1::WorkerAbility {
    let (class, lack) = (work_class(*class).into(), lack.clone().unwrap_or_default());
    v1::WorkerAbility { class, name: name.clone(), lack }
}
