//! From what is asked for to what it takes. Pure.

use serde::Serialize;

use super::speeds::{Card, FULL_HD, Origin};

/// Chunks a second that one coordinator was measured to carry, with NATS and etcd (benches/RESULTS.md, The control plane).
const COORDINATOR_CHUNKS_PER_S: f64 = 1_433.0;
/// Seconds of an ordinary chunk: 340 s in 20 chunks.
const CHUNK_S: f64 = 17.0;
/// Times that a source is read: once to index it, once to encode it.
const SOURCE_READS: f64 = 2.0;
const MINUTES_PER_DAY: f64 = 1_440.0;
const GB: f64 = 1e9;

/// What is asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Demand {
    /// Minutes of source.
    pub minutes_per_day: f64,
    /// Frames of a source, in a second.
    pub frames_per_second: f64,
    /// Pixels of a frame of a source, in millions.
    pub source_megapixels: f64,
    /// Of a source, in bits a second.
    pub source_bps: f64,
    /// Pixels of a frame in all rungs, in millions.
    pub megapixels: f64,
    /// Ceilings of all renditions, sound included, in bits a second.
    pub output_bps: f64,
    /// The busiest hour, in times the average.
    pub peak: f64,
    /// Percent of the slots that are paid and work.
    pub busy_percent: f64,
    /// For how long presentations are kept.
    pub keep_days: f64,
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Nodes {
    /// Cores or cards of one.
    pub units: u32,
    /// For an hour of one; 0: not given.
    pub price: f64,
    /// For a gigabyte for a month; 0: not given.
    pub storage_price: f64,
}

/// What a core or a card does.
#[derive(Debug, Clone, Serialize)]
pub struct Speed {
    /// Seconds of source that it makes in a second, in all renditions.
    pub times_real_time: f64,
    /// Who says so.
    pub origin: Origin,
}

/// What it takes.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Minutes of source that come in a minute, on average.
    pub average: f64,
    /// The same in the busiest hour.
    pub peak: f64,
    /// Cores or cards that are busy on average.
    pub units_average: f64,
    /// Cores or cards in the busiest hour, those that wait included.
    pub units_peak: f64,
    /// Nodes in the busiest hour.
    pub nodes_peak: u32,
    /// Hours of nodes a day, where they come and go with the work.
    pub node_hours_per_day: f64,
    /// Gigabytes a day, at most: ceilings of rate control are seldom reached.
    pub storage_gb_per_day: f64,
    /// Gigabytes of all that is kept, at most.
    pub storage_gb: f64,
    /// Read by workers in the busiest hour, in Mbit/s.
    pub read_mbps_peak: f64,
    /// Written by workers in the busiest hour, in Mbit/s, at most.
    pub write_mbps_peak: f64,
    /// Chunks a second in the busiest hour.
    pub chunks_per_s_peak: f64,
    /// Of what one coordinator was measured to carry, in percent.
    pub coordinator_percent: f64,
    /// A day of nodes, of those that come and go.
    pub nodes_price_per_day: Option<f64>,
    /// A day of storage, once as much is kept as is to be.
    pub storage_price_per_day: Option<f64>,
    /// A thousand minutes of source, all in all.
    pub price_per_1000_minutes: Option<f64>,
}

impl Demand {
    /// Times real time of a core that takes so long for a million pixels.
    pub fn core_speed(&self, ms_per_megapixel: f64) -> f64 {
        1000.0 / (self.frames_per_second * self.megapixels * ms_per_megapixel)
    }

    /// Times real time of a card whose encoders make `encodes_fps` of 1080p each: as fast as the slower of its encoders and
    /// decoders.
    pub fn card_speed(&self, card: Card, encodes_fps: f64) -> f64 {
        let per_second = |engines: u32, fps: f64, megapixels: f64| {
            f64::from(engines) * fps * FULL_HD / (self.frames_per_second * megapixels)
        };
        let encoding = per_second(card.nvenc, encodes_fps, self.megapixels);
        encoding.min(per_second(card.nvdec, card.decodes_fps(), self.source_megapixels))
    }

