//! One decoded frame to one picture per rung: deinterlace, scale, tone-map and turn as planned, each rung scaled from
//! the next larger one.

mod chain;
#[cfg(test)]
mod tests;
pub(super) mod tone_map;

use ffmpeg_next::color::{Range, Space};
use ffmpeg_next::{Error, filter, format, frame};
use shared::error::{ErrorKind, TaskError};
use shared::source::DynamicRange;
use shared::task::VideoTask;

use self::chain::Chain;
use super::{Picture, Pictures, Scale};
use crate::av;
use crate::task::ffmpeg_error;

/// A filter graph, rebuilt when the decoder changes its picture size or format.
pub struct Scaler {
    chain: Chain,
    graph: Option<(Shape, filter::Graph)>,
}

/// What a graph is built for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    format: format::Pixel,
    width: u32,
    height: u32,
    full_range: bool,
}

impl Scaler {
    /// Pictures for the renditions of `task`, in its order (largest first).
    pub fn new(task: &VideoTask) -> Self {
        let sizes = task.renditions.iter().map(|rendition| (rendition.width_px, rendition.height_px)).collect();
        let chain =
            Chain { sizes, timescale: task.stream.timescale, color: task.stream.color, transform: task.transform };
        Self { chain, graph: None }
    }

    fn scale(&mut self, frame: frame::Video) -> Result<Vec<Pictures>, TaskError> {
        let mut frame = av::aligned(frame).map_err(scale_error)?;
        let shape = self.shape_of(&frame);
        if frame.color_space() == Space::RGB {
            frame.set_color_space(Space::BT470BG); // either RGB, of which swscale makes BT.601, or YCbCr that is mislabelled
        }
        let mut ready = Vec::new();
        if self.graph.as_ref().is_some_and(|(known, _)| *known != shape) {
            ready = self.end()?;
        }
        if self.graph.is_none() {
            filter::find("zscale").ok_or_else(no_zimg)?;
            self.graph = Some((shape, self.build(shape).map_err(scale_error)?));
        }
        let Some((_, graph)) = &mut self.graph else { return Ok(ready) };
        source(graph)?.source().add(&frame).map_err(scale_error)?;
        self.drain(&mut ready)?;
        Ok(ready)
    }

    fn shape_of(&self, frame: &frame::Video) -> Shape {
        let format = frame.format();
        let full_by_name = format.descriptor().is_some_and(|format| format.name().starts_with("yuvj"));
        Shape {
            format,
            width: frame.width(),
            height: frame.height(),
            full_range: self.chain.color.full_range || full_by_name || frame.color_range() == Range::JPEG,
        }
    }

    fn end(&mut self) -> Result<Vec<Pictures>, TaskError> {
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
            let mut pictures = Pictures::with_capacity(self.chain.sizes.len());
            for rung in 0..self.chain.sizes.len() {
                let mut picture = frame::Video::empty();
                let mut sink =
                    graph.get(&format!("out{rung}")).ok_or_else(|| TaskError::bug("the graph has no sink"))?;
                match sink.sink().frame(&mut picture) {
                    Ok(()) => pictures.push(Picture::Host(picture)),
                    Err(Error::Eof) => break,
                    Err(Error::Other { errno }) if errno == ffmpeg_next::error::EAGAIN => break,
                    Err(error) => return Err(scale_error(error)),
                }
            }
            match pictures.len() {
                0 => return Ok(()),
                full if full == self.chain.sizes.len() => ready.push(pictures),
                some => {
                    return Err(TaskError::bug(format!("{some} of {} rungs got a picture", self.chain.sizes.len())));
                }
            }
        }
    }

    fn build(&self, shape: Shape) -> Result<filter::Graph, Error> {
        let mut graph = filter::Graph::new();
        av::single_threaded(&mut graph);
        let find = |name| filter::find(name).ok_or(Error::FilterNotFound);
        let timescale = self.chain.timescale.get();
        let arguments = format!(
            "video_size={}x{}:pix_fmt={}:time_base=1/{timescale}:pixel_aspect=1/1",
            shape.width,
            shape.height,
            shape.format.descriptor().map_or("", |descriptor| descriptor.name()),
        );
        graph.add(&find("buffer")?, "in", &arguments)?;
        for rung in 0..self.chain.sizes.len() {
            graph.add(&find("buffersink")?, &format!("out{rung}"), "")?;
        }
        if self.chain.transform.tone_map {
            let side = tone_map::SIDE_PX;
            let format = tone_map::FORMAT.descriptor().map_or("", |descriptor| descriptor.name());
            let arguments = format!("video_size={side}x{side}:pix_fmt={format}:time_base=1/{timescale}");
            graph.add(&find("buffer")?, "table", &arguments)?;
        }
        let mut parser = graph.output("in", 0)?;
        if self.chain.transform.tone_map {
            parser = parser.output("table", 0)?;
        }
        for rung in 0..self.chain.sizes.len() {
            parser = parser.input(&format!("out{rung}"), 0)?;
        }
        parser.parse(&self.chain.describe(shape))?;
        graph.validate()?;
        if self.chain.transform.tone_map {
            give_table(&mut graph, self.chain.color.dynamic_range())?;
        }
        Ok(graph)
    }
}

impl Scale for Scaler {
    fn push(&mut self, picture: Picture) -> Result<Vec<Pictures>, TaskError> {
        self.scale(picture.to_host()?)
    }

    fn finish(&mut self) -> Result<Vec<Pictures>, TaskError> {
        self.end()
    }
}

/// The table is one picture, there before any frame.
fn give_table(graph: &mut filter::Graph, range: DynamicRange) -> Result<(), Error> {
    let mut table = tone_map::table(range);
    table.set_pts(Some(-(1 << 48)));
    let mut source = graph.get("table").ok_or(Error::Bug)?;
    source.source().add(&table)?;
    source.source().flush()
}

fn source(graph: &mut filter::Graph) -> Result<filter::Context, TaskError> {
    graph.get("in").ok_or_else(|| TaskError::bug("the graph has no source"))
}

fn no_zimg() -> TaskError {
    TaskError::unsupported("filter", "this FFmpeg has no zscale: install a build that has libzimg")
}

fn scale_error(error: Error) -> TaskError {
    ffmpeg_error(ErrorKind::Bug, "scale", "scaling", error)
}
