//! The client's callbacks.

use crate::raw::{DisplayInfo, Format, ParserParameters, PictureParameters};

/// What the client gave: its functions, and what they are called with.
pub struct Client(pub ParserParameters);

// SAFETY: the client says by giving them that they may be called from the threads that it calls from.
unsafe impl Send for Client {}

impl Client {
    /// What the callback says: 0 for no, 1 for yes, more for a number of surfaces. `None`: there is no callback.
    pub fn sequence(&self, mut format: Format) -> Option<i32> {
        // SAFETY: the client gave both.
        self.0.sequence.map(|call| unsafe { call(self.0.user, &raw mut format) })
    }

    /// Whether the client took the picture.
    pub fn decode(&self, parameters: &mut PictureParameters) -> bool {
        // SAFETY: the client gave both.
        self.0.decode.is_some_and(|call| unsafe { call(self.0.user, &raw mut *parameters) } > 0)
    }

    /// `None` is the end of the stream.
    pub fn display(&self, info: Option<DisplayInfo>) {
        let Some(call) = self.0.display else { return };
        let mut info = info;
        let place = info.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
        // SAFETY: the client gave both.
        unsafe { call(self.0.user, place) };
    }
}
