//! Clients of object stores, each behind the feature of its provider.

use std::sync::Arc;

use object_store::ObjectStore;

use super::place::StoreKind;
use super::{StorageConfig, StorageError};

/// Opens `bucket`, a URI without a prefix. Nothing is asked of the store yet.
pub(super) fn open(
    kind: StoreKind,
    bucket: &str,
    config: &StorageConfig,
) -> Result<Arc<dyn ObjectStore>, StorageError> {
    match kind {
        #[cfg(feature = "s3")]
        StoreKind::S3 => s3::open(bucket, config),
        #[cfg(feature = "gcs")]
        StoreKind::Gcs => gcs::open(bucket, config),
        #[cfg(feature = "azure")]
        StoreKind::Azure => azure::open(bucket, config),
        #[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
        kind => {
            let _ = config;
            Err(missing(kind, bucket))
        }
    }
}

#[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
fn missing(kind: StoreKind, bucket: &str) -> StorageError {
    let feature = match kind {
        StoreKind::S3 => "s3",
        StoreKind::Gcs => "gcs",
        StoreKind::Azure => "azure",
    };
    StorageError::Config { place: bucket.to_owned(), why: format!("this build lacks the feature `{feature}`") }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod limits {
    use std::str::FromStr;
    use std::time::Duration;

    use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};

    use super::{StorageConfig, StorageError};

    /// Pauses between retries grow up to this.
    const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(5);

    pub fn retries(config: &StorageConfig) -> RetryConfig {
        let first = Duration::from_millis(config.retry_pause_ms);
        RetryConfig {
            backoff: BackoffConfig { init_backoff: first, max_backoff: LONGEST_RETRY_PAUSE.max(first), base: 2. },
            max_retries: usize::try_from(config.retries).unwrap_or(usize::MAX),
            retry_timeout: Duration::from_millis(config.retry_timeout_ms),
        }
    }

    /// Options that all clients take, as object_store reads them.
    pub fn options(config: &StorageConfig) -> [(ClientConfigKey, String); 3] {
        [
            (ClientConfigKey::AllowHttp, config.allow_http.to_string()),
            (ClientConfigKey::ConnectTimeout, format!("{}ms", config.connect_timeout_ms)),
            (ClientConfigKey::Timeout, format!("{}ms", config.request_timeout_ms)),
        ]
    }

    /// What was given for one provider's environment variables.
    pub fn given<'a, Key: FromStr>(
        config: &'a StorageConfig,
        provider: &'static str,
    ) -> impl Iterator<Item = (Key, &'a str)> {
        let given = config.live.given.iter().filter(move |(name, _)| name.starts_with(provider));
        given.filter_map(|(name, value)| Some((name.parse().ok()?, value.as_str())))
    }

    pub fn refused(bucket: &str) -> impl FnOnce(object_store::Error) -> StorageError {
        move |error| StorageError::Config { place: bucket.to_owned(), why: error.to_string() }
    }
}

#[cfg(feature = "s3")]
mod s3 {
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

    use super::*;

    pub fn open(bucket: &str, config: &StorageConfig) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let name = bucket.strip_prefix("s3://").unwrap_or(bucket);
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_retry(limits::retries(config))
            .with_virtual_hosted_style_request(config.s3_virtual_host);
        for (key, value) in limits::options(config) {
            builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
        }
        for (key, value) in limits::given::<AmazonS3ConfigKey>(config, "aws_") {
            builder = builder.with_config(key, value);
        }
        if !config.s3_region.is_empty() {
            builder = builder.with_region(&config.s3_region);
        }
        if !config.s3_endpoint.is_empty() {
            let endpoint = endpoint(name, config).ok_or_else(|| StorageError::Config {
                place: bucket.to_owned(),
                why: format!("s3_endpoint {:?} is not an http: or https: URL", config.s3_endpoint),
            })?;
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        Ok(Arc::new(builder.build().map_err(limits::refused(bucket))?))
    }

    /// The endpoint with the bucket where object_store wants it: in the host for virtual-host style, else left to it.
    fn endpoint(bucket: &str, config: &StorageConfig) -> Option<String> {
        let endpoint = config.s3_endpoint.trim_end_matches('/');
        let (scheme, host) = endpoint.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme))?;
        Some(if config.s3_virtual_host { format!("{scheme}://{bucket}.{host}") } else { endpoint.to_owned() })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_bucket_is_part_of_the_path_or_of_the_host() {
            let mut config = StorageConfig { s3_endpoint: "http://store:8333/".into(), ..Default::default() };
            assert_eq!(endpoint("media", &config).unwrap(), "http://store:8333");
            config.s3_virtual_host = true;
            assert_eq!(endpoint("media", &config).unwrap(), "http://media.store:8333");
            config.s3_endpoint = "store:8333".into();
            assert_eq!(endpoint("media", &config), None);
        }
    }
}

#[cfg(feature = "gcs")]
mod gcs {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

    use super::*;

    pub fn open(bucket: &str, config: &StorageConfig) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let name = bucket.strip_prefix("gs://").unwrap_or(bucket);
        let mut builder =
            GoogleCloudStorageBuilder::from_env().with_bucket_name(name).with_retry(limits::retries(config));
        for (key, value) in limits::options(config) {
            builder = builder.with_config(GoogleConfigKey::Client(key), value);
        }
        for (key, value) in limits::given::<GoogleConfigKey>(config, "google_") {
            builder = builder.with_config(key, value);
        }
        Ok(Arc::new(builder.build().map_err(limits::refused(bucket))?))
    }
}

#[cfg(feature = "azure")]
mod azure {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

    use super::*;

    pub fn open(bucket: &str, config: &StorageConfig) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let mut builder = MicrosoftAzureBuilder::from_env().with_url(bucket).with_retry(limits::retries(config));
        for (key, value) in limits::options(config) {
            builder = builder.with_config(AzureConfigKey::Client(key), value);
        }
        for (key, value) in limits::given::<AzureConfigKey>(config, "azure_") {
            builder = builder.with_config(key, value);
        }
        Ok(Arc::new(builder.build().map_err(limits::refused(bucket))?))
    }
}
