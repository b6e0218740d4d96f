//! The leagues of one source, each opened when it is first requested.
//! A name that could lead outside the folder of the source, or that has no file, is an unknown league.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fragment_kit::{BadPlace, Place, Problem, Source};

use crate::league::League;

/// The built-in samples, by the names of their leagues.
const SAMPLES: [(&str, &str); 2] =
    [("north.1", include_str!("../sample/north.1.json")), ("south.1", include_str!("../sample/south.1.json"))];
/// What the name of a league replaces in the place of the source.
const PLACEHOLDER: &str = "{league}";
/// Maximum number of leagues that are cached, so that made-up names cannot fill the memory. Others are read for each
/// request.
const MAX_OPEN: usize = 256;

/// The leagues of one source.
#[derive(Debug)]
pub(crate) struct Leagues {
    /// A place that contains [`PLACEHOLDER`]; `None` for the samples.
    place: Option<Place>,
    open: Mutex<HashMap<String, Source<League>>>,
}

impl Leagues {
    /// The source that the environment variable `name` gives, or the built-in samples if it is not set.
    pub(crate) fn from_env(name: &str) -> Result<Self, BadPlace> {
        let place = match std::env::var(name) {
            Ok(text) if !text.trim().is_empty() => Some(pattern(text.trim())?),
            _ => None,
        };
        let open = Mutex::default();
        Ok(Self { place, open })
    }

    /// The league of a name.
    ///
    /// # Errors
    /// The problem to respond with: the league is unknown, or cannot be read.
    pub(crate) async fn read(&self, name: &str) -> Result<Arc<League>, Problem> {
        let unknown = || Problem::not_found(format!("no league `{name}`"));
        if !is_league(name) {
            return Err(unknown());
        }
        let place = self.place(name).ok_or_else(unknown)?;
        // If the whole folder is missing, the name is not at fault.
        let has_folder = match &place {
            Place::File(path) => path.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder.is_dir()),
            _ => true,
        };
        let source = self.source(name, place);
        source.read().await.map_err(|error| {
            if error.is_missing() && has_folder {
                self.open().remove(name);
                return unknown();
            }
            Problem::from(&*error)
        })
    }

    fn place(&self, name: &str) -> Option<Place> {
        match &self.place {
            Some(place) => Some(place.fill(PLACEHOLDER, name)),
            None => {
                let sample = SAMPLES.iter().find(|(league, _)| *league == name)?;
                Some(Place::BuiltIn(sample.1))
            }
        }
    }

    fn source(&self, name: &str, place: Place) -> Source<League> {
        let mut open = self.open();
        if let Some(source) = open.get(name) {
            return source.clone();
        }
        let source = Source::new(place, League::parse);
        if open.len() < MAX_OPEN {
            open.insert(name.to_owned(), source.clone());
        }
        source
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<String, Source<League>>> {
        // Valid even after a panic: every change is one insertion or removal.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pattern(text: &str) -> Result<Place, BadPlace> {
    if text.contains(PLACEHOLDER) {
        return Place::parse(text);
    }
    Place::parse(&format!("{}/{PLACEHOLDER}.json", text.trim_end_matches('/')))
}

/// Whether a name consists of letters, digits, dots and hyphens, and is safe in a path and in a URL.
fn is_league(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c);
    name.len() <= 40
        && name.bytes().all(allowed)
        && name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_league_cannot_leave_its_folder() {
        for good in ["en.1", "sco.1", "north-2"] {
            assert!(is_league(good), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", "a..b", "%2e", "EN.1", "a b", ".env"] {
            assert!(!is_league(bad), "{bad}");
        }
    }

    #[test]
    fn a_placeholder_is_added_to_a_folder() {
        let shown = |text| pattern(text).expect("a file is always a place").to_string();
        assert_eq!(shown("data/"), "data/{league}.json");
        assert_eq!(shown("data/x-{league}.json"), "data/x-{league}.json");
    }
}
