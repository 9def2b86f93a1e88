//! `task.proto`: what the coordinator asks for.

use std::num::NonZeroU32;

use proto::v1;

use super::fleet::worker;
use super::{
    Wire, WireError, all_from_wire, all_to_wire, checked, even, nonzero, object_key, optional, plain_name,
    quarter_turn, required,
};
use crate::family::Family;
use crate::task::{
    AttemptId, AudioTask, ImagePlan, IndexTask, JobId, Places, StoryboardTask, Task, TaskId, TaskName, Transform,
    VideoTask, Work,
};
use crate::time::SegmentGrid;

impl Wire for TaskId {
    type Message = v1::TaskId;

    fn to_wire(&self) -> v1::TaskId {
        v1::TaskId { job: self.job.as_str().to_owned(), task: self.name.to_string() }
    }

    fn from_wire(message: v1::TaskId) -> Result<Self, WireError> {
        let job = JobId::try_from(message.job).map_err(|error| WireError::at("job", error))?;
        let name: TaskName = message.task.parse().map_err(|error| WireError::at("task", error))?;
        checked("task", message.task, |text| *text == name.to_string(), "how that task is spelt")?;
        Ok(Self { job, name })
    }
}

pub(super) fn attempt(number: u32) -> Result<AttemptId, WireError> {
    nonzero("attempt", number).map(AttemptId)
}

impl Wire for Places {
    type Message = v1::Places;

    fn to_wire(&self) -> v1::Places {
        v1::Places { source: self.source.clone(), target: self.target.clone(), work: self.work.clone() }
    }

    fn from_wire(message: v1::Places) -> Result<Self, WireError> {
        let place = |field, uri| checked(field, uri, |uri: &String| !uri.is_empty(), "a place");
        Ok(Self {
            source: place("source", message.source)?,
            target: place("target", message.target)?,
            work: place("work", message.work)?,
        })
    }
}

impl Wire for Task {
    type Message = v1::Task;

    fn to_wire(&self) -> v1::Task {
        v1::Task {
            id: Some(self.id.to_wire()),
            attempt: self.attempt.0,
            places: Some(self.places.to_wire()),
            source_mark: self.source_mark.clone(),
            work: Some(self.work.to_wire()),
            avoid: self.avoid.iter().map(ToString::to_string).collect(),
        }
    }

    fn from_wire(message: v1::Task) -> Result<Self, WireError> {
        let id: TaskId = required("id", message.id)?;
        let work: Work = required("work", message.work)?;
        let named = matches!(
            (id.name, &work),
            (TaskName::Index, Work::Index(_))
                | (TaskName::Video(_), Work::Video(_))
                | (TaskName::Audio(_), Work::Audio(_))
                | (TaskName::Storyboard, Work::Storyboard(_))
        );
        if !named {
            return Err(WireError::at("work", format_args!("not what {} is", id.name)));
        }
        let (attempt, places) = (attempt(message.attempt)?, required("places", message.places)?);
        let avoid = message.avoid.into_iter().map(|id| worker("avoid", id)).collect::<Result<_, _>>()?;
        Ok(Self { id, attempt, places, source_mark: message.source_mark, work, avoid, trace: None })
    }
}

impl Wire for Work {
    type Message = v1::task::Work;

    fn to_wire(&self) -> v1::task::Work {
        match self {
            Self::Index(task) => v1::task::Work::Index(task.to_wire()),
            Self::Video(task) => v1::task::Work::Video(task.to_wire()),
            Self::Audio(task) => v1::task::Work::Audio(task.to_wire()),
            Self::Storyboard(task) => v1::task::Work::Storyboard(task.to_wire()),
        }
    }

    fn from_wire(message: v1::task::Work) -> Result<Self, WireError> {
        Ok(match message {
            v1::task::Work::Index(task) => Self::Index(Wire::from_wire(task)?),
            v1::task::Work::Video(task) => Self::Video(Wire::from_wire(task)?),
            v1::task::Work::Audio(task) => Self::Audio(Wire::from_wire(task)?),
            v1::task::Work::Storyboard(task) => Self::Storyboard(Wire::from_wire(task)?),
        })
    }
}

impl Wire for IndexTask {
    type Message = v1::IndexTask;

    fn to_wire(&self) -> v1::IndexTask {
        v1::IndexTask { max_pixels: self.max_pixels, growing_ms: self.growing_ms.map(NonZeroU32::get) }
    }

    fn from_wire(message: v1::IndexTask) -> Result<Self, WireError> {
        let zero = || WireError("growing_ms: 0".to_owned());
        let growing_ms = message.growing_ms.map(|ms| NonZeroU32::new(ms).ok_or_else(zero)).transpose()?;
        Ok(Self { max_pixels: nonzero("max_pixels", message.max_pixels)?, growing_ms })
    }
}

/// The segment duration says it all.
fn grid(segment_ms: u32) -> Result<SegmentGrid, WireError> {
    let why = || WireError::at("segment_ms", format_args!("{segment_ms} is not a duration segments may have"));
    SegmentGrid::new(segment_ms).ok_or_else(why)
}

