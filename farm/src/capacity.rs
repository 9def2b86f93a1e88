//! `farm capacity`: how many cores, cards and nodes so many minutes a day take, and what they cost.

mod plan;
mod speeds;

use std::fmt::Write;
use std::str::FromStr;

use coordinator::ladder::{Ladder, ladder};
use coordinator::profile::Profile;
use proto::v1;
use serde::Serialize;
use shared::rendition::VideoCodec;
use shared::source::{Color, DecoderSetup, Timing, VideoStream};
use shared::time::{FrameRate, Timescale};

use crate::client::{Remote, fleet};
use crate::exit::{Exit, Failure};
use crate::progress::{print_json, print_text};
use crate::recipe::Recipe;
use plan::{Demand, Nodes, Plan, Speed};
use speeds::{CARDS, Card, Origin, core_ms_per_megapixel};

/// How to find out what nobody has measured.
const MEASURE: &str = "measure it: `farm transcode` ten minutes of what comes, with the same --profile, --preset and --rungs, on \
    the kind of CPU that is meant; the `x real time` that it ends with, divided by the cores, is --speed. Or ask a farm that has \
    made such chunks with --server";
/// Cores of a node, if nothing is said.
const CORES: u32 = 16;

/// Say how many cores, cards and nodes a load takes, and what they cost
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  farm capacity 10000                            minutes of source a day, on CPUs
  farm capacity 10000 --gpu l4 --peak 4          on GPUs; the busiest hour has four times the average
  farm capacity 10000 --node-price 0.7 --storage-price 0.023 --keep-days 365
  farm capacity 10000 --server farm:7600         as fast as the workers of that farm are now

How fast a core is was measured with one film on one kind of CPU, what GPUs do is what NVIDIA publishes: the answer says
which. Give --speed when you know better, or ask a farm that works. Storage and what is written are upper limits: profiles
name ceilings, and most pictures need less.")]
pub struct Args {
    /// Minutes of source a day
    #[arg(value_name = "MINUTES", value_parser = positive)]
    minutes_per_day: f64,
    #[command(flatten)]
    recipe: Recipe,
    /// What sources are like: size and frames a second
    #[arg(long, default_value = "1920x1080@30", value_name = "WxH@FPS")]
    source: Picture,
    /// Their rate, in kbit/s
    #[arg(long, default_value = "10000", value_name = "KBPS", value_parser = positive)]
    source_rate: f64,
    /// The busiest hour, in times the average
    #[arg(long, default_value = "3", value_name = "TIMES", value_parser = positive)]
    peak: f64,
    /// Encode on cards of this kind: t4, a10, a40, l4, l40s, rtx4090, rtx5080, rtx5090, rtxpro6000
    #[arg(long, value_name = "CARD")]
    gpu: Option<String>,
    /// Cores of a node, or cards with --gpu; 16, or 1
    #[arg(long, value_name = "COUNT")]
    per_node: Option<u32>,
    /// Seconds of source that one core (one card with --gpu) makes in a second, instead of what is known
    #[arg(long, value_name = "TIMES", value_parser = positive)]
    speed: Option<f64>,
    /// Percent of the slots that are paid and work; what deploy/SCALING.md found for a day of bursts
    #[arg(long, default_value = "85", value_name = "PERCENT", value_parser = positive)]
    busy: f64,
    /// For how long presentations are kept
    #[arg(long, default_value = "30", value_name = "DAYS", value_parser = positive)]
    keep_days: f64,
    /// For an hour of a node
    #[arg(long, default_value = "0", value_name = "PRICE", value_parser = not_negative)]
    node_price: f64,
    /// For a gigabyte for a month
    #[arg(long, default_value = "0", value_name = "PRICE", value_parser = not_negative)]
    storage_price: f64,
    #[command(flatten)]
    remote: Remote,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0).ok_or("a number above 0".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0).ok_or("0 or more".to_owned())
}

/// What sources look like.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Picture {
    width_px: u32,
    height_px: u32,
    frames_per_second: u32,
}

impl FromStr for Picture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|number| (1..=16_384).contains(number));
        let parts = text.split_once('@').and_then(|(size, rate)| Some((size.split_once('x')?, rate)));
        let parsed = parts.and_then(|((width, height), rate)| {
            Some(Self { width_px: number(width)?, height_px: number(height)?, frames_per_second: number(rate)? })
        });
        parsed.ok_or_else(|| "not like 1920x1080@30".to_owned())
    }
}

