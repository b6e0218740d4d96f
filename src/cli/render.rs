//! `pasteup render`: composes one page and writes it to standard output; degraded parts go to standard error.
//! A page whose status is an error, and a path that no layout matches, exit with 1.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::Flags;
use crate::edge::clock::SystemClock;
use crate::edge::server::error_page_html;
use crate::edge::store::memory::MemoryStore;
use crate::engine::port::{Clock as _, Unobserved};
use crate::engine::{Compositor, Page, Ports};
use crate::page::output::verdict::Verdict;
use crate::page::response::outcome::PartHealth;
use crate::page::source::reason::Reason;
use crate::page::source::visible::visible;

use super::exit::PROBLEMS_FOUND;
use super::page_request::PageOptions;
use super::site_loading::OnDemand;
use super::{keys, report, runtime, site_loading, terminal};

pub(super) fn run(site: &Path, options: &PageOptions) -> Result<ExitCode, String> {
    compose(site, options)?.map_or_else(|| Ok(no_route(options)), |page| print(&page))
}

/// Reports that no layout matches the path.
pub(super) fn no_route(options: &PageOptions) -> ExitCode {
    terminal::message(format_args!("no layout matches {}", visible(&options.path)));
    PROBLEMS_FOUND.into()
}

/// Composes the page once, with an empty cache. `None`: no layout matches the path. Errors in the site's files go to
/// standard error.
///
/// # Errors
/// The settings have errors, or the request is not valid.
pub(super) fn compose(site: &Path, options: &PageOptions) -> Result<Option<Page>, String> {
    let folder = site_loading::open(site)?;
    let loaded = site_loading::load(&folder, Flags::default(), None, site_loading::discover_once);
    let problems = loaded.problems();
    for problem in problems.iter().filter(|problem| problem.is_error()) {
        terminal::message(format_args!("{}\n", report::human(problem)));
    }
    if loaded.settings_are_broken() {
        return Err("the settings have errors".to_owned());
    }
    let settings = loaded.settings;
    let (upstream, OnDemand { programs, components }) =
        site_loading::upstream(&folder, &settings, Arc::new(Unobserved))?;
    let manifests: Vec<_> = site_loading::live_manifests(&loaded.site).collect();
    for problem in components.load(manifests.iter().cloned()).problems {
        terminal::message(format_args!("{}\n", report::human(&problem)));
    }
    let live = site_loading::snapshot(loaded.site, &settings, &keys::address_key_if_any(&settings.server), problems);
    let store = Arc::new(MemoryStore::new(settings.cache_memory));
    let ports = Ports {
        upstream: Arc::new(upstream),
        store: Arc::clone(&store) as _,
        clock: Arc::new(SystemClock),
        observer: Arc::new(Unobserved),
        chance: fastrand::f64,
    };
    let compositor = Compositor::new(ports, store);
    compositor.rollouts().resume(loaded.book, None);
    compositor.rollouts().go_live(&live.site, SystemClock.wall());
    let Some(request) = options.request(&live, SystemClock.wall(), compositor.rollouts())? else { return Ok(None) };
    let page = runtime::current_thread()?.block_on(async {
        programs.declare(manifests, settings.max_processes);
        let page = compositor.compose(request).await;
        programs.stop_all().await;
        page
    });
    Ok(Some(page))
}

/// Writes the page to standard output, and its degraded parts to standard error.
fn print(page: &Page) -> Result<ExitCode, String> {
    for (part, outcome) in page.plan.parts.iter().zip(&page.outcomes) {
        if let Some((outcome, reason)) = outcome.as_ref().and_then(|outcome| Some((outcome, outcome.reason?)))
            && PartHealth::of(outcome.shown, outcome.reason) != PartHealth::Good
            && reason != Reason::Revalidating
        {
            let at = &part.fragment.at;
            let (line, _) = at.source.position(at.span.start);
            let (file, id) = (visible(&at.source.file), visible(&part.id));
            terminal::message(format_args!("{file}:{line}: `{id}`: {} ({reason})", outcome.shown));
        }
    }
    let mut output = std::io::stdout().lock();
    let written = match &page.verdict {
        Verdict::Page(_) => page.chunks.iter().try_for_each(|chunk| output.write_all(&chunk.bytes())),
        Verdict::Error(status) => output.write_all(error_page_html(*status, "none").as_bytes()),
        Verdict::Redirect(..) => Ok(()),
    };
    terminal::written(written.and_then(|()| output.flush()))?;
    Ok(match &page.verdict {
        Verdict::Page(status) if status.is_success() => ExitCode::SUCCESS,
        Verdict::Redirect(status, location) => {
            terminal::message(format_args!("the page redirects to {} ({status})", visible(location)));
            ExitCode::SUCCESS
        }
        Verdict::Page(status) | Verdict::Error(status) => {
            terminal::message(format_args!("the page's status is {status}"));
            PROBLEMS_FOUND.into()
        }
    })
}
