//! A job whose source, work and target are at Google or Azure: coordinators and workers as they are shipped, with what stands
//! in for those stores (`shared::testing::clouds`). `make clouds-check` installs it.

#![cfg(all(feature = "gcs", feature = "azure"))]

use shared::testing::clouds::Cloud;

#[allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
mod support;

use support::clip;
use support::cluster::Parts;
use support::right::assert_judged_right;

async fn makes_a_presentation(cloud: Cloud) {
    let parts = Parts { coordinators: 1, cloud: Some(cloud), ..Parts::default() };
    let Some(cluster) = parts.start() else { return };
    let source = clip("open_gop_2997.mp4");
    cluster.put("source.mp4", &source).await;
    let client = cluster.client();
    let job = client.submit("once", cluster.spec("source.mp4", "made", "web-3")).await;
    client.succeeded(&job).await;
    assert_judged_right(&source, &cluster.fetch("made").await);
    assert_eq!(cluster.list("work").await, [""; 0], "what lay there is gone with the job");
}

#[tokio::test]
async fn a_job_from_google_to_google_is_right() {
    makes_a_presentation(Cloud::Google).await;
}

#[tokio::test]
async fn a_job_from_azure_to_azure_is_right() {
    makes_a_presentation(Cloud::Azure).await;
}
