//! Locks anew: for each range that pages use the highest version that satisfies it, and what changes by that.
//! What cannot be chosen stays as it is locked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use semver::{Version, VersionReq};

use crate::page::manifest::Manifest;
use crate::page::manifest::lock::Lock;
use crate::page::source::names::{self, Name};

use super::build::Site;
use super::locked::Range;

/// A change of the lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The name of the nanoservice.
    pub name: Name,
    /// The version that was locked. `None`: none was.
    pub from: Option<Version>,
    /// The version that is locked now. `None`: nothing uses it any more.
    pub to: Option<Version>,
    /// On how many pages it is.
    pub pages: usize,
}

/// The one version that is wanted of a nanoservice.
#[derive(Debug, Clone)]
pub struct Precisely {
    /// The name of the nanoservice.
    pub name: Name,
    /// The version.
    pub version: Version,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, from, to, pages } = self;
        match (from, to) {
            (Some(from), Some(to)) => {
                write!(f, "{name} {from} -> {to}  {pages} {}", if *pages == 1 { "page" } else { "pages" })
            }
            (None, Some(to)) => write!(f, "{name} -> {to}"),
            (Some(from), None) => write!(f, "{name} {from} -> (none)"),
            (None, None) => write!(f, "{name}"),
        }
    }
}

/// The highest locked version that satisfies a range.
fn locked<'l>(lock: &'l Lock, name: &str, range: &VersionReq) -> Option<&'l Version> {
    lock.versions(name).rev().find(|version| range.matches(version))
}

impl Site {
    /// The lock in which each range of this site, which was read without a lock, has the highest version that satisfies it, and
    /// the changes by that. `names`: only those are changed; if it is empty, all are.
    ///
    /// # Errors
    /// Nothing uses one of the names, or no range takes the version that is wanted.
    pub fn relock(
        &self,
        before: &Lock,
        names: &[Name],
        precisely: Option<&Precisely>,
    ) -> Result<(Lock, Vec<Change>), String> {
        let ranges = self.ranges();
        for name in names {
            let is_used = ranges.iter().any(|range| range.name == *name);
            if !is_used && (precisely.is_some() || before.versions(name).next().is_none()) {
                let known = ranges.iter().map(|range| &*range.name);
                let help = names::did_you_mean(name, known).map(|help| format!("; {help}")).unwrap_or_default();
                return Err(format!("nothing uses `{name}`{help}"));
            }
        }
        if let Some(Precisely { name, version }) = precisely
            && !self.catalogue.versions(name).any(|manifest| manifest.version == *version)
        {
            let known: Vec<String> = self.catalogue.versions(name).map(|one| one.version.to_string()).collect();
            return Err(format!("there is no {name} {version}; available: {}", known.join(", ")));
        }
        let is_wanted = |name: &Name| names.is_empty() || names.contains(name);
        let mut lock = Lock::default();
        for (name, version, checksum) in before.entries().filter(|(name, ..)| !is_wanted(name)) {
            lock.insert(name, version.clone(), checksum.to_owned());
        }
        // The pages of each step from one version to another.
        let mut steps: BTreeMap<(Name, Option<Version>, Version), Vec<&str>> = BTreeMap::new();
        for one @ Range { name, range, pages } in ranges.iter().filter(|range| is_wanted(&range.name)) {
            let old = locked(before, name, range);
            let Some(new) = self.version_for(one, old, precisely) else {
                // Without a version of it nothing is known to be better than what is locked.
                for version in before.versions(name) {
                    let checksum = before.checksum(name, version).unwrap_or_default();
                    lock.insert(name, version.clone(), checksum.to_owned());
                }
                continue;
            };
            lock.insert(name, new.version.clone(), new.checksum());
            let step = (Arc::clone(name), old.cloned(), new.version.clone());
            steps.entry(step).or_default().extend(pages.iter().map(String::as_str));
        }
        if let Some(Precisely { name, version }) = precisely {
            let mut of_name = ranges.iter().filter(|range| range.name == *name);
            if !of_name.any(|range| locked(&lock, name, &range.range) == Some(version)) {
                let known: Vec<String> =
                    ranges.iter().filter(|one| one.name == *name).map(|one| format!("`{}`", one.range)).collect();
                return Err(format!("no range takes {name} {version}; the ranges are {}", known.join(", ")));
            }
        }
        let mut changes: Vec<Change> = Vec::new();
        for ((name, from, to), mut pages) in steps {
            let checksum = |lock: &Lock, version| lock.checksum(&name, version).map(str::to_owned);
            if from.as_ref() == Some(&to) && checksum(before, &to) == checksum(&lock, &to) {
                continue;
            }
            pages.sort_unstable();
            pages.dedup();
            changes.push(Change { name, from, to: Some(to), pages: pages.len() });
        }
        for (name, version, _) in before.entries() {
            let left = changes.iter().any(|change| change.name == *name && change.from.as_ref() == Some(version));
            if !left && lock.checksum(name, version).is_none() {
                changes.push(Change { name: Arc::clone(name), from: Some(version.clone()), to: None, pages: 0 });
            }
        }
        changes.sort();
        Ok((lock, changes))
    }

