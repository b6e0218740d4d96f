//! `pasteup render`: composes one page to standard output, and tells what is amiss with it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::Flags;
use crate::edge::clock::SystemClock;
use crate::edge::server::error_page_html;
use crate::edge::store::memory::MemoryStore;
use crate::edge::upstream::http::HttpUpstream;
use crate::engine::port::{Clock as _, Unobserved};
use crate::engine::{Compositor, Page, Ports};
use crate::page::output::verdict::Verdict;
use crate::page::response::outcome::is_degraded;
use crate::secrets::Secrets;

use super::asking::Wanted;
use super::reloading::snapshot;
use super::{FOUND, loading, report};

pub(super) fn run(site: &Path, wanted: &Wanted) -> Result<ExitCode, String> {
    compose(site, wanted)?.map_or_else(|| Ok(no_route(wanted)), |page| show(&page))
}

/// That there is no such page.
pub(super) fn no_route(wanted: &Wanted) -> ExitCode {
    anstream::eprintln!("no layout has a route for {}", wanted.path);
    FOUND.into()
}

/// The page, composed once, from nothing that is kept. Mistakes in files are told.
pub(super) fn compose(site: &Path, wanted: &Wanted) -> Result<Option<Page>, String> {
    let folder = loading::open(site)?;
    let loaded = loading::load(&folder, Flags::default(), None, loading::ask_once);
    let problems = loaded.problems();
    for problem in problems.iter().filter(|problem| problem.is_error()) {
        anstream::eprintln!("{}\n", report::human(problem));
    }
    if loaded.settings_are_broken() {
        return Err("the settings have mistakes".to_owned());
    }
    let settings = loaded.settings;
    let live = snapshot(loaded.site, &settings, problems);
    let Some(request) = wanted.request(&live, SystemClock.wall())? else { return Ok(None) };
    let upstream = HttpUpstream::new(settings.private_upstreams, Secrets::new(folder.root().to_owned()))?;
    let store = Arc::new(MemoryStore::new(settings.cache_memory));
    let ports = Ports {
        upstream: Arc::new(upstream),
        store: Arc::clone(&store) as _,
        clock: Arc::new(SystemClock),
        observer: Arc::new(Unobserved),
        chance: fastrand::f64,
    };
    let compositor = Compositor::new(ports, store);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    Ok(Some(runtime.block_on(compositor.compose(request))))
}

/// The page to standard output, what is amiss to standard error.
fn show(page: &Page) -> Result<ExitCode, String> {
    for (hole, outcome) in page.plan.holes.iter().zip(&page.outcomes) {
        if let Some((outcome, reason)) = outcome.as_ref().and_then(|outcome| Some((outcome, outcome.reason?)))
            && is_degraded(outcome.shown, outcome.reason)
        {
            let at = &hole.fragment.at;
            let (line, _) = at.source.position(at.span.start);
            anstream::eprintln!("{}:{line}: `{}` is {} ({reason})", at.source.file, hole.id, outcome.shown);
        }
    }
    let mut output = std::io::stdout().lock();
    let written = match &page.verdict {
        Verdict::Page(_) => page.chunks.iter().try_for_each(|chunk| output.write_all(&chunk.bytes())),
        Verdict::Error(status) => output.write_all(error_page_html(*status, "none").as_bytes()),
        Verdict::Redirect(..) => Ok(()),
    };
    report::written(written.and_then(|()| output.flush()))?;
    Ok(match &page.verdict {
        Verdict::Page(status) if status.is_success() => ExitCode::SUCCESS,
        Verdict::Redirect(status, location) => {
            anstream::eprintln!("the page is a redirect: {status} to {location}");
            ExitCode::SUCCESS
        }
        Verdict::Page(status) | Verdict::Error(status) => {
            anstream::eprintln!("the page's status is {status}");
            FOUND.into()
        }
    })
}
