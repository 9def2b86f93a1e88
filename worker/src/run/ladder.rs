//! What is tried after a GPU has failed an attempt: the same chunk from its beginning, with less of the GPU.

use shared::error::{ErrorKind, TaskError};
use shared::placement::{DecodeBy, EncodeBy, Placement, ScaleBy, Stage};

use crate::codec::gpu::Trouble;

/// Failures of a slot that a driver may have caused: on a GPU it is tried without before anybody is told.
const SLOT_DEATHS: [&str; 6] = ["slot_crashed", "slot_killed", "slot_memory", "slot_stalled", "slot_protocol", "panic"];

/// What went wrong on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fall {
    /// Where.
    pub stage: Stage,
    /// It counts against the GPU: neither the source, nor other users of the GPU, nor a host without memory explain it.
    pub blamed: bool,
}

impl Fall {
    /// `None`: an error that has nothing to do with the GPU, though the attempt used one.
    pub fn of(error: &TaskError) -> Option<Self> {
        if let Some((stage, trouble)) = Trouble::of(error) {
            return Some(Self { stage, blamed: trouble == Trouble::Fault });
        }
        let blamed = error.kind != ErrorKind::Exhausted;
        SLOT_DEATHS.contains(&error.code.as_str()).then_some(Self { stage: Stage::Slot, blamed })
    }
}

/// The placements that are left to try, the best first; the last is software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder(Vec<Placement>);

impl Ladder {
    /// `best`, then without the GPU's decoder, then without its encoder, then without the GPU.
    pub fn new(best: Placement) -> Self {
        let decoded = Placement { decode: DecodeBy::Software, ..best };
        let encoded = Placement { encode: EncodeBy::Software, ..best };
        let mut steps = vec![best];
        for step in [decoded, encoded, Placement::SOFTWARE].map(sensible) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        Self(steps)
    }

    /// What is to be tried now.
    pub fn now(&self) -> Placement {
        self.0.first().copied().unwrap_or_default()
    }

    /// Leaves out what needs the stage that failed. A slot that died says nothing of the stage: then it is the next step.
    pub fn step_down(&mut self, stage: Stage) {
        if !self.0.is_empty() {
            self.0.remove(0);
        }
        self.0.retain(|step| stage == Stage::Slot || !step.has_on_gpu(stage));
    }
}

/// A picture is not brought to a GPU to be scaled alone.
fn sensible(placement: Placement) -> Placement {
    match (placement.decode, placement.encode) {
        (DecodeBy::Software, EncodeBy::Software) => Placement { scale: ScaleBy::Software, ..placement },
        _ => placement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Placement = Placement { decode: DecodeBy::Nvdec, scale: ScaleBy::Cuda, encode: EncodeBy::Nvenc };

    fn falls(best: Placement, stages: &[Stage]) -> Vec<String> {
        let mut ladder = Ladder::new(best);
        let mut tried = vec![ladder.now().to_string()];
        for stage in stages {
            ladder.step_down(*stage);
            tried.push(ladder.now().to_string());
        }
        tried
    }

    #[test]
    fn slots_that_die_lead_down_step_by_step() {
        let tried = falls(ALL, &[Stage::Slot; 4]);
        assert_eq!(tried, ["nvdec+cuda+nvenc", "software+cuda+nvenc", "nvdec+cuda+software", "software", "software"]);
        let h200 = Placement { encode: EncodeBy::Software, ..ALL };
        assert_eq!(falls(h200, &[Stage::Slot]), ["nvdec+cuda+software", "software"]);
    }

    #[test]
    fn a_stage_that_failed_is_not_tried_again() {
        assert_eq!(falls(ALL, &[Stage::Encode, Stage::Decode])[1..], ["nvdec+cuda+software", "software"]);
        assert_eq!(falls(ALL, &[Stage::Decode, Stage::Encode])[1..], ["software+cuda+nvenc", "software"]);
        assert_eq!(falls(ALL, &[Stage::Scale])[1..], ["software"]);
    }

    #[test]
    fn only_faults_and_deaths_are_blamed_on_the_gpu() {
        let fall = |error: TaskError| Fall::of(&error).map(|fall| (fall.stage, fall.blamed));
        assert_eq!(fall(Trouble::Fault.error(Stage::Encode, "x")), Some((Stage::Encode, true)));
        assert_eq!(fall(Trouble::Refused.error(Stage::Decode, "x")), Some((Stage::Decode, false)));
        assert_eq!(fall(Trouble::Busy.error(Stage::Slot, "x")), Some((Stage::Slot, false)));
        assert_eq!(fall(TaskError { code: "slot_stalled".into(), ..TaskError::bug("x") }), Some((Stage::Slot, true)));
        for memory in ["slot_killed", "slot_memory"] {
            let error = TaskError::new(ErrorKind::Exhausted, memory, "x");
            assert_eq!(fall(error), Some((Stage::Slot, false)), "{memory}");
        }
        assert_eq!(fall(TaskError::input("undecodable", "x")), None);
        assert_eq!(fall(TaskError::transient("source_read", "x")), None);
    }
}
