//! The farm's profiles, and `ProfileService`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proto::v1;
use proto::v1::profile_service_server::ProfileService;
use tonic::{Request, Response, Status};

use super::answer;
use super::error::{self, Violations};
use super::sources;
use crate::ladder::{Ladder, Rungs, ladder};
use crate::plan::audio::audio_renditions;
use crate::profile::Profile;

/// Longest profile that a request may bring, in bytes.
pub const LONGEST_PROFILE: usize = 64 << 10;

/// Built-in profiles and those of a folder.
#[derive(Debug)]
pub struct Shelf(BTreeMap<String, Shelved>);

#[derive(Debug)]
struct Shelved {
    profile: Profile,
    text: String,
    built_in: bool,
}

impl Shelf {
    /// Reads every `NAME.toml` of the folder. One named like a built-in profile takes its place.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn open(folder: Option<&Path>) -> Result<Self, Vec<String>> {
        let built_in = Profile::names().filter_map(|name| {
            let (profile, text) = (Profile::named(name)?, Profile::text_of(name)?.to_owned());
            Some((name.to_owned(), Shelved { profile, text, built_in: true }))
        });
        let mut shelf = Self(built_in.collect());
        let Some(folder) = folder else { return Ok(shelf) };
        let unreadable = |error: std::io::Error| vec![format!("{}: {error}", folder.display())];
        let mut complaints = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let added = shelf.add(&path);
                complaints
                    .extend(added.err().unwrap_or_default().iter().map(|text| format!("{}: {text}", path.display())));
            }
        }
        if complaints.is_empty() { Ok(shelf) } else { Err(complaints) }
    }

    fn add(&mut self, path: &Path) -> Result<(), Vec<String>> {
        let text = std::fs::read_to_string(path).map_err(|error| vec![error.to_string()])?;
        let profile = Profile::from_toml(&text)?;
        if path.file_stem().is_none_or(|stem| stem != profile.name.as_str()) {
            return Err(vec![format!("its name is {:?}, so the file's should be {0}.toml", profile.name)]);
        }
        self.0.insert(profile.name.clone(), Shelved { profile, text, built_in: false });
        Ok(())
    }

    /// A profile of the farm.
    pub fn named(&self, name: &str) -> Option<&Profile> {
        self.0.get(name).map(|shelved| &shelved.profile)
    }

    /// What a request asks for in fields below `at`, `web` if it does not say. Notes what is wrong.
    pub(super) fn resolve(
        &self,
        at: &str,
        name: Option<&str>,
        toml: Option<&str>,
        wrong: &mut Violations,
    ) -> Option<Profile> {
        let Some(text) = toml else {
            let name = name.filter(|name| !name.is_empty()).unwrap_or("web");
            let known = || self.0.keys().cloned().collect::<Vec<_>>().join(", ");
            let found =
                self.named(name).cloned().ok_or_else(|| format!("there is no profile {name:?}, but {}", known()));
            return wrong.take(&format!("{at}profile_name"), found);
        };
        match read(text) {
            Ok(profile) => Some(profile),
            Err(complaints) => {
                complaints.into_iter().for_each(|complaint| wrong.add(format!("{at}profile_toml"), complaint));
                None
            }
        }
    }
}

fn read(toml: &str) -> Result<Profile, Vec<String>> {
    if toml.len() > LONGEST_PROFILE {
        return Err(vec![format!("{} bytes long, the most is {LONGEST_PROFILE}", toml.len())]);
    }
    Profile::from_toml(toml)
}

/// What a profile makes, in a line.
pub fn summary(profile: &Profile) -> String {
    let video = profile.video.iter().flat_map(|video| &video.rungs).map(|rung| {
        format!("{}x{} {:?} {}k", rung.width_px, rung.height_px, rung.codec, rung.bitrate_kbps).to_lowercase()
    });
    let audio = profile.audio.iter().map(|audio| format!("{:?} {}k", audio.codec, audio.bitrate_kbps).to_lowercase());
    video.chain(audio).collect::<Vec<_>>().join(", ")
}

