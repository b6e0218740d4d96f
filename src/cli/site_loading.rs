//! Reads a site's folder: settings, layouts and manifests, with all their errors and warnings.
//! A file with an error does not stop the others from being read.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Flags, Settings};
use crate::edge::clock::SystemClock;
use crate::edge::discovery::{Discovered, Discovery, Sources};
use crate::edge::files::SiteFolder;
use crate::edge::upstream::any::AnyUpstream;
use crate::edge::upstream::component::{ComponentSettings, Components};
use crate::edge::upstream::folder;
use crate::edge::upstream::http::HttpUpstream;
use crate::edge::upstream::names::Names;
use crate::edge::upstream::process::{self, Programs};
use crate::edge::versions::VersionsFile;
use crate::engine::Snapshot;
use crate::engine::port::{Clock as _, Observer, Unobserved, Upstream};
use crate::page::browser::lazy_address::AddressKey;
use crate::page::layout::Template;
use crate::page::manifest::Manifest;
use crate::page::policy::rollout::book::Book;
use crate::page::request::defaults::Defaults;
use crate::page::site::{BoundSite, Files, Site};
use crate::page::source::diagnostic::{self, Code, Diagnostic, Source, SourceSpan};
use crate::secrets::Secrets;

use super::runtime;

/// A site as it is on disk.
pub(super) struct Loaded {
    /// The settings; invalid ones have their defaults, or the values of the last good settings.
    pub(super) settings: Settings,
    /// Errors and warnings in the settings.
    pub(super) settings_problems: Vec<Diagnostic>,
    /// Layouts and nanoservices.
    pub(super) site: Site,
    /// The manifests that services publish themselves.
    pub(super) discovered: Discovered,
    /// The versions that pages were filled with last.
    pub(super) book: Book,
    /// Hash of all that was read: equal for two readings of the same.
    pub(super) fingerprint: u64,
}

impl Loaded {
    /// Whether the settings have an error, so that they must not be used.
    pub(super) fn settings_are_broken(&self) -> bool {
        self.settings_problems.iter().any(Diagnostic::is_error)
    }

    /// All errors and warnings.
    pub(super) fn problems(&self) -> Vec<Diagnostic> {
        let mut all = self.settings_problems.clone();
        all.extend(self.site.problems.iter().cloned());
        diagnostic::tidy(&mut all);
        all
    }
}

/// Opens a site's folder.
///
/// # Errors
/// The folder does not exist, or is not a site.
pub(super) fn open(site: &Path) -> Result<SiteFolder, String> {
    SiteFolder::open(site)
}

/// Reads settings and files. `discover` requests the manifests that services publish. A file with an error is replaced
/// by its version in the site of `last_good`; settings with an error are replaced by those of `last_good`.
pub(super) fn load(
    folder: &SiteFolder,
    flags: Flags,
    last_good: Option<(&Site, &Settings)>,
    discover: impl FnOnce(&Sources) -> Discovered,
) -> Loaded {
    load_with(folder, flags, last_good, discover, Versions::Kept)
}

/// The same for a site that is live with this book.
pub(super) fn load_again(
    folder: &SiteFolder,
    flags: Flags,
    last_good: (&Site, &Settings),
    discovered: Discovered,
    book: Book,
) -> Loaded {
    load_with(folder, flags, Some(last_good), |_| discovered, Versions::Live(book))
}

/// The same as if there were no lock: every range chooses the highest version.
pub(super) fn load_unlocked(
    folder: &SiteFolder,
    flags: Flags,
    discover: impl FnOnce(&Sources) -> Discovered,
) -> Loaded {
    load_with(folder, flags, None, discover, Versions::Highest)
}

/// Which versions ranges choose.
enum Versions {
    /// Those of the lock, as far as they have taken over by the last book that was kept.
    Kept,
    /// Those of the lock, as far as they have taken over by this book.
    Live(Book),
    /// The highest ones, as if there were neither a lock nor a book.
    Highest,
}

fn load_with(
    folder: &SiteFolder,
    flags: Flags,
    last_good: Option<(&Site, &Settings)>,
    discover: impl FnOnce(&Sources) -> Discovered,
    versions: Versions,
) -> Loaded {
    let (source, unreadable) = match folder.settings() {
        None => (None, None),
        Some(Ok(source)) => (Some(source), None),
        Some(Err(problem)) => (None, Some(problem)),
    };
    let (read, mut settings_problems) = Settings::load(folder.root(), source.as_ref(), environment(), flags);
    settings_problems.extend(unreadable);
    let broken = settings_problems.iter().any(Diagnostic::is_error);
    let settings = match last_good {
        Some((_, settings)) if broken => settings.clone(),
        _ => read,
    };
    let discovered = discover(&settings.discovery);
    let Discovered { documents, failures } = discovered.clone();
    let files = Files { discovered: documents, unreachable: failures, ..folder.files() };
    let kept = VersionsFile::new(settings.server.state.clone());
    let mut why_not_kept = None;
    let (files, book) = match versions {
        Versions::Kept => {
            let (book, why) = kept.read();
            why_not_kept = why;
            (files, book)
        }
        Versions::Live(book) => (files, book),
        Versions::Highest => (Files { lock: None, ..files }, Book::default()),
    };
    let site = Site::build_with(&files, &settings.limits, last_good.map(|(site, _)| site), &book);
    let has_rollouts = site.catalogue.manifests().iter().any(|manifest| manifest.rollout.is_some());
    let why_not_kept = why_not_kept.or_else(|| kept.why_not_kept().filter(|_| has_rollouts));
    settings_problems.extend(why_not_kept.map(|why| {
        let settings = source.clone().unwrap_or_else(|| Source::new("pasteup.toml", ""));
        let help = "make the folder of `server.state` writable, or set another; until then, rollouts begin again at each start";
        Diagnostic::new(Code::State, SourceSpan::new(&settings, 0..0), why).help(help)
    }));
    let fingerprint = fingerprint(&files, source.as_deref(), &site);
    Loaded { settings, settings_problems, site, discovered, book, fingerprint }
}

