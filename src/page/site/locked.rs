//! The lock of a site, and the versions that its ranges choose.
//! A lock with an error is replaced by the last good one; if there was none before, it is as if there were none.

use std::sync::Arc;

use semver::VersionReq;

use crate::page::layout::FragmentSource;
use crate::page::layout::Template;
use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Chosen;
use crate::page::manifest::lock::{self, Lock};
use crate::page::policy::rollout::book::Used;
use crate::page::policy::rollout::replica::Shown;
use crate::page::source::diagnostic::{Code, Diagnostic};
use crate::page::source::names::Name;

use super::build::Site;
use super::files::Files;

/// A range of a page, or of a nanoservice that composes others.
#[derive(Debug, Clone)]
pub struct Range {
    /// The name of the nanoservice.
    pub name: Name,
    /// The range.
    pub range: VersionReq,
    /// The files of the pages that it is on, directly or in what they compose.
    pub pages: Vec<String>,
}

impl Site {
    /// Reads the lock, and reports manifests that say something else than when they were locked.
    pub(super) fn read_lock(&mut self, files: &Files, before: Option<&Self>) {
        let Some(file) = &files.lock else { return };
        let parsed = match file {
            Ok(source) => {
                let (parsed, problems) = Lock::parse(source);
                self.problems.extend(problems);
                parsed
            }
            Err(problem) => {
                self.problems.push(problem.clone());
                None
            }
        };
        if parsed.is_none() && before.is_some_and(|before| before.lock.is_some()) {
            self.last_good.push(lock::FILE.to_owned());
        }
        self.lock = parsed.or_else(|| before.and_then(|before| before.lock.clone()));
        let Some(lock) = &self.lock else { return };
        for manifest in self.catalogue.manifests() {
            if let Some(locked) = lock.checksum(&manifest.name, &manifest.version)
                && locked != manifest.checksum()
            {
                let (name, version) = (&manifest.name, &manifest.version);
                let message = format!("{name} {version} says something else than when it was locked");
                let help = format!("give it a new version, or accept the change: `pasteup update {name}`");
                let problem = Diagnostic::new(Code::ChangedWithoutVersion, manifest.at.clone(), message);
                self.problems.push(problem.help(help));
            }
        }
    }

    /// Why the lock does not cover every range, in words. `None`: it does.
    #[must_use]
    pub fn what_is_not_locked(&self) -> Option<String> {
        if let Some(problem) = self.problems.iter().find(|one| matches!(one.code, Code::Lock | Code::NotLocked)) {
            let (line, _) = problem.at.source.position(problem.at.span.start);
            return Some(format!("{}:{line}: {}", problem.at.source.file, problem.message));
        }
        if self.lock.is_none() {
            return Some(format!("there is no {}: run `pasteup update`", lock::FILE));
        }
        let nested =
            self.live().flat_map(|template| template.nested.names().into_iter().map(move |name| (template, name)));
        let missing = nested.filter(|(template, name)| template.nested.choose(name, &VersionReq::STAR).is_none());
        missing.map(|(_, name)| format!("no version of `{name}` is locked: run `pasteup update {name}`")).next()
    }

    /// All live templates, with those that replace others at some time.
    fn live(&self) -> impl Iterator<Item = &Template> {
        self.templates.iter().flat_map(|template| template.with_takeovers())
    }

    /// The ranges that its pages use, each once, by name: those of layouts, and for each name that a nanoservice on them
    /// composes, any version.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range> {
        let mut all: Vec<Range> = Vec::new();
        let mut add = |name: &Name, range: &VersionReq, page: &str| {
            let at = match all.iter().position(|known| known.name == *name && known.range == *range) {
                Some(at) => at,
                None => {
                    all.push(Range { name: Arc::clone(name), range: range.clone(), pages: Vec::new() });
                    all.len() - 1
                }
            };
            if !all[at].pages.iter().any(|known| known == page) {
                all[at].pages.push(page.to_owned());
            }
        };
        for template in &self.templates {
            for part in template.with_takeovers() {
                for fragment in &part.html.fragments {
                    if let FragmentSource::Named(candidates) = &fragment.source {
                        add(&candidates.chosen().name, candidates.range(), &template.file);
                    }
                }
                for name in part.nested.names() {
                    add(&Name::from(name), &VersionReq::STAR, &template.file);
                }
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.range.to_string().cmp(&b.range.to_string())));
        all
    }

    /// The versions that the ranges of its live pages choose, each once.
    #[must_use]
    pub fn used_versions(&self) -> Vec<Used> {
        let used = |manifest: &Manifest, after: Option<&Arc<Manifest>>| Used {
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            after: after.map(|before| (before.version.to_string(), manifest.checksum())),
        };
        let nested = |chosen: Chosen<'_>| used(chosen.manifest, chosen.stable);
        let mut all = Vec::new();
        for template in self.live() {
            for fragment in &template.html.fragments {
                if let FragmentSource::Named(candidates) = &fragment.source {
                    let before = candidates.preferred();
                    let after = (before.version != candidates.chosen().version).then_some(before);
                    all.push(used(candidates.chosen(), after));
                }
            }
            let names = template.nested.names().into_iter();
            all.extend(names.filter_map(|name| template.nested.choose(name, &VersionReq::STAR)).map(nested));
        }
        all.sort();
        all.dedup();
        all
    }

    /// The versions that its live pages show to all.
    #[must_use]
    pub fn shown_versions(&self) -> Vec<Shown> {
        let at_once = self.used_versions().into_iter().filter(|used| used.after.is_none());
        let shown = at_once.filter_map(|used| {
            let manifest = self.nanoservice(&used.name, &used.version)?;
            let is_it = manifest.version.to_string() == used.version;
            is_it.then(|| Shown {
                checksum: manifest.checksum(),
                has_rules: manifest.rollout.is_some(),
                catalogue: self.catalogue.versions(&used.name).map(|one| one.version.to_string()).collect(),
                name: used.name,
                version: used.version,
            })
        });
        shown.collect()
    }
}