impl Picture {
    /// As an index would find it.
    fn stream(self) -> VideoStream {
        VideoStream {
            index: 0,
            codec: "h264".to_owned(),
            setup: DecoderSetup(Vec::new()),
            timescale: Timescale::MILLIS,
            width_px: self.width_px,
            height_px: self.height_px,
            sample_aspect: (1, 1),
            rotation: 0,
            mirrored: false,
            frame_rate: FrameRate { numerator: self.frames_per_second, denominator: 1 },
            interlaced: false,
            pixel_format: "yuv420p".to_owned(),
            color: Color { primaries: 1, transfer: 1, matrix: 1, full_range: false },
            timing: Timing::Packets,
        }
    }
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    demand: Demand,
    /// Names of the rungs.
    rungs: Vec<String>,
    /// Codec and preset, or the card.
    encoder: String,
    nodes: Nodes,
    speed: Speed,
    plan: Plan,
}

/// `farm capacity`.
///
/// # Errors
/// `profile`, `recipe`; `speed_unknown` where nobody has measured or published it; what a farm that is asked refuses.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let profile = args.recipe.resolve()?;
    let made = ladder(&profile, &args.source.stream(), None, &args.recipe.rungs);
    let Some(first) = made.video.first() else {
        return Err(Failure::new(Exit::Usage, "recipe", "no video would be made: sound alone takes next to nothing"));
    };
    let card = args.gpu.as_deref().map(card).transpose()?;
    let preset = args.recipe.preset.clone().unwrap_or_else(|| first.preset.clone());
    let demand = demand(&args, &profile, &made);
    let speed = match (args.speed, &args.remote.server) {
        (Some(times_real_time), _) => Speed { times_real_time, origin: Origin::Given },
        (None, Some(server)) => of_farm(&args.remote, server, card.is_some()).await?,
        (None, None) => known(&demand, card, first.codec, &preset)?,
    };
    let units = args.per_node.unwrap_or(if card.is_some() { 1 } else { CORES }).max(1);
    let nodes = Nodes { units, price: args.node_price, storage_price: args.storage_price };
    let codec = first.codec.as_str();
    let encoder = card.map_or_else(|| format!("{codec} {preset}"), |card| format!("{codec} on {}", card.name));
    let plan = demand.plan(nodes, &speed);
    let rungs = made.video.iter().map(|rung| rung.name.clone()).collect();
    let answer = Answer { demand, rungs, encoder, nodes, speed, plan };
    if args.remote.json {
        print_json(&answer);
    } else {
        print_text(&table(&args, &answer))?;
    }
    Ok(Exit::Done)
}

fn demand(args: &Args, profile: &Profile, made: &Ladder) -> Demand {
    let audio_bps = profile.audio.as_ref().map_or(0.0, |audio| f64::from(audio.bitrate_kbps) * 1000.0);
    let video_bps: f64 = made.video.iter().map(|rung| f64::from(rung.rate.maxrate_bps)).sum();
    Demand {
        minutes_per_day: args.minutes_per_day,
        frames_per_second: f64::from(args.source.frames_per_second),
        source_megapixels: megapixels(args.source.width_px, args.source.height_px),
        source_bps: args.source_rate * 1000.0,
        megapixels: made.video.iter().map(|rung| megapixels(rung.width_px, rung.height_px)).sum(),
        output_bps: video_bps + audio_bps,
        peak: args.peak,
        busy_percent: args.busy.min(100.0),
        keep_days: args.keep_days,
    }
}

fn megapixels(width_px: u32, height_px: u32) -> f64 {
    f64::from(width_px) * f64::from(height_px) / 1e6
}

fn card(name: &str) -> Result<Card, Failure> {
    let names: Vec<&str> = CARDS.iter().map(|card| card.name).collect();
    let unknown = || {
        Failure::new(Exit::Usage, "gpu", format!("nothing is published of {name:?}, or it has no encoder"))
            .help(format!("known are {}; others with --speed and one of these names", names.join(", ")))
    };
    Card::named(&name.to_lowercase()).ok_or_else(unknown)
}

/// What is measured or published.
fn known(demand: &Demand, card: Option<Card>, codec: VideoCodec, preset: &str) -> Result<Speed, Failure> {
    let unknown = |text: String| Failure::new(Exit::Usage, "speed_unknown", text).help("give --speed");
    if let Some(card) = card {
        let encodes = card.encodes_fps(codec);
        let encodes = encodes.ok_or_else(|| unknown(format!("{} does not encode {}", card.name, codec.as_str())))?;
        return Ok(Speed { times_real_time: demand.card_speed(card, encodes), origin: card.origin() });
    }
    let (ms, origin) = core_ms_per_megapixel(codec, preset).ok_or_else(|| {
        let text = format!("nobody has measured {} with the preset {preset} on a core yet", codec.as_str());
        Failure::new(Exit::Usage, "speed_unknown", text).help(MEASURE)
    })?;
    Ok(Speed { times_real_time: demand.core_speed(ms), origin })
}

