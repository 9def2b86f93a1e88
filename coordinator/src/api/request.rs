//! What a caller asks for, checked: everything that is wrong with it is told at once.

use std::collections::BTreeMap;

use prost::Message;
use proto::v1;
use sha2::{Digest, Sha256};
use shared::task::{JobId, Places, TenantId};
use shared::time::SegmentGrid;
use tonic::Status;
use uuid::{Builder, Uuid};

use super::answer;
use super::error::{self, Violations};
use super::places::PlacesConfig;
use super::profiles::Shelf;
use crate::job::{JobSpec, Submission, Terms, TermsChange};
use crate::profile::{Profile, check_preset};

/// Most labels of a job.
pub const MOST_LABELS: usize = 32;
/// Longest key of a label, in bytes.
pub const LONGEST_LABEL_KEY: usize = 63;
/// Longest value of a label, in bytes.
pub const LONGEST_LABEL_VALUE: usize = 256;
/// Longest request id, in characters.
pub const LONGEST_REQUEST_ID: usize = 128;
/// Highest priority; the lowest is its negative.
pub const HIGHEST_PRIORITY: i32 = 100;
const LONGEST_PRESET: usize = 32;
/// Most paths of a mask: there are three to name.
const MOST_PATHS: usize = 8;
const DEFAULT_SEGMENT_MS: u32 = 6_000;

/// What the service knows besides the request.
pub(super) struct Rules<'a> {
    pub places: &'a PlacesConfig,
    pub shelf: &'a Shelf,
    pub keep_parts_ms: u64,
}

impl Rules<'_> {
    /// The job that a request asks for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with everything that is wrong.
    pub(super) fn submission(&self, request: v1::CreateJobRequest, tenant: &TenantId) -> Result<Submission, Status> {
        let mut wrong = Violations::default();
        let v1::CreateJobRequest { request_id, spec } = request;
        let id = job_id(tenant, &request_id, &mut wrong);
        let asked = spec.unwrap_or_default();
        let (name, toml) = match &asked.profile {
            Some(v1::job_spec::Profile::ProfileName(name)) => (Some(name.as_str()), None),
            Some(v1::job_spec::Profile::ProfileToml(toml)) => (None, Some(toml.as_str())),
            None => (None, None),
        };
        let profile = self.shelf.resolve("spec.", name, toml, &mut wrong);
        let rungs = answer::rungs("spec.rungs", &asked.rungs, profile.as_ref(), &mut wrong);
        let preset = wrong.take("spec.preset", preset(&asked.preset, profile.as_ref()));
        let segment_ms = wrong.take("spec.segment", segment_ms(asked.segment.as_ref()));
        let source = wrong.take("spec.source", self.places.source(&asked.source, tenant));
        let target = wrong.take("spec.target", self.places.target(&asked.target, tenant, id.as_str()));
        let terms = Terms {
            priority: priority(asked.priority, &mut wrong),
            deadline_ms: deadline_ms(asked.deadline.as_ref(), &mut wrong),
            labels: labels(&asked.labels, &mut wrong),
        };
        wrong.check()?;
        let words = shared::hex::encode(&Sha256::digest(asked.encode_to_vec())[..16]);
        let work = self.places.work(&format!("{id}-{}", &words[..16]));
        let spec = || {
            Some(JobSpec {
                id,
                tenant: tenant.clone(),
                places: Places { source: source?, target: target?, work },
                profile: profile?,
                segment_ms: segment_ms?,
                rungs: rungs?,
                preset: preset?,
                movies: asked.mp4,
                growing_ms: None,
                keep_parts_ms: self.keep_parts_ms,
            })
        };
        let spec = spec().ok_or_else(|| error::internal("what was not complained of should be there"))?;
        Ok(Submission { spec, terms, words: Some(words), again: false })
    }
}

/// What an update asks for.
///
/// # Errors
/// `INVALID_ARGUMENT` with everything that is wrong.
pub(super) fn terms_change(request: &v1::UpdateJobRequest) -> Result<TermsChange, Status> {
    let mut wrong = Violations::default();
    let mut change = TermsChange::default();
    let nothing = v1::JobSpec::default();
    let asked = request.spec.as_ref().unwrap_or(&nothing);
    let paths = request.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        wrong.add("update_mask", "names nothing");
    }
    if paths.len() > MOST_PATHS {
        wrong.add("update_mask", format!("names {} paths, the most is {MOST_PATHS}", paths.len()));
    }
    for path in paths.iter().take(MOST_PATHS) {
        match path.as_str() {
            "priority" => change.priority = Some(priority(asked.priority, &mut wrong)),
            "deadline" => change.deadline_ms = Some(deadline_ms(asked.deadline.as_ref(), &mut wrong)),
            "labels" => change.labels = Some(labels(&asked.labels, &mut wrong)),
            _ => wrong.add("update_mask", format!("{path:?} is none of priority, deadline and labels")),
        }
    }
    wrong.check().map(|()| change)
}

