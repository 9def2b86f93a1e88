//! What FFmpeg looks for when it loads the library, and nobody calls: NVIDIA's own reader of files.
#![allow(unsafe_code)]

use crate::call::{NOT_SUPPORTED, Status, call};

macro_rules! absent {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> Status {
                call(stringify!($name), || Err(NOT_SUPPORTED.into()))
            }
        )*
    };
}

absent! {
    cuvidCreateVideoSource cuvidCreateVideoSourceW cuvidDestroyVideoSource
    cuvidSetVideoSourceState cuvidGetVideoSourceState cuvidGetSourceVideoFormat cuvidGetSourceAudioFormat
}
