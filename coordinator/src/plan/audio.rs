//! Audio renditions: one of each audio stream of the source. Pure.

use std::collections::BTreeSet;

use shared::rendition::{AudioCodec, AudioRendition};
use shared::source::AudioStream;
use shared::time::Timescale;

use crate::profile::AudioProfile;

const OPUS_RATE_HZ: u32 = 48_000;
/// Rates that AAC-LC has an index for (ISO/IEC 14496-3 table 1.18) and every player plays.
const AAC_RATES_HZ: [u32; 9] = [48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000];
/// AAC frames hold 6144 bits per channel and 1024 samples; beyond two thirds of that the encoder starves nothing.
const MOST_BITS_PER_SAMPLE: u32 = 4;

/// ISO 639-2 codes (bibliographic ones too), the BCP 47 tag for each and its name for a menu.
const LANGUAGES: [(&[&str], &str, &str); 36] = [
    (&["ara"], "ar", "العربية"),
    (&["ben"], "bn", "বাংলা"),
    (&["bul"], "bg", "Български"),
    (&["cat"], "ca", "Català"),
    (&["ces", "cze"], "cs", "Čeština"),
    (&["dan"], "da", "Dansk"),
    (&["deu", "ger"], "de", "Deutsch"),
    (&["ell", "gre"], "el", "Ελληνικά"),
    (&["eng"], "en", "English"),
    (&["est"], "et", "Eesti"),
    (&["fas", "per"], "fa", "فارسی"),
    (&["fin"], "fi", "Suomi"),
    (&["fra", "fre"], "fr", "Français"),
    (&["heb"], "he", "עברית"),
    (&["hin"], "hi", "हिन्दी"),
    (&["hrv"], "hr", "Hrvatski"),
    (&["hun"], "hu", "Magyar"),
    (&["ind"], "id", "Bahasa Indonesia"),
    (&["ita"], "it", "Italiano"),
    (&["jpn"], "ja", "日本語"),
    (&["kor"], "ko", "한국어"),
    (&["lit"], "lt", "Lietuvių"),
    (&["nld", "dut"], "nl", "Nederlands"),
    (&["nor", "nob"], "no", "Norsk"),
    (&["pol"], "pl", "Polski"),
    (&["por"], "pt", "Português"),
    (&["ron", "rum"], "ro", "Română"),
    (&["rus"], "ru", "Русский"),
    (&["slk", "slo"], "sk", "Slovenčina"),
    (&["spa"], "es", "Español"),
    (&["swe"], "sv", "Svenska"),
    (&["tha"], "th", "ไทย"),
    (&["tur"], "tr", "Türkçe"),
    (&["ukr"], "uk", "Українська"),
    (&["vie"], "vi", "Tiếng Việt"),
    (&["zho", "chi"], "zh", "中文"),
];

/// One rendition of each stream, in the source's order. Exactly one is the default one, unless there are none.
pub fn audio_renditions(profile: &AudioProfile, streams: &[AudioStream]) -> Vec<AudioRendition> {
    let first = streams.iter().position(|stream| stream.default).unwrap_or(0);
    let (mut names, mut titles) = (BTreeSet::new(), BTreeSet::new());
    let make = |(position, stream): (usize, &AudioStream)| {
        let (language, language_name) = language(&stream.language);
        let stem: String =
            language.to_ascii_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let title = [stream.title.trim(), &language_name].into_iter().find(|t| !t.is_empty()).unwrap_or("Audio");
        let channels = stream.channels.clamp(1, profile.channels);
        let sample_rate_hz = sample_rate(profile.codec, stream.sample_rate_hz);
        let stereo_bps = profile.bitrate_kbps.saturating_mul(1000);
        let wanted_bps = if channels == 1 { stereo_bps / 2 } else { stereo_bps };
        AudioRendition {
            name: unique(&mut names, |n| if n == 1 { format!("audio-{stem}") } else { format!("audio-{stem}-{n}") }),
            stream: stream.index,
            codec: profile.codec,
            bitrate_bps: wanted_bps.min(sample_rate_hz * channels * MOST_BITS_PER_SAMPLE),
            sample_rate_hz,
            channels,
            title: unique(&mut titles, |n| if n == 1 { title.to_owned() } else { format!("{title} {n}") }),
            language,
            default: position == first,
        }
    };
    streams.iter().enumerate().map(make).collect()
}

/// The timescale of the track.
pub(super) fn planned_rate(rendition: &AudioRendition) -> Timescale {
    Timescale::new(rendition.sample_rate_hz).expect("a planned rendition should have a sample rate")
}

/// The first text that is not taken yet.
fn unique(taken: &mut BTreeSet<String>, text: impl Fn(usize) -> String) -> String {
    let free = (1..).map(text).find(|text| !taken.contains(text)).expect("numbers should not run out");
    taken.insert(free.clone());
    free
}

