//! Builds a site from the texts of its files: its templates and its catalogue.
//! A file with an error does not go live; its last good version stays live.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use semver::Version;

use crate::page::browser::lazy_address::ConditionFields;
use crate::page::layout::assemble::standalone::{LazyUse, lazy_uses, standalone_template};
use crate::page::layout::assemble::{AssemblyContext, assemble, unused};
use crate::page::layout::{LayoutFile, Template};
use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::grants::ManifestSource;
use crate::page::manifest::lock::Lock;
use crate::page::manifest::upstreams::Allowed;
use crate::page::policy::rollout::book::Book;
use crate::page::request::defaults::Defaults;
use crate::page::source::diagnostic::{self, Code, Diagnostic, SourceSpan};
use crate::page::visit::reader::ReaderRules;
use crate::page::visit::window::TimeWindow;

use super::files::{Files, is_at};
use super::routes::duplicate_routes;

/// The settings for layouts and manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteLimits {
    /// The upstreams that `src` may name.
    pub allowed: Vec<Allowed>,
    /// The services whose manifests are read, in the order in which names belong to them.
    pub sources: Vec<ManifestSource>,
    /// Maximum number of partials on a page.
    pub max_includes: usize,
    /// Maximum number of fragments on a page.
    pub max_fragments: usize,
    /// The locales of the site.
    pub locales: Vec<String>,
    /// The time limit of a page that states none.
    pub budget: Duration,
}

impl Default for SiteLimits {
    fn default() -> Self {
        let (locales, budget) = (ReaderRules::default().locales, Defaults::default().budget);
        Self { allowed: Vec::new(), sources: Vec::new(), max_includes: 1000, max_fragments: 1000, locales, budget }
    }
}

/// A site.
#[derive(Debug, Default)]
pub struct Site {
    /// The nanoservices.
    pub catalogue: Catalogue,
    /// The versions that ranges may choose. `None`: all of them.
    pub lock: Option<Lock>,
    /// The templates of pages, by file.
    pub templates: Vec<Arc<Template>>,
    /// The diagnostics of all files.
    pub problems: Vec<Diagnostic>,
    /// The files whose last good version is live because they have an error now.
    pub last_good: Vec<String>,
    /// Layouts that are good now come before those that stay live despite an error: a pattern that both have belongs to the
    /// good one.
    pub(super) by_precedence: Vec<Arc<Template>>,
    /// The manifests that each discovery source had published without an error, by its document.
    pub(super) published: BTreeMap<String, Vec<Arc<Manifest>>>,
    /// The templates of standalone fragments by name, the highest version first.
    pub(super) standalone: BTreeMap<String, Vec<StandaloneTemplate>>,
}

/// The template of a standalone fragment, for all places with the same conditions.
#[derive(Debug)]
pub(super) struct StandaloneTemplate {
    /// The version of the nanoservice.
    pub(super) version: Version,
    /// The conditions, as its addresses state them.
    pub(super) conditions: ConditionFields,
    pub(super) template: Arc<Template>,
}

impl Site {
    /// Builds a site. The last good versions of files with an error come from `before`.
    #[must_use]
    pub fn build(files: &Files, limits: &SiteLimits, before: Option<&Self>) -> Self {
        Self::build_with(files, limits, before, &Book::default())
    }