    /// The version that a range gets. `None`: there is none.
    fn version_for(&self, one: &Range, old: Option<&Version>, precisely: Option<&Precisely>) -> Option<&Arc<Manifest>> {
        let Range { name, range, .. } = one;
        let exactly = |version: &Version| self.catalogue.versions(name).find(|manifest| manifest.version == *version);
        match precisely.filter(|precisely| precisely.name == *name) {
            Some(Precisely { version, .. }) if range.matches(version) => exactly(version),
            // Another range keeps what it has.
            Some(_) => old.and_then(exactly).or_else(|| self.catalogue.highest(name, range)),
            None => self.catalogue.highest(name, range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::site::{Files, SiteLimits};
    use crate::page::source::diagnostic::Source;

    fn site(versions: &[(&str, &str)], pages: &[&str]) -> Site {
        let manifest = |(name, version): &(&str, &str)| {
            let composes = if *name == "combiner" { "composes = [\"icon\"]\n" } else { "" };
            let text = format!("name = \"{name}\"\nversion = \"{version}\"\nendpoint = \"http://a.test/\"\n{composes}");
            Source::new(format!("fragments/{name}-{version}/fragment.toml"), text)
        };
        let page = |(number, html): (usize, &&str)| {
            Source::new(format!("layouts/{number}.html"), format!("+++\nroute = \"/{number}\"\n+++\n{html}"))
        };
        let (manifests, layouts) =
            (versions.iter().map(manifest).collect(), pages.iter().enumerate().map(page).collect());
        let site = Site::build(&Files { manifests, layouts, ..Files::default() }, &SiteLimits::default(), None);
        assert_eq!(site.problems, []);
        site
    }

    const PAGES: [&str; 3] = [
        "<fragment name=\"a\" version=\"^1\" />",
        "<fragment name=\"a\" version=\"^1\" /><fragment name=\"a\" version=\"^2\" />",
        "<fragment name=\"combiner\" />",
    ];

    #[track_caller]
    fn check(site: &Site, before: &Lock, names: &[&str], precisely: Option<&str>, expected: &[&str]) -> Lock {
        let names: Vec<Name> = names.iter().map(|name| Name::from(*name)).collect();
        let precisely = precisely
            .map(|version| Precisely { name: Arc::clone(&names[0]), version: version.parse().expect("a version") });
        match site.relock(before, &names, precisely.as_ref()) {
            Ok((lock, changes)) => {
                assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
                lock
            }
            Err(why) => {
                assert_eq!([format!("error: {why}")], expected);
                before.clone()
            }
        }
    }

    #[test]
    fn each_range_is_locked_to_its_highest_version_and_each_change_is_one_line() {
        let first = [("a", "1.0.0"), ("a", "2.0.0"), ("combiner", "1.0.0"), ("icon", "1.0.0")];
        let lock = check(
            &site(&first, &PAGES),
            &Lock::default(),
            &[],
            None,
            &["a -> 1.0.0", "a -> 2.0.0", "combiner -> 1.0.0", "icon -> 1.0.0"],
        );
        let later = [&first[..], &[("a", "1.1.0"), ("a", "1.2.0"), ("icon", "3.0.0"), ("unused", "1.0.0")]].concat();
        let later = site(&later, &PAGES);
        check(&later, &lock, &[], None, &["a 1.0.0 -> 1.2.0  2 pages", "icon 1.0.0 -> 3.0.0  1 page"]);
        check(&later, &lock, &["icon"], None, &["icon 1.0.0 -> 3.0.0  1 page"]);
        let precise = check(&later, &lock, &["a"], Some("1.1.0"), &["a 1.0.0 -> 1.1.0  2 pages"]);
        check(&later, &precise, &["a"], Some("1.1.0"), &[]);
        check(
            &later,
            &lock,
            &["a"],
            Some("9.0.0"),
            &["error: there is no a 9.0.0; available: 2.0.0, 1.2.0, 1.1.0, 1.0.0"],
        );
        check(
            &later,
            &lock,
            &["unused"],
            Some("1.0.0"),
            &["error: nothing uses `unused`; available: a, combiner, icon"],
        );
        let fewer = site(&first, &PAGES[..1]);
        check(&fewer, &lock, &[], None, &["a 2.0.0 -> (none)", "combiner 1.0.0 -> (none)", "icon 1.0.0 -> (none)"]);
        check(&fewer, &lock, &["a"], Some("2.0.0"), &["error: no range takes a 2.0.0; the ranges are `^1`"]);
    }
}