    /// What it takes with nodes of this kind.
    pub fn plan(&self, nodes: Nodes, speed: &Speed) -> Plan {
        let average = self.minutes_per_day / MINUTES_PER_DAY;
        let peak = average * self.peak;
        let busy = self.busy_percent / 100.0;
        let units_average = average / speed.times_real_time;
        let units_peak = peak / speed.times_real_time / busy;
        let node_hours_per_day = units_average * 24.0 / busy / f64::from(nodes.units);
        let storage_gb_per_day = self.minutes_per_day * 60.0 * self.output_bps / 8.0 / GB;
        let storage_gb = storage_gb_per_day * self.keep_days;
        let chunks_per_s_peak = peak / CHUNK_S;
        let nodes_price_per_day = (nodes.price > 0.0).then_some(node_hours_per_day * nodes.price);
        let storage_price_per_day =
            (nodes.storage_price > 0.0).then_some(storage_gb * nodes.storage_price * 12.0 / 365.0);
        let parts = [nodes_price_per_day, storage_price_per_day].into_iter().flatten();
        let total = parts.reduce(|total, part| total + part);
        Plan {
            average,
            peak,
            units_average,
            units_peak,
            nodes_peak: (units_peak / f64::from(nodes.units)).ceil().max(1.0) as u32,
            node_hours_per_day,
            storage_gb_per_day,
            storage_gb,
            read_mbps_peak: peak * self.source_bps * SOURCE_READS / 1e6,
            write_mbps_peak: peak * self.output_bps / 1e6,
            chunks_per_s_peak,
            coordinator_percent: chunks_per_s_peak / COORDINATOR_CHUNKS_PER_S * 100.0,
            nodes_price_per_day,
            storage_price_per_day,
            price_per_1000_minutes: total.map(|total| total / self.minutes_per_day * 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::speeds::core_ms_per_megapixel;
    use super::*;
    use shared::rendition::VideoCodec;

    fn demand() -> Demand {
        Demand {
            minutes_per_day: 14_400.0,
            frames_per_second: 25.0,
            source_megapixels: FULL_HD,
            source_bps: 1e7,
            megapixels: 3.6355,
            output_bps: 1e7,
            peak: 3.0,
            busy_percent: 80.0,
            keep_days: 30.0,
        }
    }

    #[test]
    fn a_core_is_as_fast_as_it_was_measured() {
        let (ms, _) = core_ms_per_megapixel(VideoCodec::H264, "veryfast").unwrap();
        let speed = demand().core_speed(ms);
        assert!((speed - 65.0 / 59.9).abs() < 0.01, "65 s took 59.9 CPU s: {speed}");
        assert!(core_ms_per_megapixel(VideoCodec::Hevc, "veryfast").is_none(), "nobody has measured that");
    }

    #[test]
    fn a_card_is_as_fast_as_its_slower_engines() {
        let l4 = Card::named("l4").unwrap();
        let speed = demand().card_speed(l4, l4.encodes_fps(VideoCodec::H264).unwrap());
        assert!((speed - 2.0 * 283.0 / 25.0 * FULL_HD / 3.6355).abs() < 1e-9, "{speed}");
        let small = Demand { megapixels: 0.1, ..demand() };
        assert!((small.card_speed(l4, 283.0) - 4.0 * 903.0 / 25.0).abs() < 1e-9, "its decoders are the slower ones");
        assert_eq!(Card::named("t4").unwrap().encodes_fps(VideoCodec::Av1), None);
    }

    #[test]
    fn a_plan_is_arithmetic() {
        let nodes = Nodes { units: 16, price: 0.5, storage_price: 0.02 };
        let speed = Speed { times_real_time: 1.0, origin: Origin::Given };
        let plan = demand().plan(nodes, &speed);
        assert_eq!((plan.average, plan.peak, plan.units_average, plan.units_peak), (10.0, 30.0, 10.0, 37.5));
        assert_eq!((plan.nodes_peak, plan.node_hours_per_day), (3, 18.75));
        assert_eq!((plan.storage_gb_per_day, plan.storage_gb), (1_080.0, 32_400.0));
        assert_eq!((plan.read_mbps_peak, plan.write_mbps_peak), (600.0, 300.0));
        assert_eq!(plan.nodes_price_per_day, Some(9.375));
        let price = (9.375 + 32_400.0 * 0.02 * 12.0 / 365.0) / 14.4;
        assert!((plan.price_per_1000_minutes.unwrap() - price).abs() < 1e-9);
        let free = demand().plan(Nodes { price: 0.0, storage_price: 0.0, ..nodes }, &speed);
        assert_eq!(free.price_per_1000_minutes, None);
    }
}
