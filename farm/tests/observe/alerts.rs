//! Alerts as `NAME/SIGN`, and those that no scene lets fire.

use std::collections::BTreeSet;

/// Those that can't be waited for or made to fire here, and why. `dashboards/*.test.yml` have a case of each.
pub const ELSEWHERE: [(&str, &str); 6] = [
    ("FarmPlayableSlow/burns", HOURS),
    ("FarmPlayableSlow/burns_slowly", HOURS),
    ("FarmJobsFailing/burns", HOURS),
    ("FarmJobsFailing/burns_slowly", HOURS),
    ("FarmGpuFault/throttled", "the card that is played is never too hot"),
    ("FarmBlackHoleWorker/fails_only", "who fails so much is quarantined before, if there is anybody else"),
];
/// They may fire in any scene: what was wrong in an earlier one counts too.
const HOURS: &str = "it looks back for hours, and for minutes here";

/// Whether a scene has to say that this one fires.
pub fn counts(alert: &str) -> bool {
    !ELSEWHERE.iter().any(|(name, reason)| *name == alert && *reason == HOURS)
}

/// Those that no scene has let fire, and should have; and those that did fire and are said not to.
pub fn complaints(all: &BTreeSet<String>, fired: &BTreeSet<String>) -> Vec<String> {
    let exempt = |alert: &str| ELSEWHERE.iter().any(|(name, _)| *name == alert);
    let silent = all.difference(fired).filter(|alert| !exempt(alert)).map(|alert| format!("{alert} has no scene"));
    let gone = ELSEWHERE.iter().filter(|(name, _)| !all.contains(*name)).map(|(name, _)| format!("there is no {name}"));
    silent.chain(gone).collect()
}
