//! Attempts, counted as they end: the same family for the coordinator, which hears of all, and for a worker, which hears
//! of its own.

use prometheus::{Counter, CounterVec, HistogramVec, IntCounter, IntCounterVec};

use super::renditions::RenditionMetrics;
use super::{Declare, each, pairs, seconds};
use crate::error::ErrorKind;
use crate::placement::{Hardware, Placement};
use crate::task::{Outcome, Receipt, Spent, Stages, TaskName, TaskReport, TrackPart, VideoReceipt};

/// Seconds an attempt may take: from a short chunk to the index of a long film.
const SECONDS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 180.0, 600.0, 3600.0];
/// Codes of failures in which a child process died or had to be killed, and what that is called.
const CHILD_DEATHS: [(&str, &str); 8] = [
    ("slot_crashed", "crashed"),
    ("slot_killed", "killed"),
    ("slot_memory", "memory"),
    ("slot_cpu_limit", "cpu_limit"),
    ("slot_stalled", "stalled"),
    ("slot_timeout", "timeout"),
    ("slot_protocol", "protocol"),
    ("panic", "panic"),
];

/// How attempts end.
const OUTCOMES: [&str; 7] = ["done", "input", "unsupported", "transient", "exhausted", "cancelled", "bug"];
/// Where a GPU may be left out.
const STAGES: [&str; 4] = ["decode", "scale", "encode", "slot"];

/// What is counted of attempts.
#[derive(Debug, Clone)]
pub struct AttemptMetrics {
    ended: IntCounterVec,
    seconds: HistogramVec,
    cpu_seconds: CounterVec,
    encoded_seconds: Counter,
    child_deaths: IntCounterVec,
    stage_seconds: CounterVec,
    source_bytes: IntCounter,
    output_bytes: IntCounter,
    chunks: IntCounterVec,
    gpu_fallbacks: IntCounterVec,
    gpu_bytes: IntCounterVec,
    gpu_frames: IntCounter,
    gpu_seconds: Counter,
    renditions: RenditionMetrics,
}

impl AttemptMetrics {
    /// Metrics of a program that hears of attempts.
    pub fn new(new: Declare<'_>) -> Self {
        let ended = "Attempts that have ended, by kind of task and by how they ended.";
        let seconds = "Elapsed time of attempts that ended well, by kind of task.";
        let cpu = "CPU time of attempts that ended well, by kind of task.";
        let encoded = "Presentation time of encoded chunks: divided by farm time it is the speed, in times real time.";
        let deaths = "Attempts whose child process died or was killed, by cause.";
        let stages = "What attempts that ended well spent their time on; stages overlap, threads count each.";
        let chunks = "Chunks made, by what decoded, scaled and encoded them in the end.";
        let fallbacks = "Stages of chunks that were to run on a GPU and did not; `slot`: the child process died there.";
        let moved = "Bytes of pictures that went up to GPUs and came down from them, of chunks that ended well.";
        let gpu = "Elapsed time of attempts in which a GPU had a part.";
        let tasks = each(TaskName::KINDS);
        let ends = pairs(&TaskName::KINDS, &OUTCOMES);
        let causes = each(CHILD_DEATHS.map(|(_, cause)| cause));
        let all_stages = each(Stages::default().named().map(|(stage, _)| stage));
        let software = [[Placement::SOFTWARE.as_str()]];
        Self {
            ended: new.counters("attempts_total", ended, ["task", "outcome"], &ends),
            seconds: new.histograms("attempt_seconds", seconds, &SECONDS, ["task"], &tasks),
            cpu_seconds: new.counters("attempt_cpu_seconds_total", cpu, ["task"], &tasks),
            encoded_seconds: new.counter("encoded_seconds_total", encoded),
            child_deaths: new.counters("child_deaths_total", deaths, ["cause"], &causes),
            stage_seconds: new.counters("stage_seconds_total", stages, ["stage"], &all_stages),
            source_bytes: new.counter("source_bytes_total", "Bytes of sources that were indexed to their end."),
            output_bytes: new.counter("output_bytes_total", "Bytes of segments in attempts that ended well."),
            chunks: new.counters("chunks_total", chunks, ["placement"], &software),
            gpu_fallbacks: new.counters("gpu_fallbacks_total", fallbacks, ["stage"], &each(STAGES)),
            gpu_bytes: new.counters("gpu_bytes_total", moved, ["direction"], &each(["up", "down"])),
            gpu_frames: new.counter("gpu_frames_total", "Frames of chunks in which a GPU had a part."),
            gpu_seconds: new.counter("gpu_seconds_total", gpu),
            renditions: RenditionMetrics::new(new),
        }
    }

