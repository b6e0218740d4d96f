//! All that is live: routes, layouts and the catalogue, made from the texts of files.
//! A file with a mistake does not replace what was live before it.

mod bound;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use semver::Version;

use crate::page::layout::assemble::standalone::{LazyUse, lazy_uses, standalone_template};
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::upstreams::Allowed;
use crate::page::source::diagnostic::{self, Code, Diagnostic, Located, Source, SourceSpan};
use crate::page::visit::route::Pattern;
use crate::page::visit::window::TimeWindow;

use super::layout::assemble::{AssemblyContext, assemble};
use super::layout::{LayoutFile, Template};
use super::manifest::Manifest;

pub use self::bound::{BoundSite, Match};

/// The texts of a site's files.
#[derive(Debug, Default)]
pub struct Files {
    /// `layouts/**.html`
    pub layouts: Vec<Arc<Source>>,
    /// `fragments/*/fragment.toml`
    pub manifests: Vec<Arc<Source>>,
    /// What services told of themselves, each text under its URL.
    pub discovered: Vec<Arc<Source>>,
    /// Files and folders that could not be read.
    pub unreadable: Vec<Diagnostic>,
    /// Folders that were passed over.
    pub ignored: Vec<Diagnostic>,
    /// Sources of manifests that could not be asked.
    pub silent: Vec<Diagnostic>,
}

/// What settings say about layouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteLimits {
    /// Upstreams that `src` may name.
    pub allowed: Vec<Allowed>,
    /// Most partials a page.
    pub max_includes: usize,
    /// Most fragments a page.
    pub max_fragments: usize,
}

impl Default for SiteLimits {
    fn default() -> Self {
        Self { allowed: Vec::new(), max_includes: 1000, max_fragments: 1000 }
    }
}

/// What is live.
#[derive(Debug, Default)]
pub struct Site {
    /// Nanoservices.
    pub catalogue: Catalogue,
    /// Pages' layouts, by file.
    pub templates: Vec<Arc<Template>>,
    /// Every mistake of every file.
    pub problems: Vec<Diagnostic>,
    /// Files whose last good state is live, because they have a mistake now.
    pub kept: Vec<String>,
    /// Layouts that are good now come before those that stay live despite an error: a pattern that both have belongs to the
    /// good one.
    by_precedence: Vec<Arc<Template>>,
    /// The templates of standalone fragments by name, the highest version first.
    standalone: BTreeMap<String, Vec<(Version, Arc<Template>)>>,
}

impl Site {
    /// Builds a site. Where a file has a mistake, `last_good` gives what it was before.
    #[must_use]
    pub fn build(files: &Files, limits: &SiteLimits, last_good: Option<&Self>) -> Self {
        let problems = [files.unreadable.as_slice(), &files.ignored, &files.silent].concat();
        let mut site = Self { problems, ..Self::default() };
        let broken_manifests = site.read_manifests(files, &limits.allowed, last_good);
        let layouts: BTreeMap<String, LayoutFile> =
            files.layouts.iter().map(LayoutFile::parse).map(|file| (file.path().to_owned(), file)).collect();
        let context = AssemblyContext {
            files: &layouts,
            catalogue: &site.catalogue,
            broken_manifests: &broken_manifests,
            allowed: &limits.allowed,
            max_includes: limits.max_includes,
            max_fragments: limits.max_fragments,
        };
        let mut duplicates = duplicate_routes(&layouts);
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for file in layouts.values() {
            if !file.is_page() {
                site.problems.extend(file.problems.iter().cloned());
                // A program that writes a file empties it first, and a disk that is full leaves it so.
                if file.source.text.trim().is_empty() && was_page(file, last_good) {
                    let message = "the file is empty, and was a page before";
                    let problem = Diagnostic::new(Code::Unreadable, SourceSpan::new(&file.source, 0..0), message);
                    site.problems.push(problem.help("remove the file to take the page away"));
                    bad.push(file.source.file.clone());
                }
                continue;
            }
            let (template, mut problems) = assemble(file, &context);
            problems.extend(duplicates.remove(file.path()).into_iter().flatten());
            if problems.iter().any(Diagnostic::is_error) {
                bad.push(file.source.file.clone());
            } else {
                good.push(Arc::new(template));
            }
            site.problems.extend(problems);
        }
        bad.extend(files.unreadable.iter().map(|problem| problem.at.source.file.clone()));
        site.go_live(good, bad, last_good);
        diagnostic::tidy(&mut site.problems);
        site
    }

