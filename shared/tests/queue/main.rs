//! The contract of `Queue`, run on both twins, and what only a broker can do wrong.

#[cfg(all(feature = "nats", feature = "testing"))]
mod accounts;
#[cfg(all(feature = "nats", feature = "testing"))]
mod broker;
mod contract;
mod sample;
#[cfg(all(feature = "nats", feature = "testing"))]
mod soak;
#[cfg(all(feature = "nats", feature = "testing"))]
mod trust;

use std::sync::Arc;

use contract::{Roles, conformance};
use shared::queue::Queue;
use shared::queue::memory::MemoryQueue;

#[tokio::test]
async fn the_queue_in_memory_keeps_the_contract() {
    conformance(async || {
        let queue: Arc<dyn Queue> = Arc::<MemoryQueue>::default();
        Roles { coordinator: queue.clone(), workers: vec![queue] }
    })
    .await;
}
