//! Init segments from tracks. Like segments they have their content's hash in their name, so caches may keep them.

use shared::cmaf::{Edit, InitKind, InitSegment, reorder_delay};
use shared::task::StoredObject;

use crate::stitch::{AudioTrack, VideoTrack};

/// Where a rendition's init segment is stored: `<rendition>/init.<hash16>.mp4`.
pub(super) fn object(rendition: &str, bytes: &[u8]) -> StoredObject {
    let object = StoredObject::of("", bytes);
    let hash = shared::hex::encode(&object.sha256[..8]);
    StoredObject { key: format!("{rendition}/init.{hash}.mp4"), ..object }
}

/// The folder of an init segment; `None` if it is something else.
pub(super) fn folder_of(key: &str) -> Option<&str> {
    let (folder, name) = key.rsplit_once('/')?;
    let hash = name.strip_prefix("init.")?.strip_suffix(".mp4")?;
    super::is_hash(hash).then_some(folder)
}

/// The init segment of a video track. Its edit list takes back the delay that workers put into composition offsets.
pub(super) fn video(track: &VideoTrack) -> InitSegment {
    InitSegment {
        kind: InitKind::Video {
            width_px: track.rendition.width_px,
            height_px: track.rendition.height_px,
            color: track.color,
            delay: reorder_delay(track.timescale, track.frame_rate),
        },
        timescale: track.timescale,
        config: track.config.clone(),
        language: "und".to_owned(),
    }
}

/// The init segment of an audio track.
pub(super) fn audio(track: &AudioTrack) -> InitSegment {
    InitSegment {
        kind: InitKind::Audio {
            sample_rate_hz: track.rendition.sample_rate_hz,
            channels: track.rendition.channels,
            edits: edits(track),
        },
        timescale: track.timescale(),
        config: track.config.clone(),
        language: track.rendition.language.clone(),
    }
}

/// The edit list that puts an audio signal in its place (ISO/IEC 14496-12 8.6.6).
///
/// The signal begins `priming` samples after the first packet; it is to be heard `lead` samples after the presentation's
/// start. A signal that starts late enough has its priming in front of it and needs no edit list: decode times *are*
/// presentation times, for players that ignore edit lists too. Else the track starts at 0, inside the priming, and one
/// edit skips what has no room.
fn edits(track: &AudioTrack) -> Vec<Edit> {
    let skip = |samples: u64| Edit { media_time: Some(i64::try_from(samples).unwrap_or(i64::MAX)), duration: None };
    match track.shift() {
        0 => Vec::new(),
        shift => vec![skip(shift)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stitch::fixture::{audio_receipt, audio_task};
    use crate::stitch::stitch_audio;

    #[test]
    fn edit_lists_put_the_signal_in_its_place() {
        let skip = |time| Edit { media_time: Some(time), duration: None };
        let cases = [
            (0, 1024, vec![skip(1024)]),
            (400, 1024, vec![skip(624)]),
            (1023, 1024, vec![skip(1)]),
            (1024, 1024, vec![]),
            (96_000, 1024, vec![]),
            (0, 0, vec![]),
        ];
        let task = audio_task(1, "en", 3);
        for (lead, priming, expected) in cases {
            let mut track = stitch_audio(&task, &audio_receipt(&task, lead, 800_000));
            track.priming = priming;
            assert_eq!(edits(&track), expected, "lead {lead}, priming {priming}");
        }
    }
}
