//! What to make of a source: the options that `farm transcode` and `farm ladder` share, and profiles.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use coordinator::ladder::Rungs;
use coordinator::profile::{Profile, check_preset};

use crate::exit::{Exit, Failure};
use crate::progress::print_text;

/// Which profile, and what of it.
#[derive(Debug, Clone, clap::Args)]
pub struct Recipe {
    /// Built-in profile (`farm profile list`) or a TOML file
    #[arg(long, default_value = "web", value_name = "NAME|FILE")]
    pub profile: String,
    /// Rungs to make: `auto` by the profile's rules, `all` that are not larger than the source, or heights
    #[arg(long, default_value = "auto", value_name = "auto|all|1080,720,…")]
    pub rungs: Rungs,
    /// Encoder preset for every rung, such as `veryfast` or `slow` (a number for AV1)
    #[arg(long)]
    pub preset: Option<String>,
}

impl Recipe {
    /// The profile, read and checked together with the other options.
    ///
    /// # Errors
    /// `profile` and `recipe`, with everything that is wrong.
    pub fn resolve(&self) -> Result<Profile, Failure> {
        let profile = read_profile(&self.profile)?;
        let wrong = |complaint: String| {
            Failure::new(Exit::Usage, "recipe", complaint).help(format!("see {}", shown(&self.profile)))
        };
        self.rungs.check(&profile).map_err(wrong)?;
        for rung in profile.video.iter().flat_map(|video| &video.rungs) {
            let Some(preset) = &self.preset else { break };
            check_preset(rung.codec, preset).map_err(|complaint| wrong(format!("--{complaint}")))?;
        }
        Ok(profile)
    }
}

/// Profiles: what can be made of a source
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farm profile show web > mine.toml      then edit it and use --profile mine.toml")]
pub struct ProfileArgs {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Name the built-in profiles
    List,
    /// Print a built-in profile as TOML: the start of one of your own
    Show {
        /// As `farm profile list` names it
        name: String,
    },
    /// Say what is wrong with a profile file
    Validate {
        /// The TOML file
        file: PathBuf,
    },
}

/// `farm profile`.
///
/// # Errors
/// `profile` if there is none of that name or it is wrong.
pub fn run(args: &ProfileArgs) -> Result<Exit, Failure> {
    match &args.command {
        ProfileCommand::List => {
            let lines = Profile::names().map(|name| format!("{name:8} {}\n", summary(name)));
            print_text(&lines.collect::<String>())?;
        }
        ProfileCommand::Show { name } => match Profile::text_of(name) {
            Some(text) => print_text(text)?,
            None => return Err(unknown(name)),
        },
        ProfileCommand::Validate { file } => {
            let profile = read_file(file)?;
            print_text(&format!("{} is a valid profile: {}\n", file.display(), describe(&profile)))?;
        }
    }
    Ok(Exit::Done)
}

/// A built-in name wins; anything else is a file.
fn read_profile(name: &str) -> Result<Profile, Failure> {
    if let Some(profile) = Profile::named(name) {
        return Ok(profile);
    }
    let looks_like_a_file = name.contains(['/', '.']);
    if looks_like_a_file { read_file(&PathBuf::from(name)) } else { Err(unknown(name)) }
}

fn read_file(file: &PathBuf) -> Result<Profile, Failure> {
    let wrong = |text: String| {
        Failure::new(Exit::Usage, "profile", format!("{}: {text}", file.display()))
            .help("`farm profile show web` prints one with every key explained")
    };
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    Profile::from_toml(&text).map_err(|complaints| wrong(complaints.join("\n  ")))
}

/// Where a profile can be looked at.
fn shown(name: &str) -> String {
    if Profile::named(name).is_some() { format!("`farm profile show {name}`") } else { name.to_owned() }
}

fn unknown(name: &str) -> Failure {
    let known: Vec<_> = Profile::names().collect();
    let message = format!("there is no profile {name:?}; built in are {}", known.join(", "));
    Failure::new(Exit::Usage, "profile", message).help("a file is given with its path, such as ./mine.toml")
}

fn summary(name: &str) -> String {
    Profile::named(name).map_or_else(String::new, |profile| describe(&profile))
}

fn describe(profile: &Profile) -> String {
    let video = profile.video.iter().flat_map(|video| &video.rungs);
    let mut parts: Vec<String> = video
        .map(|rung| {
            format!("{}x{} {:?} {}k", rung.width_px, rung.height_px, rung.codec, rung.bitrate_kbps).to_lowercase()
        })
        .collect();
    parts.extend(
        profile.audio.as_ref().map(|audio| format!("{:?} {}k", audio.codec, audio.bitrate_kbps).to_lowercase()),
    );
    parts.join(", ")
}
