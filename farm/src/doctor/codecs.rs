//! What FFmpeg here can do, asked as a worker asks before it takes a task: by doing it, in a slot.

use std::sync::Arc;

use shared::fleet::Ability;
use worker::config::WorkerConfig;
use worker::proof::{TRIALS, Trial, prove};
use worker::slot::spawner::Spawner;

use super::{Finding, Grade};

const ADVICE: &str =
    "install an FFmpeg built with it; Debian's libavcodec, libavfilter and their -extra packages have all";

pub(super) async fn look(config: &Arc<WorkerConfig>, spawner: &Spawner) -> Vec<Finding> {
    let abilities = prove(config, spawner).await;
    TRIALS.iter().zip(&abilities).map(|(trial, ability)| judge(trial, ability)).collect()
}

fn judge(trial: &Trial, ability: &Ability) -> Finding {
    let what = format!("{} {}", trial.class, trial.name);
    match &ability.lack {
        None if trial.name == Ability::SOURCES => Finding::new(what, Grade::Ok, "decoders for all common codecs", ""),
        None => Finding::new(what, Grade::Ok, "encodes, decodes, and it is the same", ""),
        Some(lack) => Finding::new(what, if trial.needed { Grade::Bad } else { Grade::Warn }, lack, ADVICE),
    }
}
