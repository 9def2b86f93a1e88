//! What FFmpeg here can do, asked by doing it: a clip that comes with the program is transcoded, in slots as in earnest.

use std::num::NonZeroUsize;
use std::path::Path;

use coordinator::job::{JobSpec, JobState, JobView};
use coordinator::ladder::Rungs;
use coordinator::profile::Profile;
use coordinator::run::SubmitError;
use shared::task::{JobId, Places, TenantId};
use shared::time::SegmentGrid;

use super::{Finding, Grade};
use crate::engine::Engine;
use crate::exit::Failure;
use crate::order::uri;

/// Nine seconds of H.264 and AAC with an edit list, 92 KB.
const CLIP: &[u8] = include_bytes!("../../tests/media/edit_list.mp4");

/// What is tried: name, what of it is needed, the profile.
const TRIALS: [(&str, Grade, &str); 5] = [
    ("encode H.264", Grade::Bad, "[video]\ncodec = \"h264\"\ncrf = 30.0\npreset = \"ultrafast\"\n"),
    ("encode HEVC", Grade::Warn, "[video]\ncodec = \"hevc\"\ncrf = 30.0\npreset = \"ultrafast\"\n"),
    ("encode AV1", Grade::Warn, "[video]\ncodec = \"av1\"\ncrf = 50.0\npreset = \"12\"\n"),
    ("encode AAC", Grade::Bad, "[audio]\ncodec = \"aac\"\nbitrate_kbps = 64\nchannels = 2\n"),
    ("encode Opus", Grade::Warn, "[audio]\ncodec = \"opus\"\nbitrate_kbps = 64\nchannels = 2\n"),
];
const RUNG: &str = "rungs = [{ name = \"small\", width_px = 160, height_px = 120, bitrate_kbps = 200 }]\n";
const ADVICE: &str =
    "install an FFmpeg built with it; Debian's libavcodec, libavfilter and their -extra packages have all";

pub(super) async fn look(scratch: &Path) -> Vec<Finding> {
    match try_all(scratch).await {
        Ok(findings) => findings,
        Err(failure) => vec![Finding::new("codecs", Grade::Bad, failure.to_string(), "see the message")],
    }
}

async fn try_all(scratch: &Path) -> Result<Vec<Finding>, Failure> {
    let failed = |error: std::io::Error| Failure::storage("scratch", format!("{}: {error}", scratch.display()));
    let folder = tempfile::Builder::new().prefix("farm-doctor-").tempdir_in(scratch).map_err(failed)?;
    let source = folder.path().join("clip.mp4");
    std::fs::write(&source, CLIP).map_err(failed)?;
    let engine = Engine::start(folder.path(), Some(NonZeroUsize::MIN))?;
    let mut findings = Vec::new();
    for (number, (what, needed, text)) in TRIALS.into_iter().enumerate() {
        let rungs = if text.starts_with("[video]") { RUNG } else { "" };
        let profile = Profile::from_toml(&format!("name = \"trial\"\nposter = false\n{text}{rungs}"));
        let profile = profile.map_err(|complaints| Failure::internal(complaints.join("; ")))?;
        let spec = spec(number, profile, &source, folder.path())?;
        let view = carry_out(&engine, spec).await?;
        findings.push(judge(what, needed, &view));
    }
    engine.stop().await?;
    Ok(findings)
}

fn spec(number: usize, profile: Profile, source: &Path, folder: &Path) -> Result<JobSpec, Failure> {
    let id = format!("trial-{number}");
    let below = |name: &str| uri(&folder.join(name).join(&id));
    Ok(JobSpec {
        id: JobId::new(id.as_str()).ok_or_else(|| Failure::internal("a trial should have an id"))?,
        tenant: TenantId::default(),
        places: Places { source: uri(source), target: below("out"), work: below("work") },
        profile,
        segment_ms: SegmentGrid::SHORTEST_MS,
        rungs: Rungs::All,
        preset: None,
        movies: false,
        growing_ms: None,
        keep_parts_ms: 0,
    })
}

async fn carry_out(engine: &Engine, spec: JobSpec) -> Result<JobView, Failure> {
    let failed = |error: SubmitError| Failure::internal(error.to_string());
    let mut views = engine.handle().submit(spec).await.map_err(failed)?;
    let ended = views.wait_for(|view| view.settled).await;
    Ok(ended.map_err(|_| Failure::internal("the coordinator ended before its job"))?.clone())
}

fn judge(what: &str, needed: Grade, view: &JobView) -> Finding {
    match view.problems.iter().rfind(|problem| problem.fatal) {
        None if view.state == JobState::Completed => {
            let name = view.renditions.first().map_or("", |rendition| rendition.name.as_str());
            let text = if name == "small" { "decodes, scales, encodes" } else { "decodes, resamples, encodes" };
            Finding::new(what, Grade::Ok, text, "")
        }
        Some(problem) => Finding::new(what, needed, format!("{} ({})", problem.text, problem.code), ADVICE),
        None => Finding::new(what, needed, view.state.to_string(), ADVICE),
    }
}