    /// Reads the manifests into the catalogue; names of broken ones come back, each with its file.
    fn read_manifests(
        &mut self,
        files: &Files,
        allowed: &[Allowed],
        last_good: Option<&Self>,
    ) -> BTreeMap<String, String> {
        let mut manifests: Vec<Arc<Manifest>> = Vec::new();
        let mut broken = BTreeMap::new();
        let live = last_good.map(|site| site.catalogue.manifests()).unwrap_or_default();
        let unreadable = files.unreadable.iter().map(|problem| (&problem.at.source, None));
        let read = files.manifests.iter().map(|source| {
            let (manifest, problems) = Manifest::parse(source);
            self.problems.extend(problems);
            (source, manifest)
        });
        for (source, manifest) in read.chain(unreadable) {
            match manifest {
                Some(manifest) => manifests.push(Arc::new(manifest)),
                None => {
                    let folder = source.file.rsplit('/').nth(1).unwrap_or_default();
                    broken.insert(folder.to_owned(), source.file.clone());
                    for manifest in live.iter().filter(|manifest| is_at(&manifest.at.source.file, &source.file)) {
                        self.kept.push(manifest.at.source.file.clone());
                        manifests.push(Arc::clone(manifest));
                    }
                }
            }
        }
        for source in &files.discovered {
            let (told, mut problems) = Manifest::parse_all(source, allowed);
            let mut told: Vec<Arc<Manifest>> = told.into_iter().map(Arc::new).collect();
            // A name belongs to who has it already, and to a file before all: what a source says of its
            // owner anybody could say.
            told.retain(|manifest| {
                let elsewhere = manifests.iter().filter(|known| known.name == manifest.name);
                let mut others = elsewhere.filter(|known| {
                    let same_owner = known.owner.is_some() && known.owner == manifest.owner;
                    let by_file = !files.discovered.iter().any(|told| told.file == known.at.source.file);
                    by_file || !same_owner
                });
                let Some(known) = others.next() else { return true };
                if !known.declares_the_same(manifest) {
                    problems.push(taken_over(manifest, known));
                }
                false
            });
            // With a mistake among them, those stay that were good before.
            if problems.iter().any(Diagnostic::is_error) {
                let live = live.iter().filter(|manifest| manifest.at.source.file == source.file);
                let missing = live.filter(|manifest| !told.iter().any(|other| other.name == manifest.name));
                let before = manifests.len();
                manifests.extend(missing.cloned());
                if manifests.len() > before {
                    self.kept.push(source.file.clone());
                }
            }
            manifests.extend(told);
            self.problems.extend(problems);
        }
        let (catalogue, problems) = Catalogue::new(manifests);
        self.catalogue = catalogue;
        self.problems.extend(problems);
        broken
    }

    /// Takes good layouts, and for bad ones what was live before, where a new one has not taken
    /// its routes.
    fn go_live(&mut self, good: Vec<Arc<Template>>, bad: Vec<String>, last_good: Option<&Self>) {
        self.by_precedence = good;
        for file in bad {
            let live = last_good.map(|site| site.templates.as_slice()).unwrap_or_default();
            for template in live.iter().filter(|template| is_at(&template.file, &file)) {
                self.by_precedence.push(Arc::clone(template));
                self.kept.push(template.file.clone());
            }
        }
        self.templates.clone_from(&self.by_precedence);
        self.templates.sort_by(|a, b| a.file.cmp(&b.file));
        self.serve_alone();
    }

    /// Makes a page of each fragment that some page loads lazily.
    fn serve_alone(&mut self) {
        let mut standalone: BTreeMap<String, Vec<(Version, Arc<Template>)>> = BTreeMap::new();
        let mut places: BTreeMap<(&str, Reverse<&Version>), Vec<LazyUse<'_>>> = BTreeMap::new();
        for template in &self.templates {
            let takeovers =
                template.takeovers.iter().flat_map(|takeover| lazy_uses(&takeover.template, takeover.window));
            for place in lazy_uses(template, TimeWindow::default()).into_iter().chain(takeovers) {
                places.entry((&*place.manifest.name, Reverse(&place.manifest.version))).or_default().push(place);
            }
        }
        for ((name, Reverse(version)), places) in places {
            let template = Arc::new(standalone_template(&places));
            standalone.entry(name.to_owned()).or_default().push((version.clone(), template));
        }
        self.standalone = standalone;
    }

    /// One version of a nanoservice: also one that only a page which stays live still uses. Where it is
    /// gone, the highest there is: pages that a cache keeps name assets by the version of their time.
    #[must_use]
    pub fn service(&self, name: &str, version: &str) -> Option<&Arc<Manifest>> {
        let live = self.templates.iter().flat_map(|template| template.with_takeovers());
        let used = live.flat_map(Template::manifests).filter(|manifest| *manifest.name == *name);
        let exactly = |manifest: &&Arc<Manifest>| manifest.version.to_string() == version;
        self.catalogue.versions(name).chain(used).find(exactly).or_else(|| self.catalogue.versions(name).next())
    }

    /// Whether any file has a mistake that keeps it from going live.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Diagnostic::is_error)
    }
}

