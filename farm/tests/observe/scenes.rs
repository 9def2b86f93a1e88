//! The scenes, in their order: the one without a fault, the five of `deploy/DRILL.md`, and one for each other alert.

mod control;
mod drill;
mod workers;

use std::pin::Pin;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::alerts::counts;
use crate::panels;
use crate::report::{Report, Row};
use crate::scene::{Expected, Scene, silence};
use crate::stage::Stage;

/// Without a fault.
const QUIET: Duration = Duration::from_secs(20);

/// Chunks that a GPU has encoded.
const BY_GPU: &str = "sum(farm_coordinator_chunks_total{placement=~\".+nvenc\"})";

/// Causes a fault, waits until it is seen, and ends it.
type Play = for<'a> fn(&'a mut Scene, &'a Stage) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
/// What is expected, and what is done.
pub type Part = (Expected, Play);
/// Scenes that follow one another.
type Strand = Vec<Part>;
/// Strands that are played at once, as each has servers or workers of its own.
type Act = Vec<Strand>;

/// All scenes. Most alerts that are still firing when a scene is over end while others are played.
fn acts() -> Vec<Act> {
    vec![
        // Nobody works, which does not matter to the others. At first, as few jobs are in time then.
        vec![vec![nobody_takes_tasks()], vec![card_with_errors()], vec![certificate_near_its_end(), one_is_gone()]],
        vec![vec![nothing_is_wrong()]],
        vec![vec![nats_is_slow()], vec![etcd_is_slow()]],
        vec![
            vec![sessions_that_others_have_taken()],
            vec![poisonous_input()],
            vec![leaders_are_deposed(), slot_stands_still()],
        ],
        vec![vec![gpu_that_fails_fast()], vec![black_hole(), full_scratch_disk()], vec![store_refuses()]],
        vec![vec![slow_store()]],
        vec![vec![store_is_down()]],
        vec![vec![nats_down()]],
        vec![vec![etcd_stands_still()]],
        vec![vec![nobody_leads()]],
    ]
}

fn nothing_is_wrong() -> Part {
    (Expected::of("nothing is wrong", &[]), |scene, stage| Box::pin(quiet(scene, stage)))
}

fn gpu_that_fails_fast() -> Part {
    // Chunks wait for a minute until they go on to CPUs: long, where times are a twentieth.
    let expected =
        Expected::of("a GPU fails fast", &["FarmGpuFault/resting"]).in_drill().perhaps(&["FarmBacklogOld/waits"]);
    (expected, |scene, stage| Box::pin(drill::gpu_that_fails_fast(scene, stage)))
}

fn slow_store() -> Part {
    let expected = Expected::of("a slow store", &["FarmStorageTrouble/late"]).in_drill();
    (expected, |scene, stage| Box::pin(drill::slow_store(scene, stage)))
}

fn nats_down() -> Part {
    let expected = Expected::of("NATS is down", &["FarmNatsTrouble/errors"]).in_drill();
    (expected, |scene, stage| Box::pin(drill::nats_down(scene, stage)))
}

fn poisonous_input() -> Part {
    let expected = Expected::of("a poisonous input", &["FarmJobsFailing/burns_fast"]).in_drill();
    (expected, |scene, stage| Box::pin(drill::poisonous_input(scene, stage)))
}

fn full_scratch_disk() -> Part {
    let expected = Expected::of("a full scratch disk", &["FarmScratchFull/full"]).in_drill();
    (expected, |scene, stage| Box::pin(drill::full_scratch_disk(scene, stage)))
}

fn sessions_that_others_have_taken() -> Part {
    let expected = Expected::of("encoder sessions are taken by others", &["FarmGpuFallbacks/often"]);
    (expected, |scene, stage| Box::pin(workers::sessions_that_others_have_taken(scene, stage)))
}

fn card_with_errors() -> Part {
    let fires = &["FarmGpuFault/xid", "FarmGpuFault/missing"];
    let expected = Expected::of("a card reports an error and is gone", fires).perhaps(&["FarmGpuFault/resting"]);
    (expected, |scene, stage| Box::pin(workers::card_with_errors(scene, stage)))
}

fn black_hole() -> Part {
    let fires = &["FarmBlackHoleWorker/quarantined", "FarmWorkersQuarantined/held"];
    let expected = Expected::of("a worker fails whatever it takes", fires);
    (expected, |scene, stage| Box::pin(workers::black_hole(scene, stage)))
}

fn slot_stands_still() -> Part {
    (Expected::of("a slot stands still", &[]), |scene, stage| Box::pin(workers::slot_stands_still(scene, stage)))
}

fn one_is_gone() -> Part {
    let expected = Expected::of("a worker is gone", &["FarmTargetDown/down"]);
    (expected, |scene, stage| Box::pin(workers::one_is_gone(scene, stage)))
}

fn certificate_near_its_end() -> Part {
    let fires = &["FarmCertificateExpires/soon", "FarmCertificateExpires/now"];
    let expected = Expected::of("a certificate is near its end", fires);
    (expected, |scene, stage| Box::pin(workers::certificate_near_its_end(scene, stage)))
}

fn nobody_takes_tasks() -> Part {
    let expected = Expected::of("nobody takes tasks", &["FarmBacklogOld/waits", "FarmPlayableSlow/burns_fast"]);
    (expected, |scene, stage| Box::pin(workers::nobody_takes_tasks(scene, stage)))
}

