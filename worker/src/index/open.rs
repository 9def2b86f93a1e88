//! Opening a source: only the container formats named here, no protocol but our own reader, so that a playlist in
//! disguise can't make libavformat open anything else.

use ffmpeg_next::format::stream::Stream;
use ffmpeg_next::format::{self, context::Input, context::StreamIo};
use ffmpeg_next::{Dictionary, Error, media};
use shared::error::TaskError;

use super::unreadable;
use crate::av;
use crate::source::ByteSource;

/// Demuxers by libavformat's names. None of them opens other resources.
const FORMATS: &str = "mov,matroska,mpegts,mpeg,mpegvideo,avi,flv,live_flv,asf,ogg,h264,hevc,m4v,ivf,obu,av1,mxf,gif,\
                       mp3,aac,flac,wav,w64,aiff,amr,caf,ac3,eac3,dts,vc1,vc1test,dv,yuv4mpegpipe";

/// Streams a container may have.
const MOST_STREAMS: &str = "64";

/// Read-ahead of libavformat in bytes: large enough that a read is a sensible range request.
const BUFFER: usize = 1 << 18;

/// How far libavformat may look ahead for what streams are, in bytes and microseconds.
#[derive(Clone, Copy)]
struct Patience {
    bytes: &'static str,
    micros: &'static str,
}

/// libavformat's own values.
const USUAL: Patience = Patience { bytes: "5000000", micros: "0" };

/// For a recording that begins long before its first key frame, where the picture size stands: half a minute, as GOPs of
/// broadcasts and screen recordings last.
const LONG: Patience = Patience { bytes: "64000000", micros: "30000000" };

/// Opens `source` as a container. Looks further ahead, once, if a video stream does not say its
/// picture size at first.
pub fn open(source: &ByteSource) -> Result<Input, TaskError> {
    if source.size() == Some(0) {
        return Err(TaskError::input("empty", "the source has no bytes: upload it again"));
    }
    ffmpeg_next::init().map_err(|error| TaskError::bug(format!("FFmpeg does not start: {error}")))?;
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
    let input = open_patiently(source, USUAL)?;
    if input.streams().any(|stream| lacks_size(&stream)) { open_patiently(source, LONG) } else { Ok(input) }
}

fn lacks_size(stream: &Stream) -> bool {
    let setup = av::stream_setup(stream);
    let is_video = stream.parameters().medium() == media::Type::Video;
    is_video && setup.width <= 0 && ffmpeg_next::decoder::find(stream.parameters().id()).is_some()
}

fn open_patiently(source: &ByteSource, patience: Patience) -> Result<Input, TaskError> {
    let reader = source.reader();
    let io = match source.size() {
        Some(_) => StreamIo::from_read_seek_with_capacity(reader, BUFFER),
        None => StreamIo::from_read_with_capacity(reader, BUFFER), // where its end is, nobody knows yet
    };
    let io = io.map_err(|error| unreadable("source_read", "the source can't be read", error))?;
    let mut options = Dictionary::new();
    options.set("format_whitelist", FORMATS);
    options.set("protocol_whitelist", "none");
    options.set("max_streams", MOST_STREAMS);
    options.set("probesize", patience.bytes);
    options.set("analyzeduration", patience.micros);
    format::input_from_stream(io, None, Some(options)).map_err(|error| not_media(source, error))
}

/// Why a source that is no media is none, as far as its first bytes tell.
fn not_media(source: &ByteSource, error: Error) -> TaskError {
    let mut head = [0; 12];
    let is_mp4 = source.read_exact_at(&mut head, 0).is_ok() && &head[4..8] == b"ftyp";
    if is_mp4 {
        let text = "an MP4 without its index (moov): the file was cut off or its recording never finished";
        return unreadable("no_moov", text, error);
    }
    unreadable("not_media", "not an audio or video file that this farm reads", error)
}