/// The settings where there is no site: those of the environment and of flags. One that has an error keeps its default.
pub(super) fn settings_without_site(root: &Path, flags: Flags) -> Settings {
    Settings::load(root, None, environment(), flags).0
}

/// The variables of the environment. Ours are ASCII, so one that is not UTF-8 is not one of them.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn fingerprint(files: &Files, settings: Option<&Source>, site: &Site) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.layouts.hash(&mut hasher);
    files.manifests.hash(&mut hasher);
    files.components.hash(&mut hasher);
    files.lock.hash(&mut hasher);
    files.discovered.hash(&mut hasher);
    files.unreadable.hash(&mut hasher);
    files.ignored.hash(&mut hasher);
    files.unreachable.hash(&mut hasher);
    settings.hash(&mut hasher);
    // A rollout that ends changes the templates, although no file does.
    site.used_versions().hash(&mut hasher);
    site.templates.iter().for_each(|template| template.rollouts.hash(&mut hasher));
    hasher.finish()
}

/// Requests no manifests from services.
pub(super) fn offline(_: &Sources) -> Discovered {
    Discovered::default()
}

/// Requests the manifests of each source once. Sources that do not respond contribute nothing.
pub(super) fn discover_once(sources: &Sources) -> Discovered {
    if sources.urls.is_empty() {
        return Discovered::default();
    }
    let (Ok(runtime), Ok(upstream)) = (runtime::current_thread(), discovery_upstream(sources)) else {
        return Discovered::default();
    };
    let mut discovery = Discovery::new(sources, upstream);
    runtime.block_on(discovery.fetch_due(SystemClock.wall()));
    discovery.discovered()
}

/// The upstream for discovery: it may connect to any address, since an operator wrote the URLs, and has no credentials.
///
/// # Errors
/// TLS could not be set up.
pub(super) fn discovery_upstream(sources: &Sources) -> Result<Arc<dyn Upstream>, String> {
    Ok(Arc::new(HttpUpstream::new(true, Secrets::new(PathBuf::new()), Names::new(&sources.resolver))?))
}

/// What runs on demand in a site.
#[derive(Clone)]
pub(super) struct OnDemand {
    pub(super) programs: Programs,
    pub(super) components: Components,
}

/// The upstream of a site: it reaches endpoints, starts programs and runs components.
///
/// # Errors
/// TLS could not be set up.
pub(super) fn upstream(
    folder: &SiteFolder,
    settings: &Settings,
    observer: Arc<dyn Observer>,
) -> Result<(AnyUpstream, OnDemand), String> {
    let names = Names::new(&settings.discovery.resolver);
    let http = HttpUpstream::new(settings.private_upstreams, Secrets::new(folder.root().to_owned()), names)?;
    let programs = Programs::new(folder.root(), settings.max_processes, Arc::clone(&observer));
    let components = components(folder.root(), settings, observer);
    Ok((AnyUpstream::new(http, programs.clone(), components.clone()), OnDemand { programs, components }))
}

fn components(root: &Path, settings: &Settings, observer: Arc<dyn Observer>) -> Components {
    let settings = ComponentSettings {
        root: root.to_owned(),
        cache: settings.component_cache.clone(),
        private_upstreams: settings.private_upstreams,
    };
    Components::new(settings, observer)
}

/// The manifests that are live: those of the catalogue, and those that pages still use that stay live despite an error.
pub(super) fn live_manifests(site: &Site) -> impl Iterator<Item = Arc<Manifest>> {
    let used = site.templates.iter().flat_map(|template| template.with_takeovers()).flat_map(Template::manifests);
    site.catalogue.manifests().iter().chain(used).cloned()
}

/// The errors of manifests whose program is missing or cannot be executed.
pub(super) fn missing_programs(site: &Site, root: &Path) -> Vec<Diagnostic> {
    let problem = |manifest: &Arc<Manifest>| {
        let program = manifest.program()?;
        let why = process::find(program, &folder(root, &manifest.at.source.file)).err()?;
        let help = "install it, make it executable, or correct `command`";
        Some(Diagnostic::new(Code::NoProgram, manifest.at.clone(), format!("`{}`: {why}", manifest.name)).help(help))
    };
    site.catalogue.manifests().iter().filter_map(problem).collect()
}

/// The errors of manifests whose component cannot be run.
pub(super) fn broken_components(loaded: &Loaded, root: &Path) -> Vec<Diagnostic> {
    let components = components(root, &loaded.settings, Arc::new(Unobserved));
    components.load(loaded.site.catalogue.manifests().iter().cloned()).problems
}

/// The state of a site that goes live.
pub(super) fn snapshot(
    site: Site,
    settings: &Settings,
    address_key: &AddressKey,
    problems: Vec<Diagnostic>,
) -> Snapshot {
    let defaults = Defaults { address_key: address_key.clone(), ..settings.defaults.clone() };
    Snapshot {
        site: BoundSite::bind(site, Arc::new(defaults)),
        problems,
        readers: settings.readers.clone(),
        stream: settings.stream,
        publish: settings.publish,
    }
}