    /// A worker has said something of an attempt; only ends count.
    pub fn reported(&self, report: &TaskReport) {
        let task = report.task.name.kind();
        let outcome = match &report.outcome {
            Outcome::Done(receipt) => {
                let Spent { wall_ms, cpu_ms, stages } = receipt.spent();
                self.seconds.with_label_values(&[task]).observe(seconds(wall_ms));
                self.cpu_seconds.with_label_values(&[task]).inc_by(seconds(cpu_ms));
                for (stage, ms) in stages.named() {
                    self.stage_seconds.with_label_values(&[stage]).inc_by(seconds(ms));
                }
                if let Receipt::Index(index) = receipt {
                    self.source_bytes.inc_by(index.bytes);
                }
                if let Receipt::Video(video) = receipt {
                    self.made(video);
                }
                for part in receipt.parts() {
                    self.renditions.made(part);
                    self.output_bytes.inc_by(part.bytes());
                }
                "done"
            }
            Outcome::Failed(error) => {
                if let Some((_, cause)) = CHILD_DEATHS.iter().find(|(code, _)| *code == error.code) {
                    self.child_deaths.with_label_values(&[cause]).inc();
                }
                kind(error.kind)
            }
            Outcome::Started | Outcome::Progress(_) | Outcome::Index(_) => return,
        };
        self.ended.with_label_values(&[task, outcome]).inc();
    }

    /// A chunk: how much of it, and on what.
    fn made(&self, video: &VideoReceipt) {
        let Hardware { placement, gpu, fallbacks, uploaded_bytes, downloaded_bytes } = &video.hardware;
        self.encoded_seconds.inc_by(seconds(video.parts.first().map_or(0, TrackPart::duration_ms)));
        self.chunks.with_label_values(&[placement.as_str()]).inc();
        for fallback in fallbacks {
            self.gpu_fallbacks.with_label_values(&[fallback.stage.as_str()]).inc();
        }
        if !gpu.is_empty() {
            self.gpu_bytes.with_label_values(&["up"]).inc_by(*uploaded_bytes);
            self.gpu_bytes.with_label_values(&["down"]).inc_by(*downloaded_bytes);
            self.gpu_frames.inc_by(video.frames);
            self.gpu_seconds.inc_by(seconds(video.spent.wall_ms));
        }
    }
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Input => "input",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Transient => "transient",
        ErrorKind::Exhausted => "exhausted",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Bug => "bug",
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::cmaf::DecoderConfig;
    use crate::error::TaskError;
    use crate::family::Family;
    use crate::placement::{DecodeBy, Fallback, Placement, ScaleBy, Stage};
    use crate::task::{AttemptId, JobId, Making, SegmentInfo, StoredObject, StoryboardReceipt, TaskId, WorkerId};
    use crate::time::Timescale;

