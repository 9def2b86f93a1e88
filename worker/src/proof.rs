//! What this host can do, found out by doing it: before a worker claims a class it encodes a tiny clip with the settings of
//! production, decodes that and compares.
//!
//! Trials run in a slot, with its limits and a time of their own: a codec that crashes or hangs costs that trial. Each is
//! one [`Ability`]; a class is claimed when all of its trials that are needed have succeeded. `farm doctor` shows the same.
//! All trials of a CPU take 0.4 s, most of it the start of three encoders.

mod audio;
pub(crate) mod clip;
pub mod gpu;
mod source;
mod video;

use std::sync::Arc;
use std::time::Duration;

use shared::error::{ErrorKind, TaskError};
use shared::fleet::{Ability, Class};
use shared::rendition::{AudioCodec, VideoCodec};
use tracing::{debug, warn};

use crate::codec::backend::Backend;
use crate::config::WorkerConfig;
use crate::slot::Slot;
use crate::slot::sight::Sight;
use crate::slot::spawner::Spawner;

/// How long a trial may take; a slow machine under load needs a tenth.
pub const TRIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Something that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// What needs it.
    pub class: Class,
    /// As [`Ability::name`].
    pub name: &'static str,
    /// Without it the class is not claimed; tasks that need another ability go to workers that have it.
    pub needed: bool,
}

/// Everything that is tried, in order.
pub const TRIALS: [Trial; 6] = [
    Trial { class: Class::Cpu, name: VideoCodec::H264.as_str(), needed: true },
    Trial { class: Class::Cpu, name: AudioCodec::Aac.as_str(), needed: true },
    Trial { class: Class::Cpu, name: VideoCodec::Hevc.as_str(), needed: false },
    Trial { class: Class::Cpu, name: VideoCodec::Av1.as_str(), needed: false },
    Trial { class: Class::Cpu, name: AudioCodec::Opus.as_str(), needed: false },
    Trial { class: Class::Cpu, name: Ability::SOURCES, needed: false },
];

/// Classes that there are trials for: no other is ever claimed.
pub fn tried() -> impl Iterator<Item = Class> {
    Class::ALL.into_iter().filter(|class| TRIALS.iter().any(|trial| trial.needed && trial.class == *class))
}

/// What has been found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// One for each trial.
    pub abilities: Vec<Ability>,
    /// Which number it is since the start; 0: nothing has been tried.
    pub number: u32,
    /// Every class is claimed until something has been tried.
    pub assumed: bool,
}

impl Proof {
    /// Classes all of whose needed trials have succeeded; there are some.
    pub fn classes(&self) -> Vec<Class> {
        let works = |trial: &Trial| {
            let same = |one: &&Ability| (one.class, one.name.as_str()) == (trial.class, trial.name);
            self.abilities.iter().find(same).is_some_and(|ability| ability.lack.is_none())
        };
        let assumed = self.assumed && self.number == 0;
        let proven =
            |class: &Class| assumed || TRIALS.iter().filter(|trial| trial.needed && trial.class == *class).all(works);
        tried().filter(proven).collect()
    }

    /// Why a class is not claimed, for people; `None`: it is.
    pub fn lack(&self, class: Class) -> Option<String> {
        if self.number == 0 {
            return Some("not tried yet".to_owned());
        }
        let needed = |ability: &&Ability| {
            TRIALS.iter().any(|trial| trial.needed && (trial.class, trial.name) == (class, ability.name.as_str()))
        };
        let lacks = self.abilities.iter().filter(needed);
        let lacks: Vec<String> =
            lacks.filter_map(|ability| Some(format!("{}: {}", ability.name, ability.lack.as_ref()?))).collect();
        (!lacks.is_empty()).then(|| lacks.join("; "))
    }
}

