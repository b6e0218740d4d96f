//! The first screen: whether all is well, and if not, what fails, since when, and whom to call.

use askama::Template;

use crate::page::policy::resilience::health::Health;

use super::super::Admin;
use super::super::now::{self, Now, Trouble};
use super::format::{ago, bytes, class, clock, counted, ms, percent, time, used};

#[derive(Template)]
#[template(path = "console/now.html")]
struct Screen {
    now: Now,
}

pub(super) fn render(admin: &Admin) -> askama::Result<String> {
    Screen { now: now::now(admin) }.render()
}

impl Screen {
    /// Whether it is all right, in a few words, and the class of the answer.
    fn verdict(&self) -> (String, &'static str) {
        let Now { troubles, files, switched_off, pages, asked, .. } = &self.now;
        let mut words: Vec<String> =
            [Health::Down, Health::Failing].iter().filter_map(|health| in_state(troubles, *health)).collect();
        words.extend((pages.errors > 0.0).then(|| format!("{} of pages fail", percent(&pages.errors))));
        let class = if words.is_empty() { "warn" } else { "bad" };
        words.extend(in_state(troubles, Health::Degraded));
        words.extend((!files.is_empty()).then(|| {
            let verb = if files.len() == 1 { "has" } else { "have" };
            format!("{} {verb} errors", counted(files.len(), "file", "files"))
        }));
        words.extend((!switched_off.is_empty()).then(|| match &switched_off[..] {
            [one] => format!("{} is switched off", one.fragment),
            several => format!("{} nanoservices are switched off", several.len()),
        }));
        match words.is_empty() {
            true if *asked == 0 => ("Nothing to report: no requests in the last minute".to_owned(), "quiet"),
            true => ("All is well".to_owned(), "good"),
            false => (words.join("; "), class),
        }
    }

    /// Whether changes are listed: they may explain what is wrong.
    fn shows_changes(&self) -> bool {
        !self.now.ok && !self.now.changes.is_empty()
    }
}

/// Which nanoservices have this health, in words. `None`: none has.
fn in_state(troubles: &[Trouble], health: Health) -> Option<String> {
    let names = troubles.iter().filter(|trouble| trouble.health == health).map(|trouble| trouble.fragment.as_str());
    match names.collect::<Vec<_>>()[..] {
        [] => None,
        [one] => Some(format!("{one} is {health}")),
        [one, other] => Some(format!("{one} and {other} are {health}")),
        [one, other, third] => Some(format!("{one}, {other} and {third} are {health}")),
        ref several => Some(format!("{} nanoservices are {health}", several.len())),
    }
}
