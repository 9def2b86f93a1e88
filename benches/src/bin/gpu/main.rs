//! What an NVIDIA card does with this project's own code, checked against software and against what NVIDIA publishes:
//! `benches/gpu/check` runs it.
//!
//! Each stage runs in a process of its own with a time of its own, because a driver that crashes or hangs takes its
//! process along; what a stage has found until then is kept.
//!
//! | stage | what |
//! |---|---|
//! | `inventory` | the driver's libraries, the card |
//! | `kernels` | PTX loads, pictures are the reference's bit by bit; speed of scaling and of the bus |
//! | `decode` | NVDEC's capabilities; clips, sample by sample, against libavcodec |
//! | `parallel` | 1, 2, 4 and 8 decoders at once |
//! | `nvenc` | version, status of opening a session, capabilities, sessions, speed |
//! | `zero-copy` | this card's NVDEC and CUDA with the emulated NVENC |
//! | `ladder` | NVDEC, CUDA and x264 against FFmpeg alone |
//! | `farm` | `farm doctor`, and `farm transcode` with the card and without |
#![forbid(unsafe_code)]

mod bench;
mod child;
mod ffmpeg;
mod findings;
mod picture;
mod published;
mod report;
mod stages;
mod stream;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use bench::Bench;
use findings::Findings;
use report::{Report, Section};

/// All stages together: a lent machine's command ends after ten minutes.
const WHOLE: Duration = Duration::from_secs(570);

/// Checks an NVIDIA card with this project's own code. Without one it says so and ends well.
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// All findings as JSON, instead of the tables
    #[arg(long)]
    json: bool,
    /// Play this card on the emulators: t4, rtx3060, l4 or h200
    #[arg(long, value_name = "CARD")]
    on_emulator: Option<String>,
    /// Faults that the emulators make, to see whether they are found, such as decode:wrong
    #[arg(long, value_name = "FAULTS", default_value = "", hide_default_value = true, requires = "on_emulator")]
    faults: String,
    /// The card's number, counted from 0
    #[arg(long, default_value_t = 0)]
    device: u32,
    /// Folders of clips to decode
    #[arg(long, value_name = "FOLDER")]
    clips: Vec<PathBuf>,
    /// Stages to run; all if left out
    #[arg(long, value_name = "STAGE")]
    only: Vec<Stage>,
    /// Fewer and smaller pictures: figures mean nothing then
    #[arg(long)]
    quick: bool,
    /// Run one stage in this process, and print its findings as JSON, one a line
    #[arg(long, hide = true)]
    stage: Option<Stage>,
    /// Where stages keep what they make
    #[arg(long, hide = true)]
    scratch: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    #[value(hide = true)]
    Look,
    Inventory,
    Kernels,
    Decode,
    Parallel,
    Nvenc,
    ZeroCopy,
    Ladder,
    Farm,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Inventory,
        Self::Kernels,
        Self::Decode,
        Self::Parallel,
        Self::Nvenc,
        Self::ZeroCopy,
        Self::Ladder,
        Self::Farm,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Look => "Is there a card",
            Self::Inventory => "Driver and card",
            Self::Kernels => "Kernels",
            Self::Decode => "NVDEC against libavcodec",
            Self::Parallel => "Decoders at once",
            Self::Nvenc => "NVENC",
            Self::ZeroCopy => "NVDEC and CUDA with the emulated NVENC",
            Self::Ladder => "NVDEC, CUDA and x264 against FFmpeg alone",
            Self::Farm => "The farm",
        }
    }

    /// How long it may take.
    fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Look | Self::Inventory => 30,
            Self::Nvenc | Self::ZeroCopy => 60,
            Self::Kernels | Self::Ladder => 90,
            Self::Farm => 120,
            Self::Decode | Self::Parallel => 150,
        })
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.stage {
        Some(stage) => {
            Ok(stages::run(stage, &Bench::new(&arguments)?, &mut Findings::default()).unwrap_or_else(|error| {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }))
        }
        None => tokio::runtime::Runtime::new()?.block_on(check(&arguments)),
    }
}

async fn check(arguments: &Arguments) -> Result<ExitCode> {
    let began = Instant::now();
    let house = child::House::new(arguments)?;
    if let Some(lack) = house.look().await? {
        println!("SKIPPED: no NVIDIA driver or card: {lack}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::new(arguments);
    for stage in Stage::ALL.into_iter().filter(|stage| arguments.only.is_empty() || arguments.only.contains(stage)) {
        eprintln!("{} …", stage.title());
        let left = WHOLE.saturating_sub(began.elapsed());
        let findings = house.run(stage, stage.limit().min(left)).await?;
        report.sections.push(Section { title: stage.title().to_owned(), findings });
    }
    report.seconds = began.elapsed().as_secs();
    report.print(arguments.json)?;
    Ok(if report.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
