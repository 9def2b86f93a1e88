//! What FFmpeg looks for when it loads the library, and nobody calls on this path: links of modules, textures, arrays,
//! graphics. All of it is not supported.
#![allow(unsafe_code)]

use crate::driver::call;
use crate::status::{self, Status};

macro_rules! absent {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> Status {
                call(stringify!($name), |_| Err(status::NOT_SUPPORTED))
            }
        )*
    };
}

absent! {
    cuMemAllocManaged
    cuLinkCreate cuLinkAddData cuLinkComplete cuLinkDestroy
    cuTexObjectCreate cuTexObjectDestroy
    cuArray3DCreate_v2 cuArrayDestroy
    cuGLGetDevices_v2
    cuGraphicsGLRegisterImage cuGraphicsUnregisterResource cuGraphicsMapResources cuGraphicsUnmapResources
    cuGraphicsSubResourceGetMappedArray cuGraphicsResourceGetMappedPointer_v2
}
