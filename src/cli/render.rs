//! `pasteup render`: composes one page to standard output, and tells what is amiss with it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri};
use jiff::Timestamp;

use crate::config::{Flags, Settings};
use crate::edge::clock::SystemClock;
use crate::edge::http::HttpUpstream;
use crate::edge::memory::MemoryStore;
use crate::edge::server::error_page_html;
use crate::engine::port::{Clock as _, Unobserved};
use crate::engine::{self, Compositor, Page, Ports, Trace};
use crate::page::context::{Device, Reader};
use crate::page::outcome::Reason;
use crate::page::route;
use crate::page::site::{Match, Site};
use crate::page::verdict::Verdict;
use crate::secrets::Secrets;

use super::{FOUND, loading, report};

/// What to render, and for whom.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The page, with its query: /news/uk?page=2
    path: String,
    /// The reader's device: mobile, tablet or desktop
    #[arg(long)]
    device: Option<Device>,
    /// The reader's country, by its ISO 3166-1 code
    #[arg(long)]
    region: Option<String>,
    /// The reader's locale
    #[arg(long)]
    locale: Option<String>,
    /// The reader's variant of an experiment
    #[arg(long = "variant", value_name = "EXPERIMENT:VARIANT", value_parser = pair)]
    variants: Vec<(String, String)>,
    /// A header that the reader sends
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The time that conditions are judged at, such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (experiment, variant) = text.split_once(':').ok_or("write it like `lead:big`")?;
    Ok((experiment.to_owned(), variant.to_owned()))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it like `Accept-Language: en`")?;
    let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    Ok((name, HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?))
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let folder = loading::open(site)?;
    let loaded = loading::load(&folder, Flags::default(), None, loading::ask_once);
    let problems = loaded.problems();
    for problem in problems.iter().filter(|problem| problem.is_error()) {
        anstream::eprintln!("{}\n", report::human(problem));
    }
    if loaded.settings_are_broken() {
        return Err("the settings have mistakes".to_owned());
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let page = runtime.block_on(compose(folder.root(), &loaded.site, &loaded.settings, options))?;
    let Some(page) = page else {
        anstream::eprintln!("no layout has a route for {}", options.path);
        return Ok(FOUND.into());
    };
    show(&page)
}

async fn compose(root: &Path, site: &Site, settings: &Settings, options: &Options) -> Result<Option<Page>, String> {
    let uri: Uri = options.path.parse().map_err(|error| format!("`{}` is no path: {error}", options.path))?;
    let path = route::normalise(uri.path()).map_err(|error| format!("`{}`: {error}", options.path))?;
    let at = options.at.unwrap_or_else(|| SystemClock.wall());
    let Some(Match { template, changes_in, pattern, parameters }) = site.find(&path, at) else { return Ok(None) };
    // Who runs a command may say all of a reader; what he says by an option is over what headers say.
    let known = settings.readers.reader(&template.reads, &options.headers.iter().cloned().collect(), true);
    let reader = Reader {
        device: options.device.or(known.device),
        region: options.region.clone().or(known.region),
        locale: options.locale.clone().or(known.locale),
        variants: options.variants.clone(),
        ..known
    };
    let visit = template.visit(pattern, parameters, uri.query(), reader, String::new());
    let upstream = HttpUpstream::new(settings.private_upstreams, Secrets::new(root.to_owned()))?;
    let compositor = Compositor::new(Ports {
        upstream: Arc::new(upstream),
        store: Arc::new(MemoryStore::new(settings.cache_memory)),
        clock: Arc::new(SystemClock),
        observer: Arc::new(Unobserved),
        chance: fastrand::f64,
    });
    Ok(Some({
        let request = engine::Request {
            template: Arc::clone(template),
            visit,
            defaults: Arc::new(settings.defaults.clone()),
            trace: Trace::new(),
            at,
            changes_in,
        };
        compositor.compose(request).await
    }))
}

/// The page to standard output, what is amiss to standard error.
fn show(page: &Page) -> Result<ExitCode, String> {
    for (hole, outcome) in page.plan.holes.iter().zip(&page.outcomes) {
        if let Some((outcome, reason)) = outcome.as_ref().and_then(|outcome| Some((outcome, outcome.reason?)))
            && !matches!(reason, Reason::Condition | Reason::Empty)
        {
            let at = &hole.fragment.at;
            let (line, _) = at.source.position(at.span.start);
            anstream::eprintln!("{}:{line}: `{}` is {} ({reason})", at.source.file, hole.id, outcome.shown);
        }
    }
    let mut output = std::io::stdout().lock();
    let written = match &page.verdict {
        Verdict::Page(_) => page.chunks.iter().try_for_each(|chunk| output.write_all(chunk)),
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
