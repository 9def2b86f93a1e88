//! What to make of a source: the options that `farm transcode` and `farm ladder` share, and profiles.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use coordinator::api::profiles::summary;
use coordinator::ladder::Rungs;
use coordinator::profile::{Profile, check_preset};
use proto::v1;

use crate::client::{self, Remote};
use crate::exit::{Exit, Failure};

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
#[command(after_help = "Examples:
  farm profile show web > mine.toml       then edit it and use --profile mine.toml
  farm profile list --server farm:7600    those of a farm that is served; the built-in ones without a server")]
pub struct ProfileArgs {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Name the profiles
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Print a profile as TOML: the start of one of your own
    Show {
        /// As `farm profile list` names it
        name: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Say what is wrong with a profile file
    #[command(visible_alias = "check")]
    Validate {
        /// The TOML file
        file: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
}

/// `farm profile`.
///
/// # Errors
/// `profile` if there is none of that name or it is wrong; what the farm refuses.
pub async fn run(args: ProfileArgs) -> Result<Exit, Failure> {
    let (ProfileCommand::List { remote }
    | ProfileCommand::Show { remote, .. }
    | ProfileCommand::Validate { remote, .. }) = &args.command;
    let remote = remote.clone();
    let mut server = if remote.is_named() { Some(client::profiles(remote.connect().await?)) } else { None };
    match args.command {
        ProfileCommand::List { .. } => {
            let listed = match &mut server {
                Some(server) => server.list_profiles(v1::ListProfilesRequest {}).await?.into_inner().profiles,
                None => Profile::names().filter_map(built_in).collect(),
            };
            for profile in &listed {
                remote.show("Profile", profile, || format!("{:8} {}\n", profile.name, profile.summary))?;
            }
        }
        ProfileCommand::Show { name, .. } => {
            let profile = match &mut server {
                Some(server) => server.get_profile(v1::GetProfileRequest { name }).await?.into_inner(),
                None => built_in(&name).ok_or_else(|| unknown(&name))?,
            };
            remote.show("Profile", &profile, || profile.toml.clone())?;
        }
        ProfileCommand::Validate { file, .. } => {
            let summary = match &mut server {
                Some(server) => {
                    let request = v1::ValidateProfileRequest { toml: read_text(&file)? };
                    let v1::ValidateProfileResponse { complaints, summary } =
                        server.validate_profile(request).await?.into_inner();
                    if complaints.is_empty() { Ok(summary) } else { Err(wrong_file(&file, &complaints.join("\n  "))) }
                }
                None => read_file(&file).map(|profile| summary(&profile)),
            };
            let valid = v1::ValidateProfileResponse { complaints: Vec::new(), summary: summary? };
            remote.show("ValidateProfileResponse", &valid, || {
                format!("{} is a valid profile: {}\n", file.display(), valid.summary)
            })?;
        }
    }
    Ok(Exit::Done)
}

fn built_in(name: &str) -> Option<v1::Profile> {
    let (profile, toml) = (Profile::named(name)?, Profile::text_of(name)?.to_owned());
    Some(v1::Profile { name: name.to_owned(), summary: summary(&profile), toml, built_in: true })
}

/// A built-in name wins; anything else is a file.
fn read_profile(name: &str) -> Result<Profile, Failure> {
    if let Some(profile) = Profile::named(name) {
        return Ok(profile);
    }
    let looks_like_a_file = name.contains(['/', '.']);
    if looks_like_a_file { read_file(&PathBuf::from(name)) } else { Err(unknown(name)) }
}

fn read_file(file: &Path) -> Result<Profile, Failure> {
    Profile::from_toml(&read_text(file)?).map_err(|complaints| wrong_file(file, &complaints.join("\n  ")))
}

fn read_text(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| wrong_file(file, &error.to_string()))
}

fn wrong_file(file: &Path, text: &str) -> Failure {
    Failure::new(Exit::Usage, "profile", format!("{}: {text}", file.display()))
        .help("`farm profile show web` prints one with every key explained")
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