/// The BCP 47 tag and the name of what a container calls a language.
fn language(tag: &str) -> (String, String) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let tag = tag.trim().replace('_', "-");
    let primary = tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let known = LANGUAGES.iter().find(|(codes, short, _)| *short == primary || codes.contains(&primary.as_str()));
    match known {
        Some((_, short, name)) => (format!("{short}{}", &tag[primary.len()..]), (*name).to_owned()),
        None if (2..=8).contains(&primary.len()) && primary != "und" && tag.len() <= 16 && tag.chars().all(plain) => {
            (tag.clone(), tag)
        }
        None => ("und".to_owned(), String::new()),
    }
}

fn sample_rate(codec: AudioCodec, source_hz: u32) -> u32 {
    match codec {
        AudioCodec::Opus => OPUS_RATE_HZ,
        AudioCodec::Aac if AAC_RATES_HZ.contains(&source_hz) => source_hz,
        AudioCodec::Aac => AAC_RATES_HZ[0],
    }
}

#[cfg(test)]
mod tests {
    use shared::index::{AudioRun, ListRef};
    use shared::source::DecoderSetup;
    use shared::time::SegmentGrid;

    use super::*;
    use crate::plan::tasks::audio_task;

    fn stream(index: u32, language: &str) -> AudioStream {
        AudioStream {
            index,
            codec: "ac3".into(),
            setup: DecoderSetup(vec![]),
            timescale: Timescale::new(90_000).unwrap(),
            sample_rate_hz: 48_000,
            channels: 6,
            language: language.into(),
            title: String::new(),
            default: false,
        }
    }

    fn aac() -> AudioProfile {
        AudioProfile { codec: AudioCodec::Aac, bitrate_kbps: 128, channels: 2 }
    }

    #[test]
    fn every_language_is_a_rendition_of_its_own_name() {
        let streams = [
            stream(1, "eng"),
            AudioStream { title: "Commentary".into(), default: true, ..stream(2, "en") },
            stream(3, "ger"),
            stream(4, ""),
            stream(5, "pt_BR"),
            stream(6, "x y\"z"),
        ];
        let made = audio_renditions(&aac(), &streams);
        let names: Vec<_> = made.iter().map(|r| (r.name.as_str(), r.language.as_str(), r.title.as_str())).collect();
        let expected = [
            ("audio-en", "en", "English"),
            ("audio-en-2", "en", "Commentary"),
            ("audio-de", "de", "Deutsch"),
            ("audio-und", "und", "Audio"),
            ("audio-pt-br", "pt-BR", "Português"),
            ("audio-und-2", "und", "Audio 2"),
        ];
        assert_eq!(names, expected);
        assert_eq!(made.iter().map(|r| r.default).collect::<Vec<_>>(), [false, true, false, false, false, false]);
    }

    #[test]
    fn channels_and_rates_are_kept_where_players_can() {
        let of = |codec, hz, channels| {
            let made = audio_renditions(
                &AudioProfile { codec, ..aac() },
                &[AudioStream { sample_rate_hz: hz, channels, ..stream(0, "und") }],
            );
            (made[0].sample_rate_hz, made[0].channels, made[0].bitrate_bps / 1000)
        };
        assert_eq!(of(AudioCodec::Aac, 44_100, 2), (44_100, 2, 128));
        assert_eq!(of(AudioCodec::Aac, 48_000, 6), (48_000, 2, 128));
        assert_eq!(of(AudioCodec::Aac, 96_000, 1), (48_000, 1, 64));
        assert_eq!(of(AudioCodec::Aac, 37_800, 1), (48_000, 1, 64));
        assert_eq!(of(AudioCodec::Aac, 8_000, 2), (8_000, 2, 64));
        assert_eq!(of(AudioCodec::Opus, 44_100, 2), (48_000, 2, 128));
    }

    #[test]
    fn a_track_has_all_runs_and_as_many_segments_as_it_lasts() {
        let stream = stream(1, "eng");
        let rendition = &audio_renditions(&aac(), std::slice::from_ref(&stream))[0];
        let run =
            |part: u32, end: i64| AudioRun { start: 0, end, list: ListRef { stream: 1, part, offset: 0, len: 1 } };
        let grid = SegmentGrid::new(6000).unwrap();
        let count = |end| audio_task(&stream, rendition, &[run(0, 90_000), run(1, end)], grid).unwrap().segment_count;
        assert_eq!((count(12 * 90_000), count(13 * 90_000 - 90), count(13 * 90_000 - 9_000)), (2, 3, 2));
        assert_eq!(audio_task(&stream, rendition, &[], grid), None);
    }
}
