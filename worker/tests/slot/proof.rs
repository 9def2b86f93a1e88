//! A worker claims what it has proven, and nothing before.

use shared::fleet::{Ability, Class, Directive, Standing};
use shared::task::{Outcome, WorkerId};
use worker::config::{SlotProgram, WorkerConfig};
use worker::proof::TRIALS;

use crate::{Crew, Scene, config};

#[tokio::test]
async fn a_worker_claims_a_class_and_takes_its_tasks_once_it_has_proven_it() {
    let (scene, crew) = (Scene::new(), Crew::start_proving(config()));
    crew.push(scene.task("fine")).await;
    let first = crew.heartbeat().await;
    assert_eq!((first.classes, first.abilities, first.proofs), (vec![], vec![], 0));
    assert!(matches!(crew.outcomes().await.last(), Some(Outcome::Done(_))));
    let proven = crew.heartbeat().await;
    assert_eq!((proven.classes, proven.proofs, proven.standing), (vec![Class::Cpu], 1, Standing::Working));
    let works = |ability: &Ability| (ability.name.clone(), ability.lack.clone());
    let all: Vec<_> = TRIALS.iter().map(|trial| (trial.name.to_owned(), None)).collect();
    assert_eq!(proven.abilities.iter().map(works).collect::<Vec<_>>(), all);

    crew.direct(Directive::Prove(WorkerId::new("tester").unwrap())).await;
    while crew.heartbeat().await.proofs < 2 {}
    crew.stop().await;
}

#[tokio::test]
async fn a_worker_whose_slots_die_claims_nothing_takes_nothing_and_says_why() {
    let slot_program = SlotProgram { path: "/bin/false".into(), args: vec![] };
    let (scene, crew) = (Scene::new(), Crew::start_proving(WorkerConfig { slot_program, ..config() }));
    crew.push(scene.task("fine")).await;
    let mut heartbeat = crew.heartbeat().await;
    while heartbeat.proofs == 0 {
        heartbeat = crew.heartbeat().await;
    }
    assert_eq!((heartbeat.classes, heartbeat.running), (vec![], vec![]));
    for ability in &heartbeat.abilities {
        let lack = ability.lack.as_deref().expect("nothing should work");
        assert!(lack.contains("exit status: 1"), "{}: {lack}", ability.name);
    }
    crew.stop().await;
}
