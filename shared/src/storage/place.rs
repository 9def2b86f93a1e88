//! What a URI names: a folder of this host, or a bucket and a prefix in it.

use std::path::PathBuf;

use object_store::path::Path;

use super::StorageError;

/// A place that objects are below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder of this host.
    Folder(PathBuf),
    /// On a web server: can only be read.
    Web,
    /// In an object store.
    Bucket {
        /// Which kind.
        kind: StoreKind,
        /// `scheme://authority`.
        bucket: String,
        /// Below this.
        prefix: Path,
    },
}

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    /// Amazon's S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Place {
    /// Reads a bare path, `file:`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`,
    /// `https:` or `abfs://container@account.dfs.core.windows.net/prefix`.
    pub(super) fn parse(uri: &str) -> Result<Self, StorageError> {
        let wrong = |why: &str| StorageError::Uri { uri: uri.to_owned(), why: why.to_owned() };
        let (kind, rest) = match uri.split_once(':') {
            Some(("file", path)) => return Ok(Self::Folder(path.strip_prefix("//").unwrap_or(path).into())),
            Some(("https" | "http", _)) => return Ok(Self::Web),
            Some(("s3", rest)) => (StoreKind::S3, rest),
            Some(("gs", rest)) => (StoreKind::Gcs, rest),
            Some(("az" | "abfs" | "abfss", rest)) => (StoreKind::Azure, rest),
            Some((scheme, rest)) if rest.starts_with("//") && !scheme.contains('/') => {
                return Err(wrong("give a path, or a file:, s3:, gs: or az: URI"));
            }
            _ => return Ok(Self::Folder(uri.into())),
        };
        let rest = rest.strip_prefix("//").ok_or_else(|| wrong("two slashes and a bucket belong behind the colon"))?;
        let (authority, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(wrong("the bucket is missing"));
        }
        if authority.contains(':') || (authority.contains('@') && kind != StoreKind::Azure) {
            return Err(wrong("credentials don't belong into a URI, which is logged: give them by the environment"));
        }
        let prefix = Path::parse(prefix).map_err(|error| wrong(&error.to_string()))?;
        let bucket = uri[..uri.len() - rest.len() + authority.len()].to_owned();
        Ok(Self::Bucket { kind, bucket, prefix })
    }
}

/// The path that a `file:` URI or a bare path names; `None` if `uri` is of another host.
pub fn local_path(uri: &str) -> Result<Option<PathBuf>, StorageError> {
    match Place::parse(uri)? {
        Place::Folder(path) => Ok(Some(path)),
        Place::Web | Place::Bucket { .. } => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(uri: &str) -> (StoreKind, String, String) {
        match Place::parse(uri).unwrap() {
            Place::Bucket { kind, bucket, prefix } => (kind, bucket, prefix.to_string()),
            other => panic!("{uri} is taken for {other:?}"),
        }
    }

    #[test]
    fn uris_name_folders_and_buckets() {
        for uri in ["/a/b", "file:/a/b", "file:///a/b"] {
            assert_eq!(Place::parse(uri).unwrap(), Place::Folder("/a/b".into()), "{uri}");
        }
        for path in ["a:b/c", "./s3//x", "clip.mp4"] {
            assert_eq!(Place::parse(path).unwrap(), Place::Folder(path.into()));
        }
        let expected = |kind, bucket: &str, prefix: &str| (kind, bucket.to_owned(), prefix.to_owned());
        assert_eq!(bucket("s3://media/jobs/7/"), expected(StoreKind::S3, "s3://media", "jobs/7"));
        assert_eq!(bucket("s3://media"), expected(StoreKind::S3, "s3://media", ""));
        assert_eq!(bucket("gs://media/my clip.mp4"), expected(StoreKind::Gcs, "gs://media", "my clip.mp4"));
        let azure = "abfs://box@account.dfs.core.windows.net";
        assert_eq!(bucket(&format!("{azure}/a")), expected(StoreKind::Azure, azure, "a"));
    }

    #[test]
    fn what_is_no_place_is_refused_with_a_reason() {
        for uri in ["ftp://host/a", "s3:media/a", "s3:///a", "s3://key:secret@media/a", "s3://b/a//c"] {
            let error = Place::parse(uri).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{uri:?} is not a place")), "{error}");
        }
        assert!(Place::parse("s3://media/../other").is_err());
    }
}
