//! One decoded frame to one picture per rung: deinterlace, scale, tone-map and turn as planned, each rung scaled from
//! the next larger one.

use ffmpeg_next::{Error, filter, frame};
use shared::error::{ErrorKind, TaskError};
use shared::source::VideoStream;
use shared::task::{Transform, VideoTask};

use crate::av;
use crate::task::ffmpeg_error;

/// Bicubic with full chroma interpolation of odd sizes: sharper than bilinear, a third cheaper than Lanczos.
const SCALE_FLAGS: &str = "bicubic";

/// A filter graph, rebuilt when the decoder changes its picture size or format.
pub struct Scaler {
    stream: VideoStream,
    transform: Transform,
    sizes: Vec<(u32, u32)>,
    graph: Option<(Shape, filter::Graph)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    format: ffmpeg_next::format::Pixel,
    width: u32,
    height: u32,
    full_range: bool,
}

/// The same moment for every rung, largest first: planar 4:2:0, 8 bit, limited range.
pub type Pictures = Vec<frame::Video>;

impl Scaler {
    /// Pictures for the renditions of `task`, in its order (largest first).
    pub fn new(task: &VideoTask) -> Self {
        let sizes = task.renditions.iter().map(|rendition| (rendition.width_px, rendition.height_px)).collect();
        Self { stream: task.stream.clone(), transform: task.transform, sizes, graph: None }
    }

    /// Takes a frame; returns the pictures that are ready (deinterlacing holds one back).
    pub fn push(&mut self, frame: frame::Video) -> Result<Vec<Pictures>, TaskError> {
        let shape = Shape {
            format: frame.format(),
            width: frame.width(),
            height: frame.height(),
            full_range: self.stream.color.full_range || frame.color_range() == ffmpeg_next::color::Range::JPEG,
        };
        let mut ready = Vec::new();
        if self.graph.as_ref().is_some_and(|(known, _)| *known != shape) {
            ready = self.finish()?;
        }
        if self.graph.is_none() {
            self.graph = Some((shape, self.build(shape).map_err(scale_error)?));
        }
        let Some((_, graph)) = &mut self.graph else { return Ok(ready) };
        source(graph)?.source().add(&frame).map_err(scale_error)?;
        self.drain(&mut ready)?;
        Ok(ready)
    }

    /// The pictures held back.
    pub fn finish(&mut self) -> Result<Vec<Pictures>, TaskError> {
        let mut ready = Vec::new();
        if let Some((_, graph)) = &mut self.graph {
            source(graph)?.source().flush().map_err(scale_error)?;
            self.drain(&mut ready)?;
            self.graph = None;
        }
        Ok(ready)
    }

    fn drain(&mut self, ready: &mut Vec<Pictures>) -> Result<(), TaskError> {
        let Some((_, graph)) = &mut self.graph else { return Ok(()) };
        loop {
            let mut pictures = Pictures::with_capacity(self.sizes.len());
            for rung in 0..self.sizes.len() {
                let mut picture = frame::Video::empty();
                let mut sink =
                    graph.get(&format!("out{rung}")).ok_or_else(|| TaskError::bug("the graph has no sink"))?;
                match sink.sink().frame(&mut picture) {
                    Ok(()) => pictures.push(picture),
                    Err(Error::Eof) => break,
                    Err(Error::Other { errno }) if errno == ffmpeg_next::error::EAGAIN => break,
                    Err(error) => return Err(scale_error(error)),
                }
            }
            match pictures.len() {
                0 => return Ok(()),
                full if full == self.sizes.len() => ready.push(pictures),
                some => return Err(TaskError::bug(format!("{some} of {} rungs got a picture", self.sizes.len()))),
            }
        }
    }

    fn build(&self, shape: Shape) -> Result<filter::Graph, Error> {
        let mut graph = filter::Graph::new();
        av::single_threaded(&mut graph);
        let find = |name| filter::find(name).ok_or(Error::FilterNotFound);
        let timescale = self.stream.timescale.get();
        let arguments = format!(
            "video_size={}x{}:pix_fmt={}:time_base=1/{timescale}:pixel_aspect=1/1",
            shape.width,
            shape.height,
            shape.format.descriptor().map_or("", |descriptor| descriptor.name()),
        );
        graph.add(&find("buffer")?, "in", &arguments)?;
        for rung in 0..self.sizes.len() {
            graph.add(&find("buffersink")?, &format!("out{rung}"), "")?;
        }
        let mut parser = graph.output("in", 0)?;
        for rung in 0..self.sizes.len() {
            parser = parser.input(&format!("out{rung}"), 0)?;
        }
        parser.parse(&self.describe(shape))?;
        graph.validate()?;
        Ok(graph)
    }

    /// `[in]…scale…split[out0][a]; [a]scale…split[out1][b]; …`
    fn describe(&self, shape: Shape) -> String {
        let (width, height) = self.sizes[0];
        let turned = self.transform.rotation % 180 == 90;
        let (width, height) = if turned { (height, width) } else { (width, height) };
        let mut steps = Vec::new();
        if self.transform.deinterlace {
            let timescale = self.stream.timescale.get();
            steps.push(format!("bwdif=mode=send_frame:deint=interlaced,settb=1/{timescale}"));
        }
        let range = if shape.full_range { ":in_range=full:out_range=limited" } else { "" };
        let format = if self.transform.tone_map { "yuv420p10le" } else { "yuv420p" };
        steps.push(format!("scale={width}:{height}:flags={SCALE_FLAGS}{range},format={format},setsar=1"));
        if self.transform.tone_map {
            steps.push(self.tone_map());
        }
        steps.extend(self.turn());
        let mut text = format!("[in]{}", steps.join(","));
        for (rung, (width, height)) in self.sizes.iter().enumerate() {
            if rung > 0 {
                text += &format!("[s{rung}]scale={width}:{height}:flags={SCALE_FLAGS},setsar=1");
            }
            if rung + 1 < self.sizes.len() {
                text += &format!(",split=2[out{rung}][s{}];", rung + 1);
            } else {
                text += &format!("[out{rung}]");
            }
        }
        text
    }

    /// PQ or HLG in BT.2020 to BT.709: linear light at 100 cd/m² white, Hable's curve, back to gamma.
    fn tone_map(&self) -> String {
        let transfer = if self.stream.color.transfer == 18 { "arib-std-b67" } else { "smpte2084" };
        format!(
            "zscale=tin={transfer}:pin=bt2020:min=bt2020nc:rin=limited:t=linear:npl=100,format=gbrpf32le,\
             zscale=p=bt709,tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=limited,format=yuv420p"
        )
    }

    fn turn(&self) -> Vec<String> {
        let turn = match self.transform.rotation {
            90 => &["transpose=clock"][..],
            180 => &["hflip", "vflip"],
            270 => &["transpose=cclock"],
            _ => &[],
        };
        let mirror = self.transform.mirror.then_some("hflip");
        turn.iter().copied().chain(mirror).map(str::to_owned).collect()
    }
}

fn source(graph: &mut filter::Graph) -> Result<filter::Context, TaskError> {
    graph.get("in").ok_or_else(|| TaskError::bug("the graph has no source"))
}

fn scale_error(error: Error) -> TaskError {
    ffmpeg_error(ErrorKind::Bug, "scale", "scaling", error)
}