/// Whether a file is the one at a path, or below the folder there.
fn is_at(file: &str, path: &str) -> bool {
    file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn was_page(file: &LayoutFile, last_good: Option<&Site>) -> bool {
    last_good.is_some_and(|site| site.templates.iter().any(|template| template.file == file.source.file))
}

/// Others that are named at each of several equal patterns, at most.
const MAX_NAMED: usize = 3;

fn taken_over(manifest: &Manifest, known: &Manifest) -> Diagnostic {
    let owner = |manifest: &Manifest| manifest.owner.clone().unwrap_or_else(|| "no owner".to_owned());
    let (file, name) = (&known.at.source.file, &manifest.name);
    let message =
        format!("`{name}` is declared in {file} ({}), and here by another ({})", owner(known), owner(manifest));
    Diagnostic::new(Code::DuplicateVersion, manifest.at.clone(), message).help("give one of them another name")
}

/// Each pattern that stands in two places, told at both; by file.
fn duplicate_routes(layouts: &BTreeMap<String, LayoutFile>) -> BTreeMap<&str, Vec<Diagnostic>> {
    let mut by_shape: BTreeMap<String, Vec<(&str, &Located<Pattern>)>> = BTreeMap::new();
    for file in layouts.values() {
        for route in &file.front.routes {
            by_shape.entry(route.value.shape()).or_default().push((file.path(), route));
        }
    }
    let mut problems: BTreeMap<&str, Vec<Diagnostic>> = BTreeMap::new();
    for same in by_shape.values().filter(|same| same.len() > 1) {
        for (index, (file, route)) in same.iter().enumerate() {
            let others = same.iter().enumerate().filter(|(other, _)| *other != index).take(MAX_NAMED);
            let mut named: Vec<String> = Vec::new();
            for (_, (_, other)) in others {
                let (line, _) = other.at.source.position(other.at.span.start);
                named.push(format!("{}:{line} (`{}`)", other.at.source.file, other.value));
            }
            let more = same.len() - 1 - named.len();
            named.extend((more > 0).then(|| format!("and {more} more")));
            let here = same.iter().all(|(other, _)| other == file);
            let message = if here {
                format!("`{}` is a route of this layout twice: {}", route.value, named.join(", "))
            } else {
                format!("`{}` is the route of another layout too: {}", route.value, named.join(", "))
            };
            let help = if here { "keep one of them" } else { "a path can lead to one layout only" };
            let problem = Diagnostic::new(Code::DuplicateRoute, route.at.clone(), message).help(help);
            problems.entry(file).or_default().push(problem);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    /// Whether a site has a page at a path.
    fn leads(site: &BoundSite, path: &str) -> bool {
        site.find(path, Timestamp::UNIX_EPOCH).is_some()
    }

    fn bound(site: Site) -> BoundSite {
        BoundSite::bind(site, Arc::default())
    }

    fn page(file: &str, route: &str) -> Arc<Source> {
        Source::new(file, format!("+++\nroute = \"{route}\"\n+++\n"))
    }

    fn build(layouts: Vec<Arc<Source>>, unreadable: &[&str], last_good: Option<&Site>) -> Site {
        let unreadable = unreadable.iter().map(|file| {
            let source = Source::new(*file, "");
            Diagnostic::new(Code::Unreadable, SourceSpan::new(&source, 0..0), "it cannot be read")
        });
        let files = Files { layouts, unreadable: unreadable.collect(), ..Files::default() };
        Site::build(&files, &SiteLimits::default(), last_good)
    }

    #[test]
    fn what_is_below_a_folder_that_cannot_be_read_stays_live() {
        let layouts =
            || vec![page("layouts/a.html", "/a"), page("layouts/s/b.html", "/b"), page("layouts/sc.html", "/c")];
        let before = build(layouts(), &[], None);
        let after = bound(build(vec![page("layouts/a.html", "/a")], &["layouts/s"], Some(&before)));
        assert!(leads(&after, "/a") && leads(&after, "/b"));
        assert!(!leads(&after, "/c"), "it was removed");
        assert_eq!(after.kept, ["layouts/s/b.html"]);
        let gone = bound(build(Vec::new(), &["layouts"], Some(&before)));
        assert!(["/a", "/b", "/c"].iter().all(|path| leads(&gone, path)));
    }

    #[test]
    fn an_emptied_page_stays_live_and_is_told() {
        let before = build(vec![page("layouts/a.html", "/a")], &[], None);
        let emptied = || vec![Source::new("layouts/a.html", "\n")];
        let mut after = build(emptied(), &[], Some(&before));
        after = build(emptied(), &[], Some(&after));
        let after = bound(after);
        assert!(leads(&after, "/a"));
        assert_eq!(after.problems.len(), 1);
        assert!(build(emptied(), &[], None).problems.is_empty(), "an empty partial is one");
    }

    #[test]
    fn a_route_of_very_many_layouts_names_a_few() {
        let site = build((0..300).map(|n| page(&format!("layouts/{n}.html"), "/a")).collect(), &[], None);
        assert_eq!(site.problems.len(), 300);
        assert!(site.problems.iter().all(|problem| problem.message.ends_with("and 296 more")));
        let twice = Source::new("layouts/a.html", "+++\nroute = [\"/{a}\", \"/{b}\"]\n+++\n");
        assert!(build(vec![twice], &[], None).problems[0].message.contains("of this layout twice"));
    }
}
