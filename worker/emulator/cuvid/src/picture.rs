//! A picture on its way from the parser, which decodes it, to the decoder, whose surface it becomes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::av::Frame;

/// How decoding went, as `cuvidDecodeStatus` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    Well = 2,
    Failed = 8,
    Concealed = 9,
}

/// A picture that was offered to a client. Its content comes when it is shown: libavcodec gives frames in that order.
#[derive(Default)]
pub struct Picture(Mutex<Content>);

#[derive(Default)]
struct Content {
    frame: Option<Arc<Frame>>,
    decoded: Option<Decoded>,
}

/// Pictures whose decode callback runs now, by the address of their bitstream.
static OFFERED: Mutex<Option<HashMap<usize, Arc<Picture>>>> = Mutex::new(None);

impl Picture {
    /// The picture was decoded.
    pub fn fill(&self, frame: Frame) {
        let mut content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if frame.is_damaged() {
            content.decoded = Some(Decoded::Concealed);
        }
        content.frame = Some(Arc::new(frame));
    }

    /// It could not be decoded.
    pub fn fail(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).decoded = Some(Decoded::Failed);
    }

    /// What it shows.
    pub fn frame(&self) -> Option<Arc<Frame>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).frame.clone()
    }

    /// How it went.
    pub fn decoded(&self) -> Decoded {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).decoded.unwrap_or(Decoded::Well)
    }

    /// Lets clients take it by its bitstream while something is done.
    pub fn offered<R>(self: &Arc<Self>, bitstream: &[u8], work: impl FnOnce() -> R) -> R {
        let address = bitstream.as_ptr() as usize;
        with_offered(|pictures| pictures.insert(address, self.clone()));
        let done = work();
        with_offered(|pictures| pictures.remove(&address));
        done
    }

    /// The picture that is offered with this bitstream.
    pub fn taken(bitstream: *const u8) -> Option<Arc<Self>> {
        with_offered(|pictures| pictures.get(&(bitstream as usize)).cloned())
    }
}

fn with_offered<R>(work: impl FnOnce(&mut HashMap<usize, Arc<Picture>>) -> R) -> R {
    work(OFFERED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}