fn store_refuses() -> Part {
    let expected = Expected::of("the store refuses to be read", &["FarmStorageTrouble/refused"])
        .perhaps(&["FarmJobsFailing/burns_fast"]);
    (expected, |scene, stage| Box::pin(control::store_refuses(scene, stage)))
}

fn store_is_down() -> Part {
    let expected = Expected::of("the store is down", &["FarmStorageTrouble/errors"]);
    (expected, |scene, stage| Box::pin(control::store_is_down(scene, stage)))
}

fn nats_is_slow() -> Part {
    let expected = Expected::of("NATS is slow", &["FarmNatsTrouble/late"]);
    (expected, |scene, stage| Box::pin(control::nats_is_slow(scene, stage)))
}

fn etcd_is_slow() -> Part {
    let expected = Expected::of("etcd is slow", &["FarmEtcdTrouble/late"]);
    (expected, |scene, stage| Box::pin(control::etcd_is_slow(scene, stage)))
}

fn etcd_stands_still() -> Part {
    let expected = Expected::of("etcd stands still", &["FarmEtcdTrouble/errors", "FarmNoLeader/none"]).perhaps(&[
        "FarmEtcdTrouble/late",
        "FarmFencedWrites/refused",
        "FarmTargetDown/down",
    ]);
    (expected, |scene, stage| Box::pin(control::etcd_stands_still(scene, stage)))
}

fn nobody_leads() -> Part {
    let expected = Expected::of("all coordinators are gone", &["FarmNoLeader/none", "FarmTargetDown/down"]);
    (expected, |scene, stage| Box::pin(control::nobody_leads(scene, stage)))
}

fn leaders_are_deposed() -> Part {
    let fires = &["FarmFencedWrites/refused", "FarmEtcdTrouble/leaders_change"];
    let expected = Expected::of("leaders are deposed again and again", fires).perhaps(&["FarmNoLeader/none"]);
    (expected, |scene, stage| Box::pin(control::leaders_are_deposed(scene, stage)))
}

/// Plays those with any of these words in their names, and says what is wrong with what has fired.
pub async fn play(stage: &Stage, words: &str, report: &mut Report) {
    let wanted = |(expected, _): &Part| words.split(',').any(|words| expected.name.contains(words));
    let mut played = Vec::new();
    for act in acts() {
        let strands = act.into_iter().map(|strand| strand.into_iter().filter(wanted).collect::<Strand>());
        let strands: Vec<Strand> = strands.filter(|strand| !strand.is_empty()).collect();
        if strands.is_empty() {
            continue;
        }
        stage.load.flows(1).await;
        let scenes = join_all(strands.into_iter().map(|strand| perform(strand, stage))).await;
        played.extend(scenes.into_iter().flatten());
        report.complain(stage.load.failed());
    }
    stage.load.flows(1).await;
    if let Err(firing) = silence(stage, |_| true).await {
        report.complain([format!("{firing:?} fire still")]);
    }
    let mut spells = stage.prometheus.spells(stage.began);
    spells.retain(|spell| counts(&spell.alert));
    for spell in spells.iter().filter(|spell| !played.iter().any(|scene| scene.explains_spell(spell))) {
        let after_s = spell.from - stage.began.unix_s();
        report.complain([format!("{} fired {after_s:.0} s after the beginning, for no scene", spell.alert)]);
    }
    played.into_iter().for_each(|scene| report.add(scene.judged(&spells)));
}

/// One after the other.
async fn perform(strand: Strand, stage: &Stage) -> Vec<Scene> {
    let seen = CancellationToken::new();
    seen.cancel();
    let mut played = Vec::new();
    for (expected, play) in strand {
        let mut scene = Scene::begin(expected, stage, seen.clone()).await;
        eprintln!("{:>4.0} s · {}", stage.began.elapsed_s(), expected.name);
        play(&mut scene, stage).await;
        scene.over();
        eprintln!("{:>4.0} s   over: {}", stage.began.elapsed_s(), expected.name);
        scene.complaints().iter().for_each(|what| eprintln!("       WRONG {what}"));
        played.push(scene);
    }
    played
}

/// Faults of the drill with these words in their names.
pub fn faults(words: &str) -> Vec<Part> {
    let wanted = |(expected, _): &Part| expected.drill && expected.name.contains(words);
    acts().into_iter().flatten().flatten().filter(wanted).collect()
}

/// Plays one fault, which lasts until `enough`; nobody is told of it.
pub async fn perform_one((expected, play): Part, stage: &Stage, enough: CancellationToken) -> Row {
    let mut scene = Scene::begin(expected, stage, enough).await;
    play(&mut scene, stage).await;
    scene.over();
    scene.judged(&stage.prometheus.spells(stage.began))
}

/// Nothing is wrong, no alert fires, and no panel is empty that should not be.
async fn quiet(scene: &mut Scene, stage: &Stage) {
    if let Err(firing) = silence(stage, |_| true).await {
        scene.complain(format!("{firing:?} fire"));
    }
    while stage.prometheus.now(BY_GPU).iter().all(|series| series.values == [0.0]) {
        stage.load.flows(1).await;
    }
    tokio::time::sleep(QUIET).await;
    let full = stage.queries.iter().filter(|query| !query.may_be_empty);
    panels::empty(full, &stage.prometheus, stage.began).for_each(|empty| scene.complain(empty));
}