/// The same for the same request id of the same tenant, else new.
fn job_id(tenant: &TenantId, request_id: &str, wrong: &mut Violations) -> JobId {
    let fits = request_id.len() <= LONGEST_REQUEST_ID && request_id.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        wrong.add("request_id", format!("is not up to {LONGEST_REQUEST_ID} printable ASCII characters"));
    }
    let uuid = if request_id.is_empty() {
        Uuid::now_v7()
    } else {
        let digest = Sha256::digest(format!("{tenant}/{request_id}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Builder::from_custom_bytes(bytes).into_uuid()
    };
    JobId::new(uuid.to_string()).expect("a UUID should be an id")
}

fn preset(text: &str, profile: Option<&Profile>) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > LONGEST_PRESET {
        return Err(format!("{} bytes long, the most is {LONGEST_PRESET}", text.len()));
    }
    let mut rungs = profile.iter().filter_map(|profile| profile.video.as_ref()).flat_map(|video| &video.rungs);
    rungs.try_for_each(|rung| check_preset(rung.codec, text)).map(|()| Some(text.to_owned()))
}

fn segment_ms(asked: Option<&prost_types::Duration>) -> Result<u32, String> {
    let Some(prost_types::Duration { seconds, nanos }) = asked else { return Ok(DEFAULT_SEGMENT_MS) };
    let (least, most) = (SegmentGrid::SHORTEST_MS, SegmentGrid::LONGEST_MS);
    let ms = (nanos % 1_000_000 == 0).then(|| seconds.checked_mul(1000)?.checked_add(i64::from(nanos / 1_000_000)));
    let ms = ms.flatten().and_then(|ms| u32::try_from(ms).ok()).filter(|ms| SegmentGrid::new(*ms).is_some());
    ms.ok_or_else(|| format!("is not {least} to {most} ms in whole milliseconds"))
}

fn priority(asked: i32, wrong: &mut Violations) -> i32 {
    if !(-HIGHEST_PRIORITY..=HIGHEST_PRIORITY).contains(&asked) {
        wrong.add("spec.priority", format!("{asked} is not within -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}"));
    }
    asked
}

fn deadline_ms(asked: Option<&prost_types::Timestamp>, wrong: &mut Violations) -> Option<u64> {
    let prost_types::Timestamp { seconds, nanos } = asked?;
    let ms = u64::try_from(*seconds).ok().and_then(|seconds| seconds.checked_mul(1000));
    let ms = ms.zip(u64::try_from(*nanos).ok()).and_then(|(ms, nanos)| ms.checked_add(nanos / 1_000_000));
    if ms.is_none() {
        wrong.add("spec.deadline", "is no time after 1970");
    }
    ms
}

fn labels(asked: &BTreeMap<String, String>, wrong: &mut Violations) -> BTreeMap<String, String> {
    if asked.len() > MOST_LABELS {
        wrong.add("spec.labels", format!("{} of them, the most is {MOST_LABELS}", asked.len()));
        return BTreeMap::new();
    }
    for (key, value) in asked {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_./".contains(&b);
        let first = key.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !first || key.len() > LONGEST_LABEL_KEY || !key.bytes().all(plain) {
            wrong.add(
                "spec.labels",
                format!("key {key:?} is not a letter and up to 62 more of a-z, 0-9, -, _, . and /"),
            );
        }
        if value.len() > LONGEST_LABEL_VALUE || value.chars().any(char::is_control) {
            wrong.add("spec.labels", format!("the value of {key:?} is not up to {LONGEST_LABEL_VALUE} plain bytes"));
        }
    }
    asked.clone()
}

