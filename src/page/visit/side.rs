//! The sides that a page view takes: for each version that is rolled out, whether it shows that or the version before.
//! What a client's cookie says of a rollout that does not run is ignored.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use semver::Version;

use crate::page::source::names::Name;

use super::context::Reader;
use super::reader::cookies;

/// The cookie of clients that stay with one version.
pub const COOKIE: &str = "pasteup-rollout";
/// How long a client stays with a version at most: a week, in seconds. No rollout should last that long.
const COOKIE_MAX_AGE: u32 = 604_800;
/// The most choices of a cookie that are read.
const MAX_CHOICES: usize = 64;

/// A version that is rolled out on the pages of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RolledOut {
    /// The name of the nanoservice.
    pub name: Name,
    /// The new version.
    pub candidate: Arc<str>,
    /// Whether a client stays with one version.
    pub sticky: bool,
}

/// The side that a page view takes in one rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The name of the nanoservice.
    pub name: Name,
    /// The version that is rolled out.
    pub candidate: Arc<str>,
    /// Whether it shows that version, and not the one before.
    pub takes_candidate: bool,
    /// Why, in words.
    pub why: Arc<str>,
}

/// The notation of the cookie: `weather@3.2.0:c`.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.name, self.candidate, if self.takes_candidate { 'c' } else { 's' })
    }
}

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// So many of a hundred page views show the new version.
    Share(u8),
    /// All do: it has taken over.
    TakenOver,
    /// None does: it went back, or is not known.
    WentBack,
}

/// How the sides of a page view were chosen.
#[derive(Debug, Default)]
pub struct SideAssignment {
    /// The value of `Set-Cookie` that keeps the client on its sides.
    pub cookie: Option<HeaderValue>,
    /// Not all sides are from the cookie, so the next page view may take others.
    pub is_drawn: bool,
    /// Some sides are from the cookie, which the page varies on.
    pub is_sticky: bool,
}

/// Chooses a side in each rollout on its own. `of_page`: the sides that the address of a lazy part states, which are those of
/// its page.
pub fn assign_sides(
    rollouts: &[RolledOut],
    headers: &HeaderMap,
    of_page: Option<&str>,
    standing: impl Fn(&str, &str) -> Standing,
    chance: impl Fn() -> f64,
    reader: &mut Reader,
) -> SideAssignment {
    let mut assignment = SideAssignment::default();
    if rollouts.is_empty() {
        return assignment;
    }
    let known = choices(headers);
    let mut stated = Vec::new();
    read_choices(of_page.unwrap_or_default(), &mut stated);
    let mut kept: Vec<(String, String, bool)> = Vec::new();
    for RolledOut { name, candidate, sticky } in rollouts {
        let (takes_candidate, why) = match standing(name, candidate) {
            Standing::TakenOver => (true, "it has taken over".to_owned()),
            Standing::WentBack => (false, format!("{candidate} went back")),
            Standing::Share(share) => {
                let is_it = |(of, version, _): &&(&str, &str, bool)| **of == **name && **version == **candidate;
                if let Some((_, _, takes_candidate)) = stated.iter().find(is_it) {
                    let side = if *takes_candidate { "candidate" } else { "stable" };
                    let why = format!("{side}, as on its page: {share}% of page views show {candidate}").into();
                    let (name, candidate) = (Arc::clone(name), Arc::clone(candidate));
                    reader.sides.push(Side { name, candidate, takes_candidate: *takes_candidate, why });
                    continue;
                }
                let of_cookie = known.iter().find(is_it);
                let of_cookie = of_cookie.filter(|_| *sticky).map(|(_, _, takes_candidate)| *takes_candidate);
                assignment.is_drawn |= of_cookie.is_none();
                assignment.is_sticky |= sticky;
                let takes_candidate = of_cookie.unwrap_or_else(|| chance() * 100.0 < f64::from(share));
                if *sticky {
                    kept.push((name.to_string(), candidate.to_string(), takes_candidate));
                }
                let how = if of_cookie.is_some() { "by its cookie" } else { "drawn" };
                let side = if takes_candidate { "candidate" } else { "stable" };
                (takes_candidate, format!("{side}, {how}: {share}% of page views show {candidate}"))
            }
        };
        let (name, candidate) = (Arc::clone(name), Arc::clone(candidate));
        reader.sides.push(Side { name, candidate, takes_candidate, why: why.into() });
    }
    if assignment.is_drawn && !kept.is_empty() {
        // What it says of rollouts on other pages stays.
        let is_kept = |(name, version): (&str, &str)| kept.iter().any(|(of, known, _)| of == name && known == version);
        let others = known.iter().filter(|(name, version, _)| {
            !is_kept((name, version)) && matches!(standing(name, version), Standing::Share(_))
        });
        let others: Vec<_> =
            others.map(|(name, version, side)| ((*name).to_owned(), (*version).to_owned(), *side)).collect();
        assignment.cookie = cookie(kept.into_iter().chain(others));
    }
    assignment
}

