//! What a fragment needs in the page's head: stylesheets and hints, from `Link` (RFC 8288).
//! A link of another kind, or one that leads nowhere good, is passed over.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use http::{HeaderMap, header};
use semver::Version;
use url::Url;

use crate::page::html::escape;
use crate::page::http::fields;
use crate::page::source::map::Set;

/// The relations that are moved to the head.
pub const RELATIONS: [&str; 4] = ["stylesheet", "preload", "modulepreload", "preconnect"];
/// The parameters that become attributes.
pub const ATTRIBUTES: [&str; 8] =
    ["as", "type", "media", "integrity", "crossorigin", "fetchpriority", "imagesrcset", "imagesizes"];
/// Links of one answer, at most.
const MAX_LINKS: usize = 64;

/// A `<link>` for the page's head.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asset {
    /// What it is to the page.
    pub rel: String,
    /// Where browsers find it.
    pub href: String,
    /// The other attributes, in the order of the standard list.
    attributes: Vec<(&'static str, Option<String>)>,
}

impl Asset {
    /// Reads an answer's links, in their order.
    #[must_use]
    pub fn read(headers: &HeaderMap, url: &Url, service: Option<(&str, &Version)>) -> Box<[Self]> {
        let mut met = Set::default();
        fields::members(headers, &header::LINK)
            .flat_map(|link| Self::link(link, url, service))
            .filter(|asset| met.insert((asset.rel.clone(), asset.href.clone())))
            .take(MAX_LINKS)
            .collect()
    }

    fn link(link: &str, url: &Url, service: Option<(&str, &Version)>) -> Vec<Self> {
        let parts = fields::split(link, b';').members;
        let Some((target, parameters)) = parts.split_first() else { return Vec::new() };
        let target = target.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let href = target.and_then(|target| public(target.trim(), url, service));
        let Some(href) = href else { return Vec::new() };
        let parameters: Vec<(String, Option<String>)> = parameters.iter().map(|text| fields::pair(text)).collect();
        // RFC 8288, 3.2: with an anchor it speaks of something else than this fragment.
        if parameters.iter().any(|(name, _)| name == "anchor") {
            return Vec::new();
        }
        // RFC 8288, 3.3: the first `rel` counts, and may hold several relations.
        let rel = parameters.iter().find(|(name, _)| name == "rel").and_then(|(_, value)| value.as_deref());
        let attributes: Vec<_> = ATTRIBUTES
            .iter()
            .filter_map(|known| {
                let (_, value) = parameters.iter().find(|(name, _)| name == known)?;
                Some((*known, value.clone()))
            })
            .collect();
        let relations = rel.unwrap_or_default().split_ascii_whitespace().map(str::to_ascii_lowercase);
        let known: BTreeSet<String> = relations.filter(|rel| RELATIONS.contains(&rel.as_str())).collect();
        known.into_iter().map(|rel| Self { rel, href: href.clone(), attributes: attributes.clone() }).collect()
    }

    /// An asset that a manifest declares. `None` where it leads nowhere good.
    #[must_use]
    pub fn declared(
        rel: &str,
        href: &str,
        attributes: Vec<(&'static str, String)>,
        base: &Url,
        name: &str,
        version: &Version,
    ) -> Option<Self> {
        let attributes = attributes.into_iter().map(|(name, value)| (name, Some(value))).collect();
        Some(Self { rel: rel.to_owned(), href: public(href, base, Some((name, version)))?, attributes })
    }

    /// What its bytes are to be (Subresource Integrity), where that is said.
    #[must_use]
    pub fn integrity(&self) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| *name == "integrity").and_then(|(_, value)| value.as_deref())
    }

    /// Bytes that it takes in memory, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(_, value)| value.as_ref().map_or(0, String::len) + 48);
        size_of::<Self>() + self.rel.len() + self.href.len() + attributes.sum::<usize>()
    }

    /// As it stands in a head.
    #[must_use]
    pub fn html(&self) -> String {
        let mut html = format!("<link rel=\"{}\" href=\"{}\"", self.rel, escape(&self.href));
        for (name, value) in &self.attributes {
            let _ = match value {
                Some(value) => write!(html, " {name}=\"{}\"", escape(value)),
                None => write!(html, " {name}"),
            };
        }
        html.push('>');
        html
    }
}

/// Where browsers find what a service calls `target`: an absolute URL stays, and one that is relative
/// to a named service is asked for through the compositor.
fn public(target: &str, base: &Url, service: Option<(&str, &Version)>) -> Option<String> {
    if target.is_empty() || target.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return None;
    }
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.username().is_empty();
    match Url::parse(target) {
        Ok(url) => return is_web(&url).then(|| target.to_owned()),
        Err(url::ParseError::RelativeUrlWithoutBase) => {}
        Err(_) => return None,
    }
    let url = base.join(target).ok().filter(is_web)?;
    match service {
        Some((name, version)) if url.origin() == base.origin() => {
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            Some(format!("/_pasteup/assets/{name}/{version}{}{query}", url.path()))
        }
        _ => Some(url.into()),
    }
}