impl Wire for VideoTask {
    type Message = v1::VideoTask;

    fn to_wire(&self) -> v1::VideoTask {
        v1::VideoTask {
            stream: Some(self.stream.to_wire()),
            lists: all_to_wire(&self.lists),
            start: self.start,
            end: self.end,
            segment_ms: self.grid.segment_ms(),
            segment_count: self.segment_count,
            transform: Some(self.transform.to_wire()),
            color: Some(self.color.to_wire()),
            renditions: all_to_wire(&self.renditions),
            images: self.images.as_ref().map(Wire::to_wire),
            pins: self.pins.iter().map(pin_to_wire).collect(),
        }
    }

    fn from_wire(message: v1::VideoTask) -> Result<Self, WireError> {
        let start = checked("start", message.start, |start| *start >= 0, "in the presentation")?;
        let after_start = |end| checked("end", end, |end| *end > start, "after the start");
        if message.renditions.is_empty() {
            return Err(WireError::at("renditions", "none"));
        }
        Ok(Self {
            stream: required("stream", message.stream)?,
            lists: all_from_wire("lists", message.lists)?,
            start,
            end: message.end.map(after_start).transpose()?,
            grid: grid(message.segment_ms)?,
            segment_count: message.segment_count.map(|count| nonzero("segment_count", count)).transpose()?,
            transform: required("transform", message.transform)?,
            color: required("color", message.color)?,
            renditions: all_from_wire("renditions", message.renditions)?,
            images: optional("images", message.images)?,
            pins: message.pins.into_iter().map(pin_from_wire).collect::<Result<_, _>>()?,
        })
    }
}

fn pin_to_wire((rendition, family): (&String, &Family)) -> v1::Pin {
    v1::Pin { rendition: rendition.clone(), family: family.to_string() }
}

fn pin_from_wire(message: v1::Pin) -> Result<(String, Family), WireError> {
    let family = message.family.parse().map_err(|error| WireError::at("pins.family", error))?;
    Ok((plain_name("pins.rendition", message.rendition)?, family))
}

impl Wire for Transform {
    type Message = v1::Transform;

    fn to_wire(&self) -> v1::Transform {
        v1::Transform {
            rotation: self.rotation,
            mirror: self.mirror,
            deinterlace: self.deinterlace,
            tone_map: self.tone_map,
        }
    }

    fn from_wire(message: v1::Transform) -> Result<Self, WireError> {
        Ok(Self {
            rotation: quarter_turn("rotation", message.rotation)?,
            mirror: message.mirror,
            deinterlace: message.deinterlace,
            tone_map: message.tone_map,
        })
    }
}

impl Wire for ImagePlan {
    type Message = v1::ImagePlan;

    fn to_wire(&self) -> v1::ImagePlan {
        v1::ImagePlan {
            tile_interval_ms: self.tile_interval_ms,
            tile_width_px: self.tile_width_px,
            tile_height_px: self.tile_height_px,
            poster_at: self.poster_at,
        }
    }

    fn from_wire(message: v1::ImagePlan) -> Result<Self, WireError> {
        Ok(Self {
            tile_interval_ms: nonzero("tile_interval_ms", message.tile_interval_ms)?,
            tile_width_px: even("tile_width_px", message.tile_width_px)?,
            tile_height_px: even("tile_height_px", message.tile_height_px)?,
            poster_at: message.poster_at,
        })
    }
}

impl Wire for AudioTask {
    type Message = v1::AudioTask;

    fn to_wire(&self) -> v1::AudioTask {
        v1::AudioTask {
            stream: Some(self.stream.to_wire()),
            lists: all_to_wire(&self.lists),
            segment_ms: self.grid.segment_ms(),
            segment_count: self.segment_count,
            rendition: Some(self.rendition.to_wire()),
        }
    }

    fn from_wire(message: v1::AudioTask) -> Result<Self, WireError> {
        Ok(Self {
            stream: required("stream", message.stream)?,
            lists: all_from_wire("lists", message.lists)?,
            grid: grid(message.segment_ms)?,
            segment_count: nonzero("segment_count", message.segment_count)?,
            rendition: required("rendition", message.rendition)?,
        })
    }
}

impl Wire for StoryboardTask {
    type Message = v1::StoryboardTask;

    fn to_wire(&self) -> v1::StoryboardTask {
        v1::StoryboardTask {
            tiles: self.tiles.clone(),
            tile_width_px: self.tile_width_px,
            tile_height_px: self.tile_height_px,
            columns: self.columns,
            rows: self.rows,
        }
    }

    fn from_wire(message: v1::StoryboardTask) -> Result<Self, WireError> {
        Ok(Self {
            tiles: message.tiles.into_iter().map(|key| object_key("tiles", key)).collect::<Result<_, _>>()?,
            tile_width_px: even("tile_width_px", message.tile_width_px)?,
            tile_height_px: even("tile_height_px", message.tile_height_px)?,
            columns: nonzero("columns", message.columns)?,
            rows: nonzero("rows", message.rows)?,
        })
    }
}