/// The choices of a client's cookie: `weather@3.2.0:c.icon@1.1.0:s`. What cannot be read ends them.
fn choices(headers: &HeaderMap) -> Vec<(&str, &str, bool)> {
    let mut found = Vec::new();
    cookies(headers).filter(|(name, _)| *name == COOKIE).for_each(|(_, text)| read_choices(text, &mut found));
    found
}

/// Adds the choices of a text.
fn read_choices<'t>(mut rest: &'t str, found: &mut Vec<(&'t str, &'t str, bool)>) {
    while found.len() < MAX_CHOICES
        && let Some((name, after)) = rest.split_once('@')
        && let Some((version, side)) = after.split_once(':')
    {
        let takes_candidate = match side.as_bytes().first() {
            Some(b'c') => true,
            Some(b's') => false,
            _ => break,
        };
        found.push((name, version, takes_candidate));
        let Some(next) = side[1..].strip_prefix('.') else { break };
        rest = next;
    }
}

fn cookie(choices: impl Iterator<Item = (String, String, bool)>) -> Option<HeaderValue> {
    let side = |takes_candidate| if takes_candidate { 'c' } else { 's' };
    let all: Vec<String> = choices.map(|(name, version, one)| format!("{name}@{version}:{}", side(one))).collect();
    format!("{COOKIE}={}; Path=/; Max-Age={COOKIE_MAX_AGE}; SameSite=Lax; HttpOnly", all.join(".")).parse().ok()
}

impl Reader {
    /// The side that the page view takes in a rollout. `None`: it has none of it.
    #[must_use]
    pub fn side(&self, name: &str, candidate: &Version) -> Option<&Side> {
        let is_version = |text: &str| text.parse::<Version>().is_ok_and(|version| version == *candidate);
        self.sides.iter().find(|side| *side.name == *name && is_version(&side.candidate))
    }

    /// Whether the page view shows a version that is rolled out. One that it knows nothing of is not shown.
    #[must_use]
    pub fn takes_candidate(&self, name: &str, candidate: &Version) -> bool {
        self.side(name, candidate).is_some_and(|side| side.takes_candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE as COOKIES;

    fn rolled_out(name: &str, sticky: bool) -> RolledOut {
        RolledOut { name: Name::from(name), candidate: "1.1.0".into(), sticky }
    }

    /// The sides of a page view, the value of its new cookie, and whether a side was drawn.
    fn view(rollouts: &[RolledOut], cookie: &str, chance: f64) -> (Vec<bool>, Option<String>, bool) {
        let headers = HeaderMap::from_iter([(COOKIES, cookie.parse().expect("a value"))]);
        let mut reader = Reader::default();
        let standing = |name: &str, _: &str| if name == "old" { Standing::WentBack } else { Standing::Share(25) };
        let SideAssignment { cookie, is_drawn, .. } =
            assign_sides(rollouts, &headers, None, standing, || chance, &mut reader);
        let value = |cookie: HeaderValue| {
            let text = cookie.to_str().expect("a text").to_owned();
            text.split_once(';').expect("attributes").0.split_once('=').expect("a value").1.to_owned()
        };
        (reader.sides.iter().map(|side| side.takes_candidate).collect(), cookie.map(value), is_drawn)
    }

    #[test]
    fn a_side_is_drawn_by_its_share_unless_the_rollout_is_over() {
        let both = [rolled_out("a", false), rolled_out("old", false)];
        assert_eq!(view(&both, "x=1", 0.249), (vec![true, false], None, true));
        assert_eq!(view(&both, "pasteup-rollout=a@1.1.0:c", 0.251), (vec![false, false], None, true));
        assert_eq!(view(&both[1..], "x=1", 0.0), (vec![false], None, false));
        assert_eq!(view(&[], "x=1", 0.0), (vec![], None, false));
    }

    #[test]
    fn a_client_stays_on_its_sides_and_foreign_choices_are_ignored() {
        let both = [rolled_out("a.b", true), rolled_out("c", true)];
        let (sides, cookie, is_drawn) = view(&both, "x=1", 0.1);
        assert_eq!((sides, is_drawn), (vec![true, true], true));
        assert_eq!(cookie.as_deref(), Some("a.b@1.1.0:c.c@1.1.0:c"));
        let again = format!("pasteup-rollout={}", cookie.expect("a cookie"));
        assert_eq!(view(&both, &again, 0.9), (vec![true, true], None, false));
        // Of another version, of a rollout that is over, of one on another page, and rubbish.
        let other = "pasteup-rollout=c@1.0.0:c.old@1.1.0:c.d@1.1.0-x.1:s.c@1.1.0:s.c@x";
        let (sides, cookie, _) = view(&both, other, 0.1);
        assert_eq!(sides, [true, false]);
        assert_eq!(cookie.as_deref(), Some("a.b@1.1.0:c.c@1.1.0:s.c@1.0.0:c.d@1.1.0-x.1:s"));
        for rubbish in ["", "@", "a@", "a@b", "a@b:", "a@b:x", "a.b@1.1.0:é", ":@:@", "a@b:c."] {
            assert!(view(&both, &format!("pasteup-rollout={rubbish}"), 0.9).2, "{rubbish}");
        }
    }
}
