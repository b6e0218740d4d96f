//! A site's folder, read: settings, layouts, manifests, and all their mistakes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Flags, Settings};
use crate::edge::clock::SystemClock;
use crate::edge::discovery::{Discovered, Discovery, Sources};
use crate::edge::files::SiteFolder;
use crate::edge::upstream::http::HttpUpstream;
use crate::engine::port::{Clock as _, Upstream};
use crate::page::site::{Files, Site};
use crate::page::source::diagnostic::{self, Diagnostic, Source};
use crate::secrets::Secrets;

/// All of a site as it is on disk.
pub(super) struct Loaded {
    /// Whatever could be read of the settings.
    pub(super) settings: Settings,
    /// Mistakes in settings.
    pub(super) settings_problems: Vec<Diagnostic>,
    /// Layouts and nanoservices.
    pub(super) site: Site,
    /// What services told of themselves.
    pub(super) discovered: Discovered,
    /// Equal for two readings of the same texts.
    pub(super) fingerprint: u64,
}

impl Loaded {
    /// Whether settings have a mistake that they cannot be used with.
    pub(super) fn settings_are_broken(&self) -> bool {
        self.settings_problems.iter().any(Diagnostic::is_error)
    }

    /// Every mistake there is.
    pub(super) fn problems(&self) -> Vec<Diagnostic> {
        let mut all = self.settings_problems.clone();
        all.extend(self.site.problems.iter().cloned());
        diagnostic::tidy(&mut all);
        all
    }
}

/// Opens a site's folder.
pub(super) fn open(site: &Path) -> Result<SiteFolder, String> {
    SiteFolder::open(site)
}

/// Reads settings and files, and what services told of themselves. Where a file has a mistake,
/// `last_good` gives what it was before; where settings have one, `settings` are those before.
pub(super) fn load(
    folder: &SiteFolder,
    flags: Flags,
    last_good: Option<(&Site, &Settings)>,
    discover: impl FnOnce(&Sources) -> Discovered,
) -> Loaded {
    let file = folder.settings();
    let (source, unreadable) = match file {
        None => (None, None),
        Some(Ok(source)) => (Some(source), None),
        Some(Err(problem)) => (None, Some(problem)),
    };
    // A variable that is no UTF-8 is none of ours.
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let (read, mut settings_problems) = Settings::load(source.as_ref(), environment, flags);
    settings_problems.extend(unreadable);
    let broken = settings_problems.iter().any(Diagnostic::is_error);
    let settings = match last_good {
        Some((_, settings)) if broken => settings.clone(),
        _ => read,
    };
    let discovered = discover(&settings.discovery);
    let Discovered { documents, failures } = discovered.clone();
    let files = Files { discovered: documents, silent: failures, ..folder.files() };
    let site = Site::build(&files, &settings.limits, last_good.map(|(site, _)| site));
    let fingerprint = fingerprint(&files, source.as_deref());
    Loaded { settings, settings_problems, site, discovered, fingerprint }
}

fn fingerprint(files: &Files, settings: Option<&Source>) -> u64 {
    let mut hasher = DefaultHasher::new();
    files.layouts.hash(&mut hasher);
    files.manifests.hash(&mut hasher);
    files.discovered.hash(&mut hasher);
    files.unreadable.hash(&mut hasher);
    files.ignored.hash(&mut hasher);
    files.silent.hash(&mut hasher);
    settings.hash(&mut hasher);
    hasher.finish()
}

/// Asks nobody.
pub(super) fn offline(_: &Sources) -> Discovered {
    Discovered::default()
}

/// Asks each source once.
pub(super) fn ask_once(sources: &Sources) -> Discovered {
    if sources.urls.is_empty() {
        return Discovered::default();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(runtime), Ok(upstream)) = (runtime, discovery_upstream()) else { return Discovered::default() };
    let mut discovery = Discovery::new(sources, upstream);
    runtime.block_on(discovery.fetch_due(SystemClock.wall()));
    discovery.discovered()
}

/// The upstream for discovery: it may connect to any address, since an operator wrote the URLs, and has no credentials.
pub(super) fn discovery_upstream() -> Result<Arc<dyn Upstream>, String> {
    Ok(Arc::new(HttpUpstream::new(true, Secrets::new(PathBuf::new()))?))
}
