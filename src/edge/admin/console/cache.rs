//! What the cache holds, and why responses of nanoservices are stored or not.

use askama::Template;

use crate::page::policy::cluster::report::ClusterReport;

use super::super::api::{self, CacheInspection};
use super::super::{Admin, Params};
use super::format::{percent, time};

/// Maximum number of cached responses that are listed.
const MAX_ENTRIES: usize = 200;

#[derive(Template)]
#[template(path = "console/cache.html")]
struct Cache {
    text: String,
    entries: u64,
    mib: String,
    inspection: CacheInspection,
    cluster: ClusterReport,
}

pub(super) fn render(admin: &Admin, query: &Params) -> askama::Result<String> {
    let load = (admin.load)();
    let text = query.value("text");
    #[expect(clippy::cast_precision_loss, reason = "one decimal place is shown")]
    let mib = format!("{:.1}", load.cache_bytes as f64 / f64::from(1 << 20));
    let inspection = api::inspect_cache(admin, text, MAX_ENTRIES);
    let (text, cluster) = (text.to_owned(), (admin.cluster)());
    Cache { text, entries: load.cache_entries, mib, inspection, cluster }.render()
}
