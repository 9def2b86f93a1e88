//! A stand-in for libnvcuvid: it checks every call, and decodes with libavcodec.
//!
//! The parser does the work of both: it cuts the stream into pictures, decodes them, and offers each to its client as the
//! real one does: sequence callbacks late (when the next picture has begun), decode callbacks in coding order ahead of
//! display, in surfaces that are used again as soon as they were shown. `cuvidDecodePicture` takes a picture only from a
//! parser's callback; who fills `CUVIDPICPARAMS` alone (FFmpeg's `nvdec`) is refused with 801, as on a card that can't.
//!
//! Pictures that are mapped lie in memory of whatever libcuda is loaded, the stand-in's or a real one's.
//!
//! What it takes note of, in the ledger of [`card`], beside refusing it: calls without a current context; surfaces and
//! pictures that do not exist, or were never decoded; fewer decode surfaces than the stream wants; more pictures mapped
//! than output surfaces asked for; pictures unmapped twice, or still mapped when the decoder changes or goes; a parser
//! called from two threads or from its own callback; what was not given back when the library is unloaded.
//!
//! A picture is overwritten when it is unmapped, so that work that still reads it shows.
#![deny(unsafe_code)]

mod absent;
mod av;
mod call;
mod caps;
mod cuda;
mod decoder;
mod lock;
mod parser;
mod picture;
mod raw;
mod surface;

card::at_unload!(call::tell_what_is_left);
