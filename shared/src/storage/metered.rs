//! Stores that tell how long they took. Web servers are not ours to watch, and are left out.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, UploadPart};

use super::{Fault, StorageError};

/// Who is told. Called in the store's own calls: to be quick.
pub trait StorageMeter: Send + Sync + 'static {
    /// A store has answered after so long, its retries included; or it has failed.
    fn answered(&self, call: StoreCall, time: Duration, fault: Option<Fault>);
}

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreCall {
    /// Whether an object is there, and what is known of it.
    Look,
    /// An object, or a range of it, to its last byte.
    Read,
    /// An object, or a part of one.
    Write,
    /// All keys below a prefix.
    List,
    /// That an object, or many, be gone.
    Remove,
}

impl StoreCall {
    /// Everything that is asked.
    pub const ALL: [Self; 5] = [Self::Look, Self::Read, Self::Write, Self::List, Self::Remove];

    /// As it stands in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Remove => "remove",
        }
    }
}

/// The way to whoever is told, if anybody is.
#[derive(Clone, Default)]
pub(super) struct Watch(Option<Arc<dyn StorageMeter>>);

impl Watch {
    pub(super) fn new(meter: Arc<dyn StorageMeter>) -> Self {
        Self(Some(meter))
    }

    /// Does it, and tells how long it took.
    pub(super) async fn time<T, E: Fails>(
        &self,
        call: StoreCall,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let result = work.await;
        if let Some(meter) = &self.0 {
            meter.answered(call, began.elapsed(), result.as_ref().err().and_then(E::failure));
        }
        result
    }

    /// An upload whose every part is told of.
    pub(super) fn upload(&self, upload: Box<dyn MultipartUpload>) -> Box<dyn MultipartUpload> {
        Box::new(WatchedUpload { inner: upload, watch: self.clone() })
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// An answer that may be a failure.
pub(super) trait Fails {
    /// What is wrong; `None` if the store has only said that something is there already.
    fn failure(&self) -> Option<Fault>;
}

impl Fails for Error {
    fn failure(&self) -> Option<Fault> {
        let there = matches!(self, Self::AlreadyExists { .. } | Self::Precondition { .. });
        (!there).then(|| super::error::fault(self))
    }
}

impl Fails for StorageError {
    fn failure(&self) -> Option<Fault> {
        match self {
            Self::Store { source, .. } => source.failure(),
            other => Some(other.fault()),
        }
    }
}

#[derive(Debug)]
struct WatchedUpload {
    inner: Box<dyn MultipartUpload>,
    watch: Watch,
}

#[async_trait]
impl MultipartUpload for WatchedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, watch) = (self.inner.put_part(data), self.watch.clone());
        Box::pin(async move { watch.time(StoreCall::Write, part).await })
    }

    async fn complete(&mut self) -> Result<PutResult, Error> {
        self.watch.time(StoreCall::Write, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<(), Error> {
        self.inner.abort().await
    }
}
