//! What object storage can do to a farm.

use std::time::{Duration, Instant};

use shared::testing::proxy::{Proxy, Weather};

use crate::load::{Load, flowing, tidied_up};
use crate::support::chance::number;
use crate::support::cluster::{Parts, Settings};

const SLOTS: usize = 2;
/// The longest pause of a task after an outage is 8 s; the rest is for a machine that does other things too.
const FLOWING_LIMIT: Duration = Duration::from_secs(30);

/// Sources and presentations are in SeaweedFS, behind a network that can be bad. Requests are given up soon, so that an
/// outage lasts for several attempts.
fn parts(proxy: &Proxy) -> Parts {
    let settings = |table: &str| {
        let setting =
            |name: &str, value: String| -> (&'static str, String) { (format!("{table}.{name}").leak(), value) };
        Settings::from([
            setting("s3_endpoint", format!("\"http://127.0.0.1:{}\"", proxy.port())),
            setting("retries", "2".into()),
            setting("retry_pause_ms", "50".into()),
            setting("request_timeout_ms", "2000".into()),
        ])
    };
    Parts {
        coordinators: 1,
        s3: true,
        coordinator_settings: settings("storage"),
        worker_settings: settings("worker.storage"),
        ..Parts::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_refuses_breaks_off_and_goes_away_and_no_job_is_lost() {
    let proxy = Proxy::start();
    let Some(mut cluster) = parts(&proxy).start() else { return };
    proxy.lead_to(cluster.s3.as_mut().unwrap().server().port());
    let load = Load::start(&cluster, 4).await;
    flowing(&cluster, SLOTS).await;
    proxy.set(Weather::Rough(10));
    while proxy.faults() < 10 {
        flowing(&cluster, SLOTS).await;
    }
    let rough = proxy.faults();
    let outage = Duration::from_secs(number("FARM_OUTAGE_S", 5));
    let mut took = Vec::new();
    for weather in [Weather::Down, Weather::Silent] {
        proxy.set(weather);
        tokio::time::sleep(outage).await;
        proxy.set(Weather::Fine);
        let over = Instant::now();
        flowing(&cluster, SLOTS).await;
        took.push(over.elapsed());
    }
    let failed = failed_attempts(&cluster.coordinators[0].get("/metrics"));
    let jobs = load.finish(&cluster).await;
    tidied_up(&cluster).await;
    eprintln!(
        "{jobs} jobs, none lost; {rough} requests failed here and there; {failed} attempts failed in two outages of"
    );
    eprintln!("{outage:?}, flowing again {took:?} after them");
    assert!(failed > 0, "the outages were too short to be felt");
    assert!(took.iter().all(|took| *took <= FLOWING_LIMIT), "{took:?}");
}

fn failed_attempts(metrics: &str) -> u64 {
    let transient =
        |line: &&str| line.starts_with("farm_coordinator_attempts_total{") && line.contains("\"transient\"");
    metrics.lines().filter(transient).map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}