/// Tries everything, in a slot that is replaced when a trial ends it.
pub async fn prove(config: &Arc<WorkerConfig>, spawner: &Spawner) -> Vec<Ability> {
    let mut slot: Option<Slot> = None;
    let mut abilities = Vec::new();
    for trial in TRIALS {
        let result = match &mut slot {
            Some(slot) => slot.try_out(&trial).await,
            none => match Slot::open(config.clone(), spawner, Sight::Nothing).await {
                Ok(opened) => none.insert(opened).try_out(&trial).await,
                Err(error) => Err(TaskError::new(ErrorKind::Exhausted, "slot_spawn", error.to_string())),
            },
        };
        if result.is_err()
            && let Some(spent) = slot.take()
        {
            spent.close().await;
        }
        let Trial { class, name, .. } = trial;
        match &result {
            Ok(()) => debug!(%class, name, "tried: it works"),
            Err(TaskError { code, message, .. }) => warn!(%class, name, code, message, "tried: it does not work"),
        }
        abilities.push(Ability { class, name: name.to_owned(), lack: result.err().map(|error| error.message) });
    }
    if let Some(slot) = slot {
        slot.close().await;
    }
    abilities
}

/// Tries one thing; inside a slot.
pub(crate) fn try_out(class: &str, name: &str) -> Result<(), TaskError> {
    let video = [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1].into_iter().find(|codec| codec.as_str() == name);
    let audio = [AudioCodec::Aac, AudioCodec::Opus].into_iter().find(|codec| codec.as_str() == name);
    match (video, audio) {
        _ if class != Class::Cpu.as_str() => Err(TaskError::bug(format!("{class} is not tried here"))),
        (Some(codec), _) => video::round_trip(codec, video::Clip::SMALL, &Backend::default()),
        (_, Some(codec)) => audio::round_trip(codec),
        _ if name == Ability::SOURCES => decoders(),
        _ => Err(TaskError::bug(format!("{name} is not tried here"))),
    }
}

/// Whether there is a decoder for everything that sources are usually made of. Those are not run: nothing here could make
/// what they read.
fn decoders() -> Result<(), TaskError> {
    use ffmpeg_next::codec::{Id, decoder};
    let wanted = [
        Id::H264,
        Id::HEVC,
        Id::AV1,
        Id::VP8,
        Id::VP9,
        Id::MPEG2VIDEO,
        Id::MPEG4,
        Id::PRORES,
        Id::DNXHD,
        Id::MJPEG,
        Id::VC1,
        Id::THEORA,
        Id::AAC,
        Id::MP3,
        Id::AC3,
        Id::EAC3,
        Id::OPUS,
        Id::VORBIS,
        Id::FLAC,
        Id::ALAC,
        Id::DTS,
        Id::PCM_S16LE,
    ];
    let missing: Vec<&str> = wanted.into_iter().filter(|id| decoder::find(*id).is_none()).map(|id| id.name()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(TaskError::unsupported("decoders", format!("this FFmpeg has no decoder for {}", missing.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_works_on_a_host_that_runs_these_tests() {
        for trial in TRIALS {
            assert_eq!(try_out(trial.class.as_str(), trial.name), Ok(()), "{}", trial.name);
        }
        assert_eq!(try_out("cpu", "mpeg1").unwrap_err().kind, ErrorKind::Bug);
    }

    #[test]
    fn a_class_is_claimed_when_all_that_it_needs_works() {
        let ability = |trial: Trial, lack: Option<&str>| Ability {
            class: trial.class,
            name: trial.name.to_owned(),
            lack: lack.map(str::to_owned),
        };
        let found = |broken: &str| Proof {
            number: 1,
            assumed: false,
            abilities: TRIALS.map(|trial| ability(trial, (trial.name == broken).then_some("it is on fire"))).into(),
        };
        assert_eq!(found("hevc").classes(), [Class::Cpu]);
        assert_eq!(found("hevc").lack(Class::Cpu), None);
        assert_eq!(found("h264").classes(), []);
        assert_eq!(found("h264").lack(Class::Cpu).as_deref(), Some("h264: it is on fire"));
        assert_eq!(Proof::default().classes(), []);
        assert_eq!(Proof { assumed: true, ..Proof::default() }.classes(), [Class::Cpu]);
        assert_eq!(Proof::default().lack(Class::Cpu).as_deref(), Some("not tried yet"));
    }
}
