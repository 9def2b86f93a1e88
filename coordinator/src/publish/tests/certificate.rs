use shared::placement::Hardware;
use shared::source::{Finding, Verdict};
use shared::task::{JobId, Spent, TaskName, WorkerId};

use super::super::{Certificate, RunReport, TaskRun};
use super::*;
use crate::stitch::fixture::{index_receipt, source};

fn certificate(job: &Job) -> Certificate {
    let index = index_receipt();
    Certificate::new(&source(), &index, &job.presentation(), &job.chunks(), &job.sound()).unwrap()
}

#[test]
fn the_certificate_accounts_for_every_frame_and_byte() {
    let job = Job::new(5, 2);
    let certificate = certificate(&job);
    assert_eq!(certificate.duration_ms, 30_030);
    assert_eq!(certificate.chunks.len(), 3);
    assert_eq!(certificate.chunks.iter().map(|chunk| chunk.frames).sum::<u64>(), 900);
    assert!(certificate.video.iter().all(|video| video.frames == 900));
    for (position, video) in certificate.video.iter().enumerate() {
        let parts = || certificate.chunks.iter().map(|chunk| &chunk.renditions[position]);
        assert!(parts().all(|part| part.rendition == video.rendition.name));
        assert_eq!(parts().map(|part| part.bytes).sum::<u64>(), video.track.bytes);
        assert_eq!(parts().map(|part| part.segments.len()).sum::<usize>(), 5);
        assert_eq!((video.track.start, video.track.end), (0, 900_900));
        assert_eq!(video.track.encoders, ["libx264 164"]);
    }
    let audio = &certificate.audio[0];
    assert_eq!((audio.priming, audio.start, audio.samples, audio.track.end), (1024, 0, 1_441_440, 1_441_440));
    assert_eq!(certificate.playlists.len(), 2 + 4 * 2 + 1);
}

#[test]
fn the_certificate_is_the_same_whoever_did_the_work() {
    let (one, mut other) = (Job::new(5, 2), Job::new(5, 2));
    other.video[1].1.spent = Spent::new(5, 7);
    other.audio[0].1.spent = Spent::new(9, 9);
    assert_eq!(certificate(&one).to_json(), certificate(&other).to_json());
}

#[test]
fn encoder_families_are_named_where_there_is_another_than_software() {
    let mixed = certificate(&Job::new(5, 2).made_by_others(1));
    let json: serde_json::Value = serde_json::from_slice(&mixed.to_json()).unwrap();
    assert_eq!(json["video"][0]["track"]["families"], serde_json::json!(["software", "stand-in"]));
    assert_eq!(json["video"][0]["track"]["encoders"], serde_json::json!(["libx264 164", "other"]));
    assert_eq!(json["chunks"][1]["renditions"][0]["family"], "stand-in");
    for plain in [&json["video"][1]["track"], &json["chunks"][0]["renditions"][0], &json["chunks"][1]["renditions"][1]]
    {
        assert!(plain.get("families").is_none() && plain.get("family").is_none(), "{plain}");
    }
    assert_eq!(serde_json::from_value::<Certificate>(json).unwrap(), mixed);
}

#[test]
fn another_recipe_has_another_digest() {
    let job = Job::new(5, 2);
    let digest = certificate(&job).recipe;
    assert_eq!(digest.len(), 64);
    assert_ne!(digest, certificate(&Job::new(5, 3)).recipe);
    let mut crf = Job::new(5, 2);
    crf.video[0].0.renditions[0].rate.crf = 22.0;
    assert_ne!(digest, certificate(&crf).recipe);
}

#[test]
fn the_certificate_says_what_was_done_about_an_odd_source() {
    let job = Job::new(2, 2);
    let mut index = index_receipt();
    index.verdict = Verdict::NonStandard;
    index.findings =
        vec![Finding { code: "gap".into(), text: "2 s at 00:07".into(), handling: "the picture is held".into() }];
    let certificate = Certificate::new(&source(), &index, &job.presentation(), &job.chunks(), &job.sound()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&certificate.to_json()).unwrap();
    assert_eq!(json["source"]["verdict"], "NON_STANDARD");
    assert_eq!(json["source"]["findings"][0]["handling"], "the picture is held");
    assert_eq!(json["source"]["video"]["codec"], "h264");
    assert!(json["source"]["video"].get("setup").is_none());
}

#[tokio::test]
async fn certificate_and_run_report_can_be_read_again() {
    let (_folder, storage) = target();
    let job = Job::new(2, 1);
    let certificate = certificate(&job);
    Publisher::new(storage.clone()).publish(&job.presentation(), Some(&certificate)).await.unwrap();
    let read: Certificate = serde_json::from_slice(&storage.get("presentation.json").await.unwrap()).unwrap();
    assert_eq!(read, certificate);

    let report = RunReport {
        job: JobId::new("job").unwrap(),
        started_unix_ms: 1_700_000_000_000,
        wall_ms: 4000,
        duration_ms: 12_012,
        tasks: vec![TaskRun {
            name: TaskName::Video(1),
            attempts: 2,
            worker: WorkerId::new("w1").unwrap(),
            spent: Spent::new(900, 3000),
            hardware: Some(Hardware { gpu: "GPU-1".into(), ..Hardware::default() }),
        }],
    };
    report.write(&storage).await.unwrap();
    let read: RunReport = serde_json::from_slice(&storage.get("run.json").await.unwrap()).unwrap();
    assert_eq!(read, report);
}
