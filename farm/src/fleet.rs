//! `farm worker`: looks after the workers of a farm.

use std::fmt::Write;

use clap::Subcommand;
use proto::v1;

use crate::client::{Remote, fleet};
use crate::exit::{Exit, Failure};
use crate::progress::print_text;

/// Workers: who encodes, and who shall not
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  farm worker list
  farm worker cordon w7      takes nothing new; what runs goes on
  farm worker drain w7       finishes what runs, then ends: before an upgrade
  farm worker load           seconds of work that wait, for whoever adds and removes workers

They need a key with the scope `operate`.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List workers
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Say how a worker stands and what runs there
    Show(One),
    /// Give a worker nothing new; outlives restarts
    Cordon(One),
    /// Give a worker tasks again
    Uncordon(One),
    /// Let a worker finish what runs and end
    Drain(One),
    /// Say how much work waits
    Load {
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// Which worker
    id: String,
    #[command(flatten)]
    remote: Remote,
}

/// `farm worker`.
///
/// # Errors
/// What the farm refuses; `unreachable`.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    match args.command {
        Command::List { remote } => return list(&remote).await,
        Command::Load { remote } => {
            let load =
                fleet(remote.connect().await?).get_scale_signal(v1::GetScaleSignalRequest {}).await?.into_inner();
            remote.show("ScaleSignal", &load, || loads(&load))?;
        }
        Command::Show(One { id: worker_id, remote }) => {
            let mut client = fleet(remote.connect().await?);
            show(&remote, &client.get_worker(v1::GetWorkerRequest { worker_id }).await?.into_inner())?;
        }
        Command::Cordon(One { id: worker_id, remote }) => {
            let mut client = fleet(remote.connect().await?);
            show(&remote, &client.cordon_worker(v1::CordonWorkerRequest { worker_id }).await?.into_inner())?;
        }
        Command::Uncordon(One { id: worker_id, remote }) => {
            let mut client = fleet(remote.connect().await?);
            show(&remote, &client.uncordon_worker(v1::UncordonWorkerRequest { worker_id }).await?.into_inner())?;
        }
        Command::Drain(One { id: worker_id, remote }) => {
            let mut client = fleet(remote.connect().await?);
            show(&remote, &client.drain_worker(v1::DrainWorkerRequest { worker_id }).await?.into_inner())?;
        }
    }
    Ok(Exit::Done)
}

async fn list(remote: &Remote) -> Result<Exit, Failure> {
    let workers = fleet(remote.connect().await?).list_workers(v1::ListWorkersRequest {}).await?.into_inner().workers;
    if remote.json {
        workers.iter().try_for_each(|worker| remote.show("Worker", worker, String::new))?;
        return Ok(Exit::Done);
    }
    let mut text = format!(
        "{:24}  {:11}  {:>5}  {:>7}  {:>7}  {:>6}  {:>6}  HOST\n",
        "ID", "STATE", "SLOTS", "GPU", "RUNNING", "DONE", "FAILED"
    );
    for worker in &workers {
        let v1::Worker { id, slots, running, done, failed, host, .. } = worker;
        let (running, gpu) = (running.len(), gpu_slots(worker));
        let state = state(worker);
        let counts = format!("{slots:>5}  {gpu:>7}  {running:>7}  {done:>6}  {failed:>6}");
        let _ = writeln!(text, "{id:24}  {state:11}  {counts}  {host}");
    }
    for worker in workers.iter().filter(|worker| !worker.warning.is_empty()) {
        let _ = writeln!(text, "{}: {}", worker.id, worker.warning);
    }
    print_text(if workers.is_empty() { "no workers\n" } else { &text })?;
    Ok(Exit::Done)
}

fn show(remote: &Remote, worker: &v1::Worker) -> Result<(), Failure> {
    remote.show("Worker", worker, || {
        let mut text = format!("{}  {} on {}, version {}\n", worker.id, state(worker), worker.host, worker.build);
        let _ = writeln!(
            text,
            "slots     {} and {} on GPUs, {} in use",
            worker.slots,
            worker.gpu_slots,
            worker.running.len()
        );
        let _ = writeln!(text, "ended     {} well, {} badly", worker.done, worker.failed);
        if worker.speed_ms_per_s > 0 {
            let _ = writeln!(text, "speed     {:.2}x real time a slot", f64::from(worker.speed_ms_per_s) / 1000.0);
        }
        if !worker.hold_reason.is_empty() {
            let _ = writeln!(text, "held      {}", worker.hold_reason);
        }
        if !worker.warning.is_empty() {
            let _ = writeln!(text, "warning   {}", worker.warning);
        }
        for ability in &worker.abilities {
            let lack = Some(ability.lack.as_str()).filter(|lack| !lack.is_empty());
            let _ = writeln!(text, "{:8}  {} {}", class(ability.class()), ability.name, lack.unwrap_or("works"));
        }
        for task in &worker.running {
            let _ = writeln!(text, "running   {task}");
        }
        text
    })
}

/// Slots on GPUs; `0 (out)` if there is a card that is not used: it rests, or has not passed its test. `show` says why.
fn gpu_slots(worker: &v1::Worker) -> String {
    let has_card = worker.abilities.iter().any(|ability| ability.class() == v1::WorkClass::Gpu);
    if has_card && worker.gpu_slots == 0 { "0 (out)".to_owned() } else { worker.gpu_slots.to_string() }
}

fn class(class: v1::WorkClass) -> String {
    class.as_str_name().trim_start_matches("WORK_CLASS_").to_lowercase()
}

fn state(worker: &v1::Worker) -> String {
    worker.state().as_str_name().trim_start_matches("WORKER_STATE_").to_lowercase()
}

fn loads(signal: &v1::ScaleSignal) -> String {
    let lines = signal.classes.iter().map(|load| {
        let class = class(load.class());
        let v1::ClassLoad { queued_seconds, slots, busy_slots, .. } = load;
        format!("{class}: {queued_seconds:.0} s of work for one slot wait; {busy_slots} of {slots} slots are busy\n")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_not_used_is_told_from_none() {
        let ability = v1::WorkerAbility { name: "h264".into(), ..Default::default() };
        let of = |class: v1::WorkClass| v1::WorkerAbility { class: class.into(), ..ability.clone() };
        let told = |slots, abilities| gpu_slots(&v1::Worker { gpu_slots: slots, abilities, ..Default::default() });
        assert_eq!(told(0, vec![of(v1::WorkClass::Cpu)]), "0");
        assert_eq!(told(0, vec![of(v1::WorkClass::Cpu), of(v1::WorkClass::Gpu)]), "0 (out)");
        assert_eq!(told(2, vec![of(v1::WorkClass::Gpu)]), "2");
    }
}
