//! How calls are refused: google.rpc.Status with details, each with a reason that never changes.
//!
//! | code | when |
//! |---|---|
//! | `INVALID_ARGUMENT` | the request makes no sense: all violations at once |
//! | `UNAUTHENTICATED`, `PERMISSION_DENIED` | no key that is known; a key without the scope |
//! | `NOT_FOUND` | there is no such thing, or it is another tenant's |
//! | `ALREADY_EXISTS` | the request id was used for another request |
//! | `FAILED_PRECONDITION` | not as the thing stands now |
//! | `RESOURCE_EXHAUSTED` | a limit is reached: again later |
//! | `DEADLINE_EXCEEDED` | the time for the call is over |
//! | `UNAVAILABLE` | nobody decides at the moment: the same call again |

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::archive::ArchiveError;

/// The domain of every reason.
pub const DOMAIN: &str = "farm";
/// After how long a call that found nobody in charge is worth repeating.
pub const RETRY_SOON: Duration = Duration::from_secs(1);

/// Longest text of an answer, in bytes. It stands in a header, and in the details once more.
const LONGEST_TEXT: usize = 512;
/// Longest text about one field, in bytes: much of it may be the caller's own.
const LONGEST_VIOLATION: usize = 300;
/// Bytes of all violations together. They stand in a header, of which many clients take 8 KiB at most.
const MOST_VIOLATIONS: usize = 2_048;

/// Everything that is wrong with a request; the first of it, if that is too much for an answer.
#[derive(Debug, Default)]
pub struct Violations {
    told: Vec<FieldViolation>,
    bytes: usize,
    untold: usize,
}

impl Violations {
    /// Notes what is wrong with a field.
    pub fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        let (field, description) = (field.into(), cut(text.into(), LONGEST_VIOLATION));
        self.bytes += field.len() + description.len();
        if self.bytes > MOST_VIOLATIONS {
            self.untold += 1;
        } else {
            self.told.push(FieldViolation { field, description, reason: String::new(), localized_message: None });
        }
    }

    /// Notes the complaint, if there is one.
    pub fn take<T>(&mut self, field: &str, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|complaint| self.add(field, complaint)).ok()
    }

    /// Refuses the request if anything is wrong with it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with all of them.
    pub fn check(self) -> Result<(), Status> {
        let Self { mut told, untold, .. } = self;
        if told.is_empty() && untold == 0 {
            return Ok(());
        }
        if untold > 0 {
            let description = format!("… and {untold} more");
            told.push(FieldViolation { description, ..FieldViolation::default() });
        }
        let text: Vec<String> = told.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.description)).collect();
        let mut details = reason("INVALID_REQUEST");
        details.set_bad_request(told);
        Err(status(Code::InvalidArgument, text.join("; "), details))
    }
}

/// Texts that a caller can make long are cut.
fn status(code: Code, text: impl Into<String>, details: ErrorDetails) -> Status {
    Status::with_error_details(code, cut(text.into(), LONGEST_TEXT), details)
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// Refuses a request for one field.
pub fn invalid(field: &str, text: impl Into<String>) -> Status {
    let mut violations = Violations::default();
    violations.add(field, text);
    violations.check().expect_err("a violation was just added")
}

/// There is no such thing, or none that the caller may know of.
pub fn not_found(kind: &str, name: &str) -> Status {
    let mut details = reason(&format!("{}_NOT_FOUND", kind.to_uppercase()));
    let name = cut(name.to_owned(), LONGEST_VIOLATION);
    details.set_resource_info(kind, name.as_str(), "", "");
    status(Code::NotFound, format!("there is no {kind} {name:?}"), details)
}

/// The request id has been used for another request.
pub fn taken(job: &str) -> Status {
    let mut details = reason("REQUEST_ID_REUSED");
    details.set_resource_info("job", job, "", "asked for in other words");
    let text = format!("this request_id was used for job {job}, which was asked for in other words");
    status(Code::AlreadyExists, text, details)
}

/// Another job's presentation is, or will be, where this one should go.
pub fn target_held(by: Option<&str>) -> Status {
    let (mut details, whose) =
        (reason("TARGET_IN_USE"), by.map_or("another job's".to_owned(), |job| format!("job {job}'s")));
    if let Some(job) = by {
        details.set_resource_info("job", job, "", "its presentation is at the target");
    }
    let text = format!("the target is {whose}: name another target, or delete that job first");
    status(Code::FailedPrecondition, text, details)
}

/// Not as things stand.
pub fn precondition(code: &str, text: impl Into<String>) -> Status {
    status(Code::FailedPrecondition, text, reason(code))
}

/// A limit is reached.
pub fn exhausted(code: &str, text: impl Into<String>) -> Status {
    status(Code::ResourceExhausted, text, retry(code))
}

/// Nobody can answer now.
pub fn unavailable(code: &str, text: impl Into<String>) -> Status {
    status(Code::Unavailable, text, retry(code))
}

/// A job that ended long ago can't be looked up at the moment.
pub fn unreadable(why: &ArchiveError) -> Status {
    tracing::warn!(%why, "a job that was put away can't be read");
    unavailable("ARCHIVE_UNREADABLE", "jobs that ended long ago can't be looked up at the moment")
}

/// The one who decided has ended meanwhile.
pub fn closed() -> Status {
    unavailable("NO_LEADER", "the coordinator has ended")
}

/// Nobody that is known.
pub fn unauthenticated(text: &str) -> Status {
    status(Code::Unauthenticated, text, reason("NO_VALID_KEY"))
}

/// Somebody who may not.
pub fn forbidden(scope: &str) -> Status {
    let text = format!("this key has no scope {scope:?}");
    status(Code::PermissionDenied, text, reason("SCOPE_MISSING"))
}

/// The time is over.
pub fn too_late() -> Status {
    status(Code::DeadlineExceeded, "the call's deadline is over", reason("DEADLINE_EXCEEDED"))
}

/// Ours.
pub fn internal(text: impl Into<String>) -> Status {
    status(Code::Internal, text, reason("INTERNAL"))
}

fn reason(code: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(code, DOMAIN, HashMap::new())
}

fn retry(code: &str) -> ErrorDetails {
    let mut details = reason(code);
    details.set_retry_info(Some(RETRY_SOON));
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_wrong_the_answer_fits_into_headers() {
        let mut wrong = Violations::default();
        (0..300_000).for_each(|_| wrong.add("update_mask", "ü".repeat(400)));
        let status = wrong.check().unwrap_err();
        assert!(status.message().len() + status.details().len() * 4 / 3 < 6 << 10, "{}", status.details().len());
        let told = status.get_details_bad_request().unwrap().field_violations;
        let last = &told.last().unwrap().description;
        assert_eq!(*last, format!("… and {} more", 300_000 - (told.len() - 1)));
        let unknown = not_found("profile", &"x".repeat(1 << 20));
        assert!(unknown.message().len() + unknown.details().len() < 2 << 10);
    }
}