/// An id from a request; one that can't be an id is not found, as any that is not known.
pub(super) fn known_id<T>(kind: &str, text: &str, id: impl FnOnce(String) -> Option<T>) -> Result<T, Status> {
    if text.is_empty() {
        return Err(error::invalid(&format!("{kind}_id"), "missing"));
    }
    id(text.to_owned()).ok_or_else(|| error::not_found(kind, text.get(..64).unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(request: v1::CreateJobRequest, tenant: &str) -> Result<Submission, Status> {
        let places = PlacesConfig {
            sources: vec!["file:/in".into()],
            targets: vec!["file:/out".into()],
            default_target: "file:/own".into(),
            work: "file:/work".into(),
        };
        let shelf = Shelf::open(None).unwrap();
        let rules = Rules { places: &places, shelf: &shelf, keep_parts_ms: 0 };
        rules.submission(request, &TenantId::new(tenant).unwrap())
    }

    fn request(request_id: &str, source: &str) -> v1::CreateJobRequest {
        let spec = v1::JobSpec { source: source.to_owned(), ..Default::default() };
        v1::CreateJobRequest { request_id: request_id.to_owned(), spec: Some(spec) }
    }

    #[test]
    fn a_request_id_makes_one_job_of_a_tenant() {
        let made = |id: &str, source: &str, tenant: &str| submission(request(id, source), tenant).unwrap().spec;
        let first = made("r1", "/in/a.mov", "red");
        assert_eq!(first, made("r1", "/in/a.mov", "red"));
        assert_ne!(first.id, made("r2", "/in/a.mov", "red").id);
        assert_ne!(first.id, made("r1", "/in/a.mov", "blue").id);
        assert_ne!(made("", "/in/a.mov", "red").id, made("", "/in/a.mov", "red").id);
        assert_eq!(first.places.target, format!("file:/own/{}", first.id));
        let mut labelled = request("r1", "/in/a.mov");
        labelled.spec.as_mut().unwrap().labels.insert("team".into(), "x".into());
        let labelled = submission(labelled, "red").unwrap().spec;
        assert_eq!(labelled.id, first.id);
        assert_ne!(labelled, first, "other words under the same id");
    }

    #[test]
    fn everything_wrong_with_a_job_is_told_at_once() {
        let spec = v1::JobSpec {
            source: "/etc/passwd".into(),
            target: "file:/out/../x".into(),
            profile: Some(v1::job_spec::Profile::ProfileName("nope".into())),
            segment: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
            rungs: "big".into(),
            preset: "x".repeat(33),
            mp4: false,
            priority: 101,
            deadline: Some(prost_types::Timestamp { seconds: -1, nanos: 0 }),
            labels: [("Bad Key".to_owned(), "\u{7}".to_owned())].into(),
        };
        let request = v1::CreateJobRequest { request_id: "a b".into(), spec: Some(spec) };
        let refused = submission(request, "red").unwrap_err();
        let fields = tonic_types::StatusExt::get_details_bad_request(&refused).unwrap().field_violations;
        let fields: Vec<_> = fields.iter().map(|violation| violation.field.as_str()).collect();
        let expected = ["request_id", "spec.profile_name", "spec.rungs", "spec.preset", "spec.segment", "spec.source"];
        assert_eq!(fields[..6], expected);
        assert_eq!(fields[6..], ["spec.target", "spec.priority", "spec.deadline", "spec.labels", "spec.labels"]);
        let empty = submission(v1::CreateJobRequest::default(), "red").unwrap_err();
        assert!(empty.message().contains("spec.source: empty"), "{empty}");
    }

    #[test]
    fn an_update_changes_what_its_mask_names() {
        let spec = v1::JobSpec { priority: 7, labels: [("a".to_owned(), "b".to_owned())].into(), ..Default::default() };
        let ask = |paths: &[&str]| {
            let paths = paths.iter().map(ToString::to_string).collect();
            let update_mask = Some(prost_types::FieldMask { paths });
            let request = v1::UpdateJobRequest { job_id: "j".into(), spec: Some(spec.clone()), update_mask };
            let mut terms = Terms { priority: 1, deadline_ms: Some(2), ..Terms::default() };
            terms_change(&request).map(|change| (terms.change(change), terms).1)
        };
        let terms = ask(&["priority"]).unwrap();
        assert_eq!((terms.priority, terms.deadline_ms, terms.labels.len()), (7, Some(2), 0));
        let terms = ask(&["labels", "deadline"]).unwrap();
        assert_eq!((terms.priority, terms.deadline_ms, terms.labels.len()), (1, None, 1));
        assert!(ask(&[]).is_err());
        assert!(ask(&["source"]).is_err());
    }
}
