//! How object stores and folders answer.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec};

use super::{Declare, each};
use crate::storage::{Fault, StorageMeter, StoreCall};

/// Seconds a store may take: from a folder's answer to the longest request with its retries.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// What is counted of stores.
#[derive(Debug)]
pub struct StorageMetrics {
    seconds: HistogramVec,
    errors: IntCounterVec,
}

impl StorageMetrics {
    /// Metrics of a program that has asked no store for anything.
    pub fn new(new: Declare<'_>) -> Self {
        let seconds =
            "Time until an object store or folder had done what it was asked for, or failed, retries included.";
        let errors = "Requests to object stores and folders that failed for good, by what is wrong.";
        let calls = each(StoreCall::ALL.map(StoreCall::as_str));
        let kinds = each(Fault::ALL.map(Fault::as_str));
        Self {
            seconds: new.histograms("storage_seconds", seconds, &SECONDS, ["call"], &calls),
            errors: new.counters("storage_errors_total", errors, ["kind"], &kinds),
        }
    }
}

impl StorageMeter for StorageMetrics {
    fn answered(&self, call: StoreCall, time: Duration, fault: Option<Fault>) {
        self.seconds.with_label_values(&[call.as_str()]).observe(time.as_secs_f64());
        if let Some(fault) = fault {
            self.errors.with_label_values(&[fault.as_str()]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::storage::{Storage, StorageConfig};

    #[tokio::test]
    async fn what_is_asked_of_a_store_is_told_with_what_came_of_it() {
        let (registry, folder) = (Registry::new(), tempfile::tempdir().unwrap());
        let metrics = StorageMetrics::new(Declare::new(&registry, "farm_test"));
        let config = StorageConfig::default().metered(Arc::new(metrics));
        let storage = Storage::open(folder.path().to_str().unwrap(), &config).unwrap();
        storage.put("a", "1".into()).await.unwrap();
        let mut upload = storage.upload("b").await.unwrap();
        upload.push("2".into()).await.unwrap();
        upload.finish().await.unwrap();
        storage.get("a").await.unwrap();
        storage.get_range("b", 0, 1).await.unwrap();
        storage.get("c").await.unwrap_err();
        assert_eq!(storage.find("c").await.unwrap(), None);
        assert_eq!(storage.find("a").await.unwrap().unwrap(), "1");
        assert_eq!(storage.size("c").await.unwrap(), None);
        storage.delete("c").await.unwrap();
        storage.clear().await.unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "farm_test_storage_seconds_count{call=\"look\"} 1",
            "farm_test_storage_seconds_count{call=\"read\"} 5",
            "farm_test_storage_seconds_count{call=\"write\"} 4", // one whole; begin, part and end of the other
            "farm_test_storage_seconds_count{call=\"list\"} 1",
            "farm_test_storage_seconds_count{call=\"remove\"} 2",
            "farm_test_storage_errors_total{kind=\"missing\"} 1", // what was to be there, and not what was looked for
            "farm_test_storage_errors_total{kind=\"unavailable\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