    /// Builds a site. A version that the book does not know takes over as its manifest states.
    #[must_use]
    pub fn build_with(files: &Files, limits: &SiteLimits, before: Option<&Self>, book: &Book) -> Self {
        let problems = [files.unreadable.as_slice(), &files.ignored, &files.unreachable].concat();
        let mut site = Self { problems, ..Self::default() };
        let broken_manifests = site.read_manifests(files, limits, before);
        site.read_lock(files, before);
        site.catalogue = std::mem::take(&mut site.catalogue).with_turns(site.lock.as_ref(), book);
        let layouts: BTreeMap<String, LayoutFile> =
            files.layouts.iter().map(LayoutFile::parse).map(|file| (file.path().to_owned(), file)).collect();
        let context = AssemblyContext {
            files: &layouts,
            catalogue: &site.catalogue,
            broken_manifests: &broken_manifests,
            allowed: &limits.allowed,
            max_includes: limits.max_includes,
            max_fragments: limits.max_fragments,
            locales: &limits.locales,
            budget: limits.budget,
        };
        let mut duplicates = duplicate_routes(&layouts);
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for file in layouts.values() {
            if !file.is_page() {
                site.problems.extend(file.problems.iter().cloned());
                if was_page(file, before) {
                    // Programs empty a file before they write it, and on a full disk it stays empty.
                    let is_empty = "+++".starts_with(file.source.text.trim());
                    if is_empty {
                        let message = "the file is empty, and was a page before";
                        let problem = Diagnostic::new(Code::Unreadable, SourceSpan::new(&file.source, 0..0), message);
                        site.problems.push(problem.help("remove the file to take the page away"));
                    }
                    // With an error, such as front matter that is not closed yet, it was not meant to become a partial.
                    if is_empty || file.problems.iter().any(Diagnostic::is_error) {
                        bad.push(file.source.file.clone());
                    }
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
        site.problems.extend(unused::problems(&context));
        bad.extend(files.unreadable.iter().map(|problem| problem.at.source.file.clone()));
        site.go_live(good, bad, before);
        diagnostic::tidy(&mut site.problems);
        site
    }

    /// Takes the good templates, and for each bad file the template that was live before.
    fn go_live(&mut self, good: Vec<Arc<Template>>, bad: Vec<String>, before: Option<&Self>) {
        self.by_precedence = good;
        for file in bad {
            let live = before.map(|site| site.templates.as_slice()).unwrap_or_default();
            for template in live.iter().filter(|template| is_at(&template.file, &file)) {
                self.by_precedence.push(Arc::clone(template));
                self.last_good.push(template.file.clone());
            }
        }
        self.templates.clone_from(&self.by_precedence);
        self.templates.sort_by(|a, b| a.file.cmp(&b.file));
        self.add_standalone();
    }

    /// Makes a page for each fragment that some page loads lazily, and for each set of conditions under which one does.
    fn add_standalone(&mut self) {
        let mut uses: BTreeMap<(&str, Reverse<&Version>, ConditionFields), Vec<LazyUse<'_>>> = BTreeMap::new();
        for template in &self.templates {
            let takeovers =
                template.takeovers.iter().flat_map(|takeover| lazy_uses(&takeover.template, takeover.window));
            for one in lazy_uses(template, TimeWindow::default()).into_iter().chain(takeovers) {
                let Manifest { name, version, .. } = &**one.manifest;
                uses.entry((name, Reverse(version), one.place.fields())).or_default().push(one);
            }
        }
        let mut standalone: BTreeMap<String, Vec<StandaloneTemplate>> = BTreeMap::new();
        for ((name, Reverse(version), conditions), uses) in uses {
            let template = Arc::new(standalone_template(&uses));
            let version = version.clone();
            standalone.entry(name.to_owned()).or_default().push(StandaloneTemplate { version, conditions, template });
        }
        self.standalone = standalone;
    }

    /// One version of a nanoservice, even if only a page that stays live despite an error uses it. If it is gone, the highest
    /// version: pages in caches name assets by the version of their time.
    #[must_use]
    pub fn nanoservice(&self, name: &str, version: &str) -> Option<&Arc<Manifest>> {
        let live = self.templates.iter().flat_map(|template| template.with_takeovers());
        let used = live.flat_map(Template::manifests).filter(|manifest| *manifest.name == *name);
        let exactly = |manifest: &&Arc<Manifest>| manifest.version.to_string() == version;
        self.catalogue.versions(name).chain(used).find(exactly).or_else(|| self.catalogue.versions(name).next())
    }

    /// Whether any file has an error, which keeps it from going live.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Diagnostic::is_error)
    }
}

/// Whether a file was a page before.
fn was_page(file: &LayoutFile, before: Option<&Site>) -> bool {
    before.is_some_and(|site| site.templates.iter().any(|template| template.file == file.source.file))
}

#[cfg(test)]
mod tests {
    use super::super::bound::BoundSite;
    use super::*;
    use crate::page::source::diagnostic::Source;
    use jiff::Timestamp;

    /// Whether a site has a page at a path.
    fn leads(site: &BoundSite, path: &str) -> bool {
        site.find(path, None, Timestamp::UNIX_EPOCH).is_ok()
    }

    fn bound(site: Site) -> BoundSite {
        BoundSite::bind(site, Arc::default())
    }

    fn page(file: &str, route: &str) -> Arc<Source> {
        Source::new(file, format!("+++\nroute = \"{route}\"\n+++\n"))
    }

    fn build(layouts: Vec<Arc<Source>>, unreadable: &[&str], before: Option<&Site>) -> Site {
        let unreadable = unreadable.iter().map(|file| {
            let source = Source::new(*file, "");
            Diagnostic::new(Code::Unreadable, SourceSpan::new(&source, 0..0), "it cannot be read")
        });
        let files = Files { layouts, unreadable: unreadable.collect(), ..Files::default() };
        Site::build(&files, &SiteLimits::default(), before)
    }

    #[test]
    fn files_in_a_folder_that_cannot_be_read_stay_live() {
        let layouts =
            || vec![page("layouts/a.html", "/a"), page("layouts/s/b.html", "/b"), page("layouts/sc.html", "/c")];
        let before = build(layouts(), &[], None);
        let after = bound(build(vec![page("layouts/a.html", "/a")], &["layouts/s"], Some(&before)));
        assert!(leads(&after, "/a") && leads(&after, "/b"));
        assert!(!leads(&after, "/c"), "it was removed");
        assert_eq!(after.last_good, ["layouts/s/b.html"]);
        let gone = bound(build(Vec::new(), &["layouts"], Some(&before)));
        assert!(["/a", "/b", "/c"].iter().all(|path| leads(&gone, path)));
    }

    #[test]
    fn an_emptied_page_stays_live_and_is_reported() {
        let before = build(vec![page("layouts/a.html", "/a")], &[], None);
        let emptied = || vec![Source::new("layouts/a.html", "\n")];
        let mut after = build(emptied(), &[], Some(&before));
        after = build(emptied(), &[], Some(&after));
        let after = bound(after);
        assert!(leads(&after, "/a"));
        assert_eq!(after.problems.len(), 1);
        assert!(build(emptied(), &[], None).problems.is_empty(), "an empty file may be a partial");
    }

    #[test]
    fn a_page_that_is_seen_half_written_stays_live() {
        let whole = "+++\nroute = \"/a\"\n+++\n<div><script>a</script><!-- b --><p title=\"c\">d</p></div>\n";
        let before = build(vec![Source::new("layouts/a.html", whole)], &[], None);
        assert_eq!(before.problems, []);
        for end in 0..whole.len() {
            let text = &whole[..end];
            let after = build(vec![Source::new("layouts/a.html", text)], &[], Some(&before));
            let html = text.strip_prefix("+++\nroute = \"/a\"\n+++");
            let is_between = html.is_some_and(|html| {
                let open = |start: &str, end: &str| html.rfind(start) > html.rfind(end);
                !open("<", ">") && !open("<script", "</script>") && !open("<!--", "-->")
            });
            assert_eq!(after.last_good.is_empty(), is_between, "{text:?}");
            assert!(leads(&bound(after), "/a"), "{text:?}");
        }
    }

    #[test]
    fn a_route_of_very_many_layouts_names_a_few_of_them() {
        let site = build((0..300).map(|n| page(&format!("layouts/{n}.html"), "/a")).collect(), &[], None);
        assert_eq!(site.problems.len(), 300);
        assert!(site.problems.iter().all(|problem| problem.message.ends_with("and 296 more")));
        let twice = Source::new("layouts/a.html", "+++\nroute = [\"/{a}\", \"/{b}\"]\n+++\n");
        assert!(build(vec![twice], &[], None).problems[0].message.contains("of this layout twice"));
    }
}
