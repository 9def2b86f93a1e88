//! When certificates expire. Files are read when the program starts, as whoever uses them does: what is put there later
//! counts from the next start on.

use std::path::Path;

use prometheus::IntGaugeVec;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tracing::warn;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::Declare;

/// What is told of certificates.
#[derive(Debug)]
pub struct CertificateMetrics {
    expiry: IntGaugeVec,
}

impl CertificateMetrics {
    /// Metrics of a program that has no certificates.
    pub fn new(new: Declare<'_>) -> Self {
        let expiry = "When a certificate expires, in seconds of UNIX time, by what it is for.";
        Self { expiry: new.gauges("certificate_expiry_timestamp_seconds", expiry, ["use"], &[]) }
    }

    /// Looks at a certificate that is shown to others, with those between it and its authority: the first to expire counts.
    pub fn shown(&self, purpose: &str, file: Option<&Path>) {
        self.look(purpose, file, |ends| ends.into_iter().min());
    }

    /// Looks at authorities that others' certificates may come from: the last to expire counts, as one is enough.
    pub fn trusted(&self, purpose: &str, file: Option<&Path>) {
        self.look(purpose, file, |ends| ends.into_iter().max());
    }

    fn look(&self, purpose: &str, file: Option<&Path>, choose: impl FnOnce(Vec<u64>) -> Option<u64>) {
        let Some(file) = file else { return };
        match read(file).map(choose) {
            Ok(Some(end)) => {
                self.expiry.with_label_values(&[purpose]).set(i64::try_from(end).unwrap_or(i64::MAX));
            }
            Ok(None) => warn!(file = %file.display(), "no certificate is in it"),
            Err(error) => warn!(file = %file.display(), %error, "nobody knows when it expires"),
        }
    }
}

/// When the certificates of a PEM file expire, in seconds of UNIX time.
fn read(file: &Path) -> Result<Vec<u64>, Box<dyn std::error::Error>> {
    let text = std::fs::read(file)?;
    let end = |der: Result<CertificateDer<'_>, rustls_pki_types::pem::Error>| {
        let certificate = Certificate::from_der(&der?).map_err(|error| error.to_string())?;
        Ok(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs())
    };
    CertificateDer::pem_slice_iter(&text).map(end).collect()
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use prometheus::Registry;

    use super::*;
    use crate::testing::certificates::Authority;

    #[test]
    fn a_file_tells_when_its_certificates_expire() {
        let folder = tempfile::tempdir().unwrap();
        let Some(authority) = Authority::new(folder.path(), "authority") else { return };
        authority.issue("server");
        let metrics = CertificateMetrics::new(Declare::new(&Registry::new(), "farm_test"));
        metrics.shown("server", Some(&authority.pem("server")));
        metrics.trusted("roots", Some(&authority.pem("authority")));
        metrics.shown("none", None);
        metrics.shown("key", Some(&authority.key("server")));
        let in_two_days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(2 * 24 * 3600);
        for purpose in ["server", "roots"] {
            let end = metrics.expiry.with_label_values(&[purpose]).get();
            assert!((end - in_two_days.as_secs() as i64).abs() < 300, "{purpose}: {end}");
        }
        let told = prometheus::core::Collector::collect(&metrics.expiry)[0].get_metric().len();
        assert_eq!(told, 2, "what is not there has no date");
    }
}