    /// A segment of four seconds, of which a picture was looked at.
    fn part() -> TrackPart {
        let object = StoredObject::of("1080p/000000", b"encoded");
        TrackPart {
            rendition: "1080p".into(),
            timescale: Timescale::MILLIS,
            config: DecoderConfig::Avc(vec![]),
            segments: vec![SegmentInfo {
                number: 0,
                start: 0,
                duration: 4000,
                samples: 96,
                first_sample_end: 1,
                object,
            }],
            encoder: "libx264".into(),
            family: Family::Software,
            making: Making { encode_ms: 500, width_px: 1920, height_px: 800, psnr_mdb: Some(39_500) },
        }
    }

    /// Made with a GPU's decoder, as its encoder was taken.
    fn chunk() -> VideoReceipt {
        let placement = Placement { decode: DecodeBy::Nvdec, scale: ScaleBy::Cuda, ..Placement::SOFTWARE };
        VideoReceipt {
            parts: vec![part()],
            frames_expected: 24,
            frames: 24,
            first_pts: Some(0),
            last_pts: Some(23),
            decode_errors: 0,
            tiles: vec![],
            poster: None,
            spent: Spent::new(4_000, 0),
            hardware: Hardware {
                placement,
                gpu: "GPU-1".into(),
                fallbacks: vec![Fallback::new(Stage::Encode, "busy")],
                uploaded_bytes: 0,
                downloaded_bytes: 4000,
            },
        }
    }

    #[test]
    fn ends_are_counted_by_how_they_were() {
        let registry = Registry::new();
        let metrics = AttemptMetrics::new(Declare::new(&registry, "farm_test"));
        let report = |outcome| TaskReport {
            task: TaskId {
                job: JobId::new("j").unwrap(),
                name: match outcome {
                    Outcome::Done(Receipt::Video(_)) => TaskName::Video(0),
                    _ => TaskName::Storyboard,
                },
            },
            attempt: AttemptId(1),
            worker: WorkerId::new("w").unwrap(),
            outcome,
        };
        let stages = Stages { upload_ms: 250, ..Stages::default() };
        let spent = Spent { wall_ms: 1500, cpu_ms: 2000, stages };
        metrics.reported(&report(Outcome::Started));
        metrics.reported(&report(Outcome::Done(Receipt::Storyboard(StoryboardReceipt { sheets: vec![], spent }))));
        metrics.reported(&report(Outcome::Done(Receipt::Video(chunk()))));
        metrics.reported(&report(Outcome::Failed(TaskError::new(ErrorKind::Bug, "slot_crashed", "signal 11"))));
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "farm_test_attempts_total{outcome=\"done\",task=\"storyboard\"} 1",
            "farm_test_attempts_total{outcome=\"bug\",task=\"storyboard\"} 1",
            "farm_test_attempt_seconds_sum{task=\"storyboard\"} 1.5",
            "farm_test_attempt_cpu_seconds_total{task=\"storyboard\"} 2",
            "farm_test_child_deaths_total{cause=\"crashed\"} 1",
            "farm_test_stage_seconds_total{stage=\"upload\"} 0.25",
            "farm_test_chunks_total{placement=\"nvdec+cuda+software\"} 1",
            "farm_test_gpu_fallbacks_total{stage=\"encode\"} 1",
            "farm_test_gpu_bytes_total{direction=\"down\"} 4000",
            "farm_test_gpu_frames_total 24",
            "farm_test_gpu_seconds_total 4",
            "farm_test_child_deaths_total{cause=\"memory\"} 0",
            "farm_test_output_bytes_total 7",
            "farm_test_rendition_seconds_total{encoder=\"x264\",rung=\"1080p\"} 4",
            "farm_test_rendition_encode_seconds_total{encoder=\"x264\",rung=\"1080p\"} 0.5",
            "farm_test_rendition_bytes_total{encoder=\"x264\",rung=\"1080p\"} 7",
            "farm_test_quality_psnr_db_bucket{encoder=\"x264\",rung=\"1080p\",le=\"40\"} 1",
            "farm_test_quality_psnr_db_bucket{encoder=\"x264\",rung=\"1080p\",le=\"38\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
