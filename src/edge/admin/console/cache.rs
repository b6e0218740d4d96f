//! What the cache holds, and why responses of nanoservices are stored or not.

use askama::Template;
use percent_encoding::percent_decode_str;

use crate::engine::inspection::CacheEntry;
use crate::engine::statistics::PageStatistics;
use crate::page::policy::cluster::report::ClusterReport;

use super::super::api::{self, CacheInspection};
use super::super::{Admin, Load, Params};
use super::format::{bytes, percent, span, time, used};

/// Maximum number of cached responses that are listed.
const MAX_ENTRIES: usize = 200;

#[derive(Template)]
#[template(path = "console/cache.html")]
struct Cache {
    text: String,
    load: Load,
    pages: PageStatistics,
    inspection: CacheInspection,
    cluster: ClusterReport,
}

pub(super) fn render(admin: &Admin, query: &Params) -> askama::Result<String> {
    let text = query.value("text");
    Cache {
        text: text.to_owned(),
        load: (admin.load)(),
        pages: admin.statistics.all_pages(),
        inspection: api::inspect_cache(admin, text, MAX_ENTRIES),
        cluster: (admin.cluster)(),
    }
    .render()
}

/// Formats seconds.
fn seconds(seconds: &u64) -> String {
    span(*seconds)
}

/// Formats a number of bytes.
fn size(count: &usize) -> String {
    bytes(&u64::try_from(*count).unwrap_or(u64::MAX))
}

/// The version of the nanoservice that sent a response. `None`: it was requested by its URL.
fn version(entry: &CacheEntry) -> Option<&str> {
    match entry.key.as_slice() {
        [by, name, version, ..] if by == "name" && *name == entry.fragment => Some(version),
        _ => None,
    }
}

/// The parameters of a cached response, as they were requested, and the context that it is for.
fn parameters(entry: &CacheEntry) -> String {
    let is_address = |field: &String| field.contains("://") || field.starts_with('/');
    let Some(at) = entry.key.iter().position(is_address) else { return entry.key.join(" · ") };
    let address = &entry.key[at];
    let shown = match address.split_once('?') {
        Some((_, query)) => {
            let pairs = form_urlencoded::parse(query.as_bytes());
            pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
        }
        None => {
            let path = address.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
            let path = path.map_or_else(|| address.clone(), |(_, path)| format!("/{path}"));
            percent_decode_str(&path).decode_utf8_lossy().into_owned()
        }
    };
    let context = entry.key[at + 1..].iter().filter(|field| !field.is_empty()).cloned();
    [shown].into_iter().chain(context).collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_cached_response_are_shown_without_its_address() {
        let entry = |key: &[&str]| CacheEntry {
            entry: String::new(),
            fragment: "weather".to_owned(),
            key: key.iter().map(ToString::to_string).collect(),
            tags: Vec::new(),
            age: 0,
            fresh_for: None,
            stated: String::new(),
            state: String::new(),
            hits: 0,
            bytes: 0,
        };
        let shown = |key: &[&str]| parameters(&entry(key));
        assert_eq!(
            shown(&["name", "weather", "1.2.0", "http://a:1/weather?city=new%20york&days=7"]),
            "city=new york, days=7"
        );
        assert_eq!(
            shown(&["name", "weather", "1.2.0", "http://a:1/weather/ely%2Dsur", "locale: de"]),
            "/weather/ely-sur · locale: de"
        );
        assert_eq!(shown(&["odd"]), "odd");
        assert_eq!(version(&entry(&["name", "weather", "1.2.0", "http://a:1/weather"])), Some("1.2.0"));
        assert_eq!(version(&entry(&["src", "http://a:1/weather", "1.2.0"])), None);
    }
}
