//! Opening a source: only the container formats named here, no protocol but our own reader, so that a playlist in
//! disguise can't make libavformat open anything else.

use std::fs::File;

use ffmpeg_next::format::{self, context::Input, context::StreamIo};
use ffmpeg_next::{Dictionary, Error};
use shared::error::TaskError;

use super::reader::SourceReader;
use super::unreadable;

/// Demuxers by libavformat's names. None of them opens other resources.
const FORMATS: &str = "mov,matroska,mpegts,mpeg,mpegvideo,avi,flv,live_flv,asf,ogg,h264,hevc,m4v,ivf,obu,av1,mxf,gif,\
                       mp3,aac,flac,wav,w64,aiff,amr,caf,ac3,eac3,dts,vc1,vc1test,dv,yuv4mpegpipe";

/// Streams a container may have.
const MOST_STREAMS: &str = "64";

/// Read-ahead of libavformat in bytes: large enough that a read is a sensible range request.
const BUFFER: usize = 1 << 18;

/// Opens the first `size` bytes of `source` as a container.
pub fn open(source: &File, size: u64) -> Result<Input, TaskError> {
    if size == 0 {
        return Err(TaskError::input("empty", "the source has no bytes: upload it again"));
    }
    ffmpeg_next::init().map_err(|error| TaskError::bug(format!("FFmpeg does not start: {error}")))?;
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
    let file = source.try_clone().map_err(|error| TaskError::transient("source_read", error.to_string()))?;
    let io = StreamIo::from_read_seek_with_capacity(SourceReader::new(file, size), BUFFER)
        .map_err(|error| unreadable("source_read", "the source can't be read", error))?;
    let mut options = Dictionary::new();
    options.set("format_whitelist", FORMATS);
    options.set("protocol_whitelist", "none");
    options.set("max_streams", MOST_STREAMS);
    format::input_from_stream(io, None, Some(options)).map_err(|error| not_media(source, error))
}

/// Why a source that is no media is none, as far as its first bytes tell.
fn not_media(source: &File, error: Error) -> TaskError {
    use std::os::unix::fs::FileExt;
    let mut head = [0; 12];
    let is_mp4 = source.read_exact_at(&mut head, 0).is_ok() && &head[4..8] == b"ftyp";
    if is_mp4 {
        let text = "an MP4 without its index (moov): the file was cut off or its recording never finished";
        return unreadable("no_moov", text, error);
    }
    unreadable("not_media", "not an audio or video file that this farm reads", error)
}
