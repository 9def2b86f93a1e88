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

/// Everything that is wrong with a request.
#[derive(Debug, Default)]
pub struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Notes what is wrong with a field.
    pub fn add(&mut self, field: impl Into<String>, text: impl Into<String>) {
        self.0.push(FieldViolation {
            field: field.into(),
            description: text.into(),
            reason: String::new(),
            localized_message: None,
        });
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
        if self.0.is_empty() {
            return Ok(());
        }
        let text: Vec<String> = self.0.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.description)).collect();
        let mut details = reason("INVALID_REQUEST");
        details.set_bad_request(self.0);
        Err(Status::with_error_details(Code::InvalidArgument, text.join("; "), details))
    }
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
    details.set_resource_info(kind, name, "", "");
    Status::with_error_details(Code::NotFound, format!("there is no {kind} {name:?}"), details)
}

/// The request id has been used for another request.
pub fn taken(job: &str) -> Status {
    let mut details = reason("REQUEST_ID_REUSED");
    details.set_resource_info("job", job, "", "asked for in other words");
    let text = format!("this request_id was used for job {job}, which was asked for in other words");
    Status::with_error_details(Code::AlreadyExists, text, details)
}

/// Another job's presentation is, or will be, where this one should go.
pub fn target_held(by: Option<&str>) -> Status {
    let (mut details, whose) =
        (reason("TARGET_IN_USE"), by.map_or("another job's".to_owned(), |job| format!("job {job}'s")));
    if let Some(job) = by {
        details.set_resource_info("job", job, "", "its presentation is at the target");
    }
    let text = format!("the target is {whose}: name another target, or delete that job first");
    Status::with_error_details(Code::FailedPrecondition, text, details)
}

/// Not as things stand.
pub fn precondition(code: &str, text: impl Into<String>) -> Status {
    Status::with_error_details(Code::FailedPrecondition, text, reason(code))
}

/// A limit is reached.
pub fn exhausted(code: &str, text: impl Into<String>) -> Status {
    Status::with_error_details(Code::ResourceExhausted, text, retry(code))
}

/// Nobody can answer now.
pub fn unavailable(code: &str, text: impl Into<String>) -> Status {
    Status::with_error_details(Code::Unavailable, text, retry(code))
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
    Status::with_error_details(Code::Unauthenticated, text, reason("NO_VALID_KEY"))
}

/// Somebody who may not.
pub fn forbidden(scope: &str) -> Status {
    let text = format!("this key has no scope {scope:?}");
    Status::with_error_details(Code::PermissionDenied, text, reason("SCOPE_MISSING"))
}

/// The time is over.
pub fn too_late() -> Status {
    Status::with_error_details(Code::DeadlineExceeded, "the call's deadline is over", reason("DEADLINE_EXCEEDED"))
}

/// Ours.
pub fn internal(text: impl Into<String>) -> Status {
    Status::with_error_details(Code::Internal, text, reason("INTERNAL"))
}

fn reason(code: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(code, DOMAIN, HashMap::new())
}

fn retry(code: &str) -> ErrorDetails {
    let mut details = reason(code);
    details.set_retry_info(Some(RETRY_SOON));
    details
}
