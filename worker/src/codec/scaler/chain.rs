//! The filters between a decoded frame and the rungs, as FFmpeg's graph language writes them.
//!
//! zimg scales (filter `zscale`): its Lanczos costs less than half of swscale's bicubic. swscale is left with the sources
//! that zimg can't read: packed, RGB, grey, with alpha, and pictures that end in half a chroma sample; and with the widths
//! that zimg gets wrong ([`misplaces`]).

use shared::source::Color;
use shared::task::Transform;
use shared::time::Timescale;

use super::Shape;

/// What becomes of every frame of a chunk.
pub(super) struct Chain {
    /// Width and height of each rung, largest first.
    pub(super) sizes: Vec<(u32, u32)>,
    pub(super) timescale: Timescale,
    /// As the source declares it.
    pub(super) color: Color,
    pub(super) transform: Transform,
}

impl Chain {
    /// `[in]…scale…split[out0][s1]; [s1]scale…split[out1][s2]; …`
    pub(super) fn describe(&self, shape: Shape) -> String {
        let mut steps = Vec::new();
        if self.transform.deinterlace {
            steps.push(format!("bwdif=mode=send_frame:deint=interlaced,settb=1/{}", self.timescale.get()));
        }
        steps.push(self.largest(shape));
        if self.transform.tone_map {
            steps.push(Self::tone_map().to_owned());
        }
        steps.extend(self.turn());
        let mut text = format!("[in]{}", steps.join(","));
        for (rung, (width, height)) in self.sizes.iter().enumerate() {
            if rung > 0 {
                let scale = match misplaces(self.sizes[rung - 1].0, *width) {
                    true => format!("scale={width}:{height}:flags=bicubic"),
                    false => format!("zscale={width}:{height}:filter=lanczos"),
                };
                text += &format!("[s{rung}]{scale},setsar=1");
            }
            if rung + 1 < self.sizes.len() {
                text += &format!(",split=2[out{rung}][s{}];", rung + 1);
            } else {
                text += &format!("[out{rung}]");
            }
        }
        text
    }

    /// The source in the size of the largest rung, still as the camera lay: planar 4:2:0, limited range, chroma samples
    /// at the left, which is what players take an untagged stream for.
    fn largest(&self, shape: Shape) -> String {
        let (width, height) = self.sizes[0];
        let (width, height) = if self.transform.rotation % 180 == 90 { (height, width) } else { (width, height) };
        let format = if self.transform.tone_map { "yuv420p10le" } else { "yuv420p" };
        let scale = if zimg_reads(shape) && !misplaces(shape.width, width) {
            let range = if shape.full_range { "full" } else { "limited" };
            // Ordered dither is the same in every run, and costs a quarter of diffused errors.
            let dither = if deep(shape) { "ordered" } else { "none" };
            format!("zscale={width}:{height}:filter=lanczos:dither={dither}:rin={range}:r=limited:c=left")
        } else {
            let range = if shape.full_range { ":in_range=full:out_range=limited" } else { "" };
            format!("scale={width}:{height}:flags=bicubic{range}")
        };
        format!("{scale},format={format},setsar=1")
    }

    /// PQ or HLG in BT.2020 to BT.709: to R′G′B′, every colour looked up in the table, and back. The transfer is named
    /// alike on both sides, so that zimg leaves it alone.
    fn tone_map() -> &'static str {
        "zscale=min=bt2020nc:pin=bt709:tin=bt709:rin=limited:m=gbr:p=bt709:t=bt709:r=full,format=gbrp12le,\
         scale,format=rgb48le[hdr];[hdr][table]haldclut=clut=first,scale,format=gbrp12le,\
         zscale=min=gbr:pin=bt709:tin=bt709:rin=full:m=bt709:p=bt709:t=bt709:r=limited:c=left:dither=ordered,\
         format=yuv420p"
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

/// Planar YCbCr in the machine's byte order, with a whole number of chroma samples each way.
fn zimg_reads(shape: Shape) -> bool {
    let Some(format) = shape.format.descriptor() else { return false };
    let planar = ["yuv4", "yuvj4"].iter().any(|start| format.name().starts_with(start));
    let whole = |samples: u32, log2: u8| samples.is_multiple_of(1 << log2);
    planar
        && !format.name().ends_with("be")
        && whole(shape.width, format.log2_chroma_w())
        && whole(shape.height, format.log2_chroma_h())
}

/// Widths that shrink to a little less than half come out of zimg with columns that lie where others belong (3.0.4, from
/// 1 ÷ 2.00 to some 1 ÷ 2.07); neither heights nor any other ratio.
fn misplaces(from: u32, to: u32) -> bool {
    from > 2 * to && 10 * from < 21 * to
}

/// More than 8 bits a sample: only such formats have a byte order.
fn deep(shape: Shape) -> bool {
    shape.format.descriptor().is_some_and(|format| format.name().ends_with("le"))
}
