//! Pictures for people from the same decode: storyboard tiles and the poster.

use shared::error::TaskError;
use shared::task::{ImagePlan, StoredObject, VideoTask};
use shared::time::Timescale;

use crate::codec::Pictures;
use crate::jpeg;
use crate::task::{Area, Emission, Emit};

/// Widest poster.
const POSTER_WIDTH_PX: u32 = 1280;

/// Key of the poster, below the target prefix.
const POSTER_KEY: &str = "poster.jpg";

/// Takes what the plan asks for as frames go by.
pub struct ImageTaker {
    plan: Option<ImagePlan>,
    timescale: Timescale,
    next_tile: u64,
    /// Number and object of each tile so far.
    pub tiles: Vec<(u64, StoredObject)>,
    /// The poster, once taken.
    pub poster: Option<StoredObject>,
}

impl ImageTaker {
    /// For one chunk.
    pub fn new(task: &VideoTask) -> Self {
        let begins = Timescale::MILLIS.rescale_ceil(task.start, task.stream.timescale) as u64;
        let interval = task.images.map_or(1, |plan| u64::from(plan.tile_interval_ms.max(1)));
        Self {
            plan: task.images,
            timescale: task.stream.timescale,
            next_tile: begins.div_ceil(interval),
            tiles: Vec::new(),
            poster: None,
        }
    }

    /// Looks at the pictures of one moment, largest first.
    pub fn take(&mut self, pts: i64, pictures: &Pictures, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let Some(plan) = self.plan else { return Ok(()) };
        let number =
            Timescale::MILLIS.rescale_floor(pts, self.timescale) as u64 / u64::from(plan.tile_interval_ms.max(1));
        if number >= self.next_tile
            && let Some(smallest) = pictures.last()
        {
            let bytes = smallest.look(|tile| jpeg::encode_tile(tile, plan.tile_width_px, plan.tile_height_px))?;
            let object = StoredObject::of(format!("tiles/{number:06}"), &bytes);
            emit(Emission::Object { area: Area::Work, key: object.key.clone(), bytes })?;
            self.tiles.push((number, object));
            self.next_tile = number + 1;
        }
        let due = plan.poster_at.is_some_and(|at| pts >= at);
        if due && self.poster.is_none() {
            self.take_poster(pictures, emit)?;
        }
        Ok(())
    }

    fn take_poster(&mut self, pictures: &Pictures, emit: &mut Emit<'_>) -> Result<(), TaskError> {
        let fitting = pictures.iter().find(|picture| picture.width() <= POSTER_WIDTH_PX);
        let Some(picture) = fitting.or(pictures.last()) else { return Ok(()) };
        let jpeg =
            picture.look(|poster| jpeg::encode_jpeg(&jpeg::to_jfif(poster, poster.width(), poster.height())?))?;
        self.poster = Some(StoredObject::of(POSTER_KEY, &jpeg));
        emit(Emission::Object { area: Area::Target, key: POSTER_KEY.to_owned(), bytes: jpeg })
    }
}