/// The service.
pub(super) struct Profiles(pub(super) Arc<Shelf>);

impl Profiles {
    fn message(shelved: &Shelved, toml: String) -> v1::Profile {
        let Shelved { profile, built_in, .. } = shelved;
        v1::Profile { name: profile.name.clone(), summary: summary(profile), toml, built_in: *built_in }
    }
}

#[tonic::async_trait]
impl ProfileService for Profiles {
    async fn list_profiles(
        &self,
        _: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        let profiles = self.0.0.values().map(|shelved| Self::message(shelved, String::new())).collect();
        Ok(Response::new(v1::ListProfilesResponse { profiles }))
    }

    async fn get_profile(&self, request: Request<v1::GetProfileRequest>) -> Result<Response<v1::Profile>, Status> {
        let name = &request.get_ref().name;
        let shelved = self.0.0.get(name).ok_or_else(|| error::not_found("profile", name))?;
        Ok(Response::new(Self::message(shelved, shelved.text.clone())))
    }

    async fn validate_profile(
        &self,
        request: Request<v1::ValidateProfileRequest>,
    ) -> Result<Response<v1::ValidateProfileResponse>, Status> {
        let (complaints, summary) = match read(&request.get_ref().toml) {
            Ok(profile) => (Vec::new(), summary(&profile)),
            Err(complaints) => (complaints, String::new()),
        };
        Ok(Response::new(v1::ValidateProfileResponse { complaints, summary }))
    }

    async fn resolve_ladder(
        &self,
        request: Request<v1::ResolveLadderRequest>,
    ) -> Result<Response<v1::ResolveLadderResponse>, Status> {
        use v1::resolve_ladder_request::Profile as Asked;
        let v1::ResolveLadderRequest { profile, source, rungs } = request.into_inner();
        let mut wrong = Violations::default();
        let (name, toml) = match &profile {
            Some(Asked::ProfileName(name)) => (Some(name.as_str()), None),
            Some(Asked::ProfileToml(toml)) => (None, Some(toml.as_str())),
            None => (None, None),
        };
        let profile = self.0.resolve("", name, toml, &mut wrong);
        let rungs = answer::rungs("rungs", &rungs, profile.as_ref(), &mut wrong);
        let source = source.unwrap_or_default();
        let (video, audio) = sources::streams(&source, &mut wrong);
        wrong.check()?;
        let (Some(profile), Some(rungs)) = (profile, rungs) else { return Err(error::internal("unchecked request")) };
        Ok(Response::new(resolved(&profile, video.as_ref(), &audio, source.declared_ms, &rungs)))
    }
}

fn resolved(
    profile: &Profile,
    video: Option<&shared::source::VideoStream>,
    audio: &[shared::source::AudioStream],
    declared_ms: Option<u64>,
    rungs: &Rungs,
) -> v1::ResolveLadderResponse {
    let made = video.map_or_else(Ladder::default, |stream| ladder(profile, stream, declared_ms, rungs));
    let audio = profile.audio.iter().flat_map(|profile| audio_renditions(profile, audio));
    v1::ResolveLadderResponse {
        video: made.video.iter().map(answer::video_rendition).collect(),
        audio: audio.map(answer::audio_rendition).collect(),
        dropped: answer::dropped(&made),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_adds_profiles_and_all_its_faults_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let mine = Profile::text_of("web").unwrap().replacen("\"web\"", "\"mine\"", 1);
        std::fs::write(folder.path().join("mine.toml"), &mine).unwrap();
        std::fs::write(folder.path().join("readme.txt"), "not a profile").unwrap();
        let shelf = Shelf::open(Some(folder.path())).unwrap();
        assert_eq!(shelf.named("mine").unwrap().name, "mine");
        assert!(shelf.named("web").is_some());
        std::fs::write(folder.path().join("other.toml"), &mine).unwrap();
        std::fs::write(folder.path().join("bad.toml"), "name = 3").unwrap();
        assert_eq!(Shelf::open(Some(folder.path())).unwrap_err().len(), 2);
    }
}
