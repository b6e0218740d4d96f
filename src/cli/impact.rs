//! `pasteup impact`: who is touched when a nanoservice changes or goes.
//! A name that the catalogue does not have is an error.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::Flags;
use crate::page::site::impact::Impact;
use crate::page::source::names;
use crate::page::source::visible::{visible, visible_json};

use super::admin_client::AdminClient;
use super::list_format::ListFormat;
use super::{deploy, report, runtime, site_loading, terminal};

/// Longest wait for the response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The options of `pasteup impact`.
#[derive(clap::Args)]
pub(super) struct Options {
    /// The nanoservice, and the version if only that one changes
    #[arg(value_name = "NAME[@VERSION]")]
    service: String,
    /// The admin listener of a compositor, which knows how often each page is asked for
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Output format
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    format: ListFormat,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let flags = Flags { admin: options.admin, ..Flags::default() };
    let impact = if options.admin.is_some() {
        let loaded = site_loading::load(&site_loading::open(site)?, flags, None, site_loading::offline);
        let admin = AdminClient::of(&loaded.settings.server, TIMEOUT)?;
        let path = format!("/api/impact?of={}", utf8_percent_encode(&options.service, NON_ALPHANUMERIC));
        runtime::current_thread()?.block_on(admin.get(&path))?
    } else {
        let loaded = site_loading::load(&site_loading::open(site)?, flags, None, site_loading::discover_once);
        let (name, version) = match options.service.contains('@') {
            true => deploy::parse_version(&options.service).map(|(name, version)| (name, Some(version)))?,
            false => (options.service.clone(), None),
        };
        let catalogue = &loaded.site.catalogue;
        if !catalogue.versions(&name).any(|one| version.as_ref().is_none_or(|version| one.version == *version)) {
            let help = names::did_you_mean(&name, catalogue.names()).unwrap_or_default();
            return Err(format!("the catalogue has no `{}`; {help}", options.service));
        }
        loaded.site.impact(&name, version.as_ref())
    };
    terminal::print(match options.format {
        ListFormat::Human => human(&impact),
        ListFormat::Json => {
            let json = serde_json::to_string_pretty(&impact).expect("texts and numbers can be written as JSON");
            format!("{}\n", visible_json(json))
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn human(impact: &Impact) -> String {
    let Impact { name, version, pages, composed_by, owners } = impact;
    let version = version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let mut text = format!("{name}{version}: {}\n", report::counted(pages.len(), "page"));
    let owner = |owner: &Option<String>| owner.as_ref().map(|owner| format!("  {owner}")).unwrap_or_default();
    for page in pages {
        let line = page.line.map_or_else(|| "  in what it composes".to_owned(), |line| format!(":{line}"));
        let rate = page.per_second.map(|rate| format!("  {rate} a second")).unwrap_or_default();
        text.push_str(&format!("  {}  {}{line}{}{rate}\n", page.route, page.file, owner(&page.owner)));
    }
    if !composed_by.is_empty() {
        text.push_str("composed by\n");
    }
    for composer in composed_by {
        text.push_str(&format!("  {} {}{}\n", composer.name, composer.version, owner(&composer.owner)));
    }
    if !owners.is_empty() {
        text.push_str(&format!("owners: {}\n", owners.join(", ")));
    }
    text.lines().map(|line| format!("{}\n", visible(line))).collect()
}