/// What the workers of a farm have made lately: slots of CPUs are cores, slots of a worker with GPUs its card.
async fn of_farm(remote: &Remote, server: &str, gpu: bool) -> Result<Speed, Failure> {
    let mut client = fleet(remote.connect().await?);
    let workers = client.list_workers(v1::ListWorkersRequest {}).await?.into_inner().workers;
    let of = |worker: &v1::Worker| match gpu {
        true => (worker.gpu_speed_ms_per_s, worker.gpu_slots),
        false => (worker.speed_ms_per_s, 1),
    };
    let speeds: Vec<f64> = workers
        .iter()
        .map(of)
        .filter(|(speed, slots)| *speed > 0 && *slots > 0)
        .map(|(speed, slots)| f64::from(speed) / 1000.0 * f64::from(slots))
        .collect();
    if speeds.is_empty() {
        let text = format!("no worker at {server} has encoded a chunk yet");
        return Err(Failure::new(Exit::Usage, "speed_unknown", text).help("try again when one has, or give --speed"));
    }
    let times_real_time = speeds.iter().sum::<f64>() / speeds.len() as f64;
    Ok(Speed { times_real_time, origin: Origin::Farm(server.to_owned()) })
}

fn table(args: &Args, answer: &Answer) -> String {
    let Answer { rungs, encoder, nodes, speed, plan, .. } = answer;
    let Picture { width_px, height_px, frames_per_second } = args.source;
    let (one, many) = if args.gpu.is_some() { ("card", "cards") } else { ("core", "cores") };
    let mut text = format!(
        "{} min a day of {width_px}x{height_px}@{frames_per_second}: {}, {encoder}\n",
        args.minutes_per_day,
        rungs.join(" ")
    );
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:9} {value}");
    };
    let origin = match &speed.origin {
        Origin::Measured(source) => format!("measured: {source}"),
        Origin::Published(source) => format!("published, not measured: {source}"),
        Origin::Farm(server) => format!("measured by the workers at {server}"),
        Origin::Given => "as given".to_owned(),
    };
    line("speed", format!("{:.2}x real time a {one} ({origin})", speed.times_real_time));
    line("work", format!("{:.1} min of source a minute, {:.1} in the busiest hour", plan.average, plan.peak));
    let busy = args.busy;
    line(
        many,
        format!("{:.1} busy on average; {:.1} in the busiest hour, {busy} % busy", plan.units_average, plan.units_peak),
    );
    let hours = plan.node_hours_per_day;
    line(
        "nodes",
        format!(
            "{} of {} {many} in the busiest hour; {hours:.1} node hours a day if they come and go",
            plan.nodes_peak, nodes.units
        ),
    );
    line(
        "storage",
        format!(
            "at most {:.0} GB a day, {:.0} GB in {} days",
            plan.storage_gb_per_day, plan.storage_gb, args.keep_days
        ),
    );
    line(
        "network",
        format!(
            "{:.0} Mbit/s read, at most {:.0} Mbit/s written in the busiest hour",
            plan.read_mbps_peak, plan.write_mbps_peak
        ),
    );
    let carries = plan.coordinator_percent;
    line(
        "control",
        format!(
            "{:.1} chunks/s in the busiest hour, {carries:.1} % of what one coordinator was measured to carry",
            plan.chunks_per_s_peak
        ),
    );
    if let Some(price) = plan.price_per_1000_minutes {
        let part = |name: &str, price: Option<f64>| price.map(|price| format!("{price:.2} a day for {name}"));
        let parts = [part("nodes", plan.nodes_price_per_day), part("storage", plan.storage_price_per_day)];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        line("price", format!("{}; {price:.2} for 1000 min", parts.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_given_as_people_write_them() {
        let picture = Picture { width_px: 1280, height_px: 720, frames_per_second: 25 };
        assert_eq!("1280x720@25".parse(), Ok(picture));
        for wrong in ["720p", "1280x720", "0x720@25", "1280x720@x", "1280x720@-1"] {
            assert!(wrong.parse::<Picture>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_nobody_knows_is_not_made_up() {
        let demand = Demand {
            minutes_per_day: 1.0,
            frames_per_second: 25.0,
            source_megapixels: 1.0,
            source_bps: 1.0,
            megapixels: 1.0,
            output_bps: 1.0,
            peak: 1.0,
            busy_percent: 100.0,
            keep_days: 1.0,
        };
        let unknown = known(&demand, None, VideoCodec::Hevc, "veryfast").unwrap_err();
        assert_eq!(unknown.code, "speed_unknown");
        assert_eq!(known(&demand, Card::named("t4"), VideoCodec::Av1, "").unwrap_err().code, "speed_unknown");
        assert_eq!(card("h100").unwrap_err().code, "gpu");
        assert!(matches!(known(&demand, None, VideoCodec::Av1, "8").unwrap().origin, Origin::Measured(_)));
    }
}
