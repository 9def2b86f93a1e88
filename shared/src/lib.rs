//! What coordinator and worker agree on. No media library, no network client of one side only.
//!
//! | module | holds |
//! |---|---|
//! | [`time`] | ticks, timescales, the segment grid |
//! | [`rendition`] | what is made |
//! | [`family`] | who encodes it, and the ids of their parameter sets |
//! | [`source`] | what indexing found |
//! | [`index`] | packet lists: a chunk is one, not a file |
//! | [`placement`] | on what the stages of a chunk run |
//! | [`task`] | tasks, reports, receipts |
//! | [`error`] | why a task failed |
//! | [`cmaf`] | init and media segments, decoder configs |
//! | [`fleet`] | heartbeats and directives |
//! | [`storage`] | objects and their keys |
//! | [`trace`] | what became of a job and when, told by all who had a part in it |
//! | [`queue`] | the hand-over of work |
//! | `config`, `shutdown`, `telemetry` | what the programs share, behind the feature `programs` |
//! | `testing` | real servers for tests, behind the feature of that name |
//! | [`wire`] | between these types and `proto`: the only place that checks wire values |
//!
//! # Words
//!
//! Field words, used as the standards use them. They bind code, logs, metrics and documents.
//!
//! | word | means here |
//! |---|---|
//! | **job** | one source → one presentation |
//! | **source** | the input object and what indexing found |
//! | **rendition** | one encoded version (codec, size, rate) of the video or of an audio track |
//! | **ladder** | the video renditions of a job; a **rung** is a rendition at work inside a worker |
//! | **family** | encoders that write the same parameter sets for the same rendition: x264, NVENC of one GPU generation |
//! | **chunk** | our unit of encode work: a whole number of segments of source time; never a CMAF chunk (we write none) |
//! | **task / attempt** | one item of work / one try at it |
//! | **mark** | a few digits by which a source is recognised: of the same mark, the same bytes |
//! | **GOP, IDR** | closed GOP, starts with an IDR; a segment starts with one |
//! | **fragment** | one `moof`+`mdat` (ISO/IEC 14496-12 8.8) |
//! | **segment** | the addressable media object in a playlist; here exactly one fragment |
//! | **init segment** | `ftyp`+`moov`: CMAF header |
//! | **track** | the segments of one rendition with its init segment; *stream* is the source's |
//! | **timescale, ticks** | ticks per second of a track; ticks are the only stored time |
//! | **presentation time / decode time** | `pts` / `dts` only as field names |
//! | **composition offset** | media time − dts (`trun` version 1), never negative |
//! | **edit list** | says where media time begins: after audio priming, after the delay of reordered video |
//! | **priming / remainder** | encoder-added audio samples before / after the signal |
//! | **receipt** | what a finished attempt claims to have made |
//! | **stitch** | check receipts and make tracks; moves no bytes |
//! | **publish** | write init segments and playlists, multivariant playlist last |
//! | **slot** | capacity for one attempt: a child process of a worker |
//! | **seat** | an attempt's place on one GPU of its worker; an attempt without one runs in software |
//! | **session** | one encoder that is open on a GPU: each rendition of a chunk that has a seat takes one |
//! | **share** | what of a worker is for tasks of the class of GPUs: so many slots, of which so many are busy |
//! | **lane** | where on the queue a task waits: by its **class** (what it needs of a machine) and its **urgency** |
//! | **heartbeat / directive** | what a worker says of itself / what workers are told besides tasks; neither is kept |
//! | **hold** | a worker takes nothing new: a person has **cordoned** it, or it is **quarantined** for what failed there |
//! | **rival** | a second attempt beside one that takes too long; the first to finish counts |
//! | **tenant / terms** | whose a job is / what may change while it runs: priority, deadline, labels |
//! | **term** | the time in which one of several coordinators leads |
#![forbid(unsafe_code)]

pub mod cmaf;
#[cfg(feature = "programs")]
pub mod config;
pub mod error;
pub mod family;
pub mod fleet;
pub mod hex;
pub mod index;
pub mod placement;
#[cfg(feature = "programs")]
pub mod program;
pub mod queue;
pub mod rendition;
#[cfg(feature = "programs")]
pub mod shutdown;
pub mod source;
pub mod storage;
pub mod task;
#[cfg(feature = "programs")]
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod trace;
pub mod wire;
