//! Objects too large to be held in memory.

use bytes::Bytes;
use object_store::WriteMultipart;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::StorageError;
use crate::task::StoredObject;

/// Size of the parts in which large objects are written: S3 takes no more than 10,000, which makes 78 GiB.
pub(super) const UPLOAD_PART_BYTES: usize = 8 << 20;
/// Parts on their way at once.
const UPLOAD_PARTS: usize = 2;

/// An object that is being written piece by piece. It is there once it is finished, and never if it is dropped.
///
/// Parts of one that is dropped are removed in the background. Those of a process that was killed stay in an object store
/// and cost money, invisibly, until a life-cycle rule of the bucket removes incomplete uploads; it should have one.
pub struct Upload {
    parts: Option<WriteMultipart>, // `None` once it has ended
    object: StoredObject,
    hash: Sha256,
}

impl Upload {
    pub(super) fn new(key: &str, upload: Box<dyn object_store::MultipartUpload>) -> Self {
        let parts = WriteMultipart::new_with_chunk_size(upload, UPLOAD_PART_BYTES);
        let object = StoredObject { key: key.to_owned(), size: 0, sha256: Vec::new() };
        Self { parts: Some(parts), object, hash: Sha256::new() }
    }

    /// Adds to the end. Waits while too much is on its way.
    pub async fn push(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        let parts = self.parts.as_mut().expect("an upload that has ended should be gone");
        parts.wait_for_capacity(UPLOAD_PARTS).await.map_err(StorageError::of(&self.object.key))?;
        self.hash.update(&bytes);
        self.object.size += bytes.len() as u64;
        parts.put(bytes);
        Ok(())
    }

    /// Makes the object appear.
    pub async fn finish(mut self) -> Result<StoredObject, StorageError> {
        let parts = self.parts.take().expect("an upload that has ended should be gone");
        parts.finish().await.map_err(StorageError::of(&self.object.key))?;
        let sha256 = self.hash.clone().finalize().to_vec();
        Ok(StoredObject { sha256, ..self.object.clone() })
    }
}

/// Whoever gave up writing leaves nothing behind that is paid for.
impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(parts), Ok(runtime)) = (self.parts.take(), Handle::try_current()) {
            let key = self.object.key.clone();
            runtime.spawn(async move {
                if let Err(error) = parts.abort().await {
                    tracing::warn!(key, %error, "parts of an upload that was given up stay in the store");
                }
            });
        }
    }
}
