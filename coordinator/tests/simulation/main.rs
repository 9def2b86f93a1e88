//! Core, store, queue, workers and people in one thread, driven by a seed: everything that may be lost is lost, what may
//! come twice comes twice, and everybody dies now and then. Whatever happened, once it is quiet every job ends, and what
//! was made is what an undisturbed farm makes.
//!
//! `FARM_SEEDS=100000 cargo test --release -p coordinator --test simulation` tries so many seeds; `FARM_SEED=n` one.

mod world;

use coordinator::job::JobState;
use world::{Luck, World};

/// Seeds that every test run tries.
const SEEDS: u64 = 400;
/// Turns in which things go wrong.
const STORM: usize = 400;

#[test]
#[expect(clippy::disallowed_methods, reason = "how many seeds is nothing that a program reads")]
fn whatever_happens_every_job_ends_right() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let undisturbed = World::new(Luck::none(1)).finish();
    match number("FARM_SEED") {
        Some(seed) => try_seed(seed, &undisturbed),
        None => (0..number("FARM_SEEDS").unwrap_or(SEEDS)).for_each(|seed| try_seed(seed, &undisturbed)),
    }
}

fn try_seed(seed: u64, undisturbed: &World) {
    let said = std::panic::catch_unwind(|| {
        let mut world = World::new(Luck::of(seed));
        (0..STORM).for_each(|_| world.turn());
        let world = world.finish();
        for (job, record) in &world.records() {
            let may_fail = world.luck.attempts_fail || world.cancelled.contains(job);
            match record.state {
                JobState::Completed => {
                    let (made, expected) = (&world.whole[job], &undisturbed.whole[job]);
                    assert!(made.presentation == expected.presentation, "{job} is not what it should be");
                }
                state => assert!(may_fail, "{job} ended as {state}: {:?}", record.problems),
            }
        }
        assert!(world.tasks.is_empty(), "records of tasks are left behind");
    });
    if let Err(panic) = said {
        eprintln!("FARM_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
}
