//! What went wrong with a store, by what can be done about it.

use std::io;

use crate::error::{ErrorKind, TaskError};

/// An object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Not a URI of a store.
    #[error("{uri:?} is not a place this farm can read or write: {why}")]
    Uri {
        /// As it was given.
        uri: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store can't be opened with these settings, or not by this build.
    #[error("{place}: {why}{}", advised(Fault::Config))]
    Config {
        /// Which bucket.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The store said no.
    #[error("{key}: {source}{}", advised(fault(source)))]
    Store {
        /// Which object.
        key: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// An object ends before what was asked for.
    #[error("{key}: ends before {len} bytes from {offset}")]
    Short {
        /// Which object.
        key: String,
        /// Where reading began.
        offset: u64,
        /// What was asked for.
        len: u64,
    },
}

/// What is wrong, by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no such object.
    Missing,
    /// There is no such bucket.
    NoBucket,
    /// The store does not know who asks.
    Credentials,
    /// The store knows, and does not allow it.
    Denied,
    /// Disk or quota is full.
    Full,
    /// Settings or URI are wrong, or this build can't speak to such a store.
    Config,
    /// Network, time-out, or a store in trouble: may go away by itself.
    Transient,
}

impl Fault {
    /// Everything that may be wrong.
    pub const ALL: [Self; 7] =
        [Self::Missing, Self::NoBucket, Self::Credentials, Self::Denied, Self::Full, Self::Config, Self::Transient];

    /// As it stands in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NoBucket => "no_bucket",
            Self::Credentials => "credentials",
            Self::Denied => "denied",
            Self::Full => "full",
            Self::Config => "config",
            Self::Transient => "unavailable",
        }
    }

    /// Stable, `snake_case`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "store_missing",
            Self::NoBucket => "store_no_bucket",
            Self::Credentials => "store_credentials",
            Self::Denied => "store_denied",
            Self::Full => "store_full",
            Self::Config => "store_config",
            Self::Transient => "store_failed",
        }
    }

    /// What a person can do; empty where there is nothing to do but to wait.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Missing => "check the key",
            Self::NoBucket => "make the bucket, or check its name and the endpoint",
            Self::Credentials => "check the credentials in the environment of the program, and its clock",
            Self::Denied => "allow these credentials to read, write, list and delete there",
            Self::Full => "free space there",
            Self::Config => "check URI, region and endpoint",
            Self::Transient => "",
        }
    }

    /// How a task fails of it.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::Full => ErrorKind::Exhausted,
            Self::NoBucket | Self::Credentials | Self::Denied | Self::Config => ErrorKind::Unsupported,
            Self::Missing | Self::Transient => ErrorKind::Transient,
        }
    }
}

impl StorageError {
    /// For `map_err`.
    pub(super) fn of(key: &str) -> impl FnOnce(object_store::Error) -> Self {
        move |source| Self::Store { key: key.to_owned(), source }
    }

    /// What can be done about it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Uri { .. } | Self::Config { .. } => Fault::Config,
            Self::Short { .. } => Fault::Transient,
            Self::Store { source, .. } => fault(source),
        }
    }
}

/// Fails a task with what the store said and what a person can do about it.
impl From<StorageError> for TaskError {
    fn from(error: StorageError) -> Self {
        Self::new(error.fault().kind(), error.fault().code(), error.to_string())
    }
}

fn advised(fault: Fault) -> String {
    match fault.advice() {
        "" => String::new(),
        advice => format!("; {advice}"),
    }
}

pub(super) fn fault(error: &object_store::Error) -> Fault {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => said(error).unwrap_or(Fault::Missing),
        Error::Unauthenticated { .. } => Fault::Credentials,
        Error::PermissionDenied { .. } => said(error).unwrap_or(Fault::Denied),
        Error::InvalidPath { .. } | Error::NotSupported { .. } | Error::NotImplemented { .. } => Fault::Config,
        Error::UnknownConfigurationKey { .. } => Fault::Config,
        Error::Generic { source, .. } => match io_kind(&**source) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Fault::Full,
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Fault::Denied,
            _ => said(error).unwrap_or(Fault::Transient),
        },
        _ => Fault::Transient,
    }
}

/// Words of stores, the telling ones first. object_store has no type for most answers that could be looked at.
const WORDS: [(&str, Fault); 15] = [
    ("NoSuchBucket", Fault::NoBucket),
    ("ContainerNotFound", Fault::NoBucket), // Azure
    ("InvalidAccessKeyId", Fault::Credentials),
    ("SignatureDoesNotMatch", Fault::Credentials),
    ("failed to authenticate", Fault::Credentials), // Azure
    ("QuotaExceeded", Fault::Full),
    ("XMinioStorageFull", Fault::Full),
    // Azure has thrown away the parts of an upload, as another of the same key was finished first.
    ("InvalidBlockList", Fault::Transient),
    ("status code: 507", Fault::Full),
    ("status code: 401", Fault::Credentials),
    ("status code: 403", Fault::Denied),
    ("status code: 400", Fault::Config),
    // A redirect leads to the bucket's region.
    ("status code: 301", Fault::Config),
    ("status code: 307", Fault::Config),
    ("redirect without LOCATION", Fault::Config),
];

/// What a store's words mean; `None`: nothing that we know.
fn said(error: &object_store::Error) -> Option<Fault> {
    let text = error.to_string();
    WORDS.iter().find(|(words, _)| text.contains(words)).map(|(_, fault)| *fault)
}

/// What the operating system said, however deep it is.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(kind: io::ErrorKind) -> Fault {
        let source = object_store::Error::Generic { store: "file", source: io::Error::from(kind).into() };
        StorageError::Store { key: "a".into(), source }.fault()
    }

    #[test]
    fn what_the_disk_says_decides_what_is_done() {
        assert_eq!(local(io::ErrorKind::StorageFull), Fault::Full);
        assert_eq!(local(io::ErrorKind::ReadOnlyFilesystem), Fault::Denied);
        assert_eq!(local(io::ErrorKind::Interrupted), Fault::Transient);
    }

    #[test]
    fn what_the_store_answers_decides_what_is_done() {
        let answered = |words: &str| {
            let words = format!("Server returned non-2xx status code: {words}");
            let source = object_store::Error::Generic { store: "S3", source: words.into() };
            StorageError::Store { key: "a".into(), source }.fault()
        };
        for (words, fault) in [
            ("503 Service Unavailable", Fault::Transient),
            ("429 Too Many Requests", Fault::Transient),
            ("301 Moved Permanently", Fault::Config),
            ("400 Bad Request: AuthorizationHeaderMalformed", Fault::Config),
            ("400 Bad Request: <Code>InvalidBlockList</Code>", Fault::Transient),
            ("404 Not Found: <Code>ContainerNotFound</Code>", Fault::NoBucket),
            ("403 Forbidden: Server failed to authenticate the request.", Fault::Credentials),
            ("403 Forbidden: AccessDenied", Fault::Denied),
            ("507 Insufficient Storage", Fault::Full),
        ] {
            assert_eq!(answered(words), fault, "{words}");
        }
    }

    #[test]
    fn a_task_fails_with_a_code_and_advice() {
        let error = StorageError::Config { place: "s3://media".into(), why: "no region".into() };
        let error = TaskError::from(error);
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Unsupported, "store_config"));
        assert_eq!(error.message, "s3://media: no region; check URI, region and endpoint");
    }
}
