//! A card is lost in the middle of a job, and none is left.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::machine::{Machine, assert_made_right, families, source};
use crate::support::Presentation;

const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

/// Makes a presentation with a card that is lost when its beginning is published. Returns who encoded it, and what the job
/// says of that.
#[expect(clippy::disallowed_methods, reason = "playlists are there when they are looked for")]
fn make(options: &[&str]) -> (BTreeSet<String>, String) {
    let machine = Machine::new("l4", "");
    let farm = machine.serve();
    let source = source(farm.folder.path(), "16");
    let id = farm.submit(&source, &[&["--segment", "2s", "--rungs", "360"], options].concat());
    let (out, began) = (farm.out(&id), Instant::now());
    while !out.join("master.m3u8").exists() {
        assert!(began.elapsed() < PATIENCE, "nothing is published");
        std::thread::sleep(PAUSE);
    }
    machine.play("l4", "device_lost@1");
    farm.kill_slots();
    let job = farm.json(&["job", "get", &id, "--wait-for", "succeeded"]).remove(0);
    assert_eq!(job["state"], "JOB_STATE_SUCCEEDED", "{job}");
    assert_made_right(&source, &Presentation::read(&out));
    (families(&out).into_iter().flatten().collect(), job["problems"].to_string())
}

fn named(families: &[&str]) -> BTreeSet<String> {
    families.iter().map(|family| (*family).to_owned()).collect()
}

/// Its fastest speed lacks tools that cards use, and its sets go together with theirs all the same.
#[test]
fn x264_goes_on_with_what_a_card_began_at_whatever_speed() {
    let (families, problems) = make(&["--preset", "ultrafast"]);
    assert_eq!(families, named(&["nvenc-ada", "software"]), "{problems}");
    assert!(!problems.contains("family_misfit") && !problems.contains("encoders_changed"), "{problems}");
}

/// A track of AV1 has one sequence header, and encoders of two families write two.
#[test]
fn software_makes_again_what_it_can_t_go_on_with() {
    let (families, problems) = make(&["--profile", "av1", "--preset", "12"]);
    assert_eq!(families, named(&["software"]), "{problems}");
    assert!(problems.contains("encoders_changed"), "{problems}");
}
