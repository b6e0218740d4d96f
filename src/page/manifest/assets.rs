//! What a fragment needs in the page's head: stylesheets and hints, from `Link` (RFC 8288) or the manifest.
//! A link with another relation, or with a URL that is not allowed, is ignored.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use http::{HeaderMap, header};
use semver::Version;
use url::Url;

use crate::page::html::escape;
use crate::page::http::fields;
use crate::page::source::map::Set;
use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::table::{self, TableReader};

/// A stylesheet that readers choose, by its title.
const ALTERNATE: &str = "alternate stylesheet";
/// The relations of links that are moved to the head.
static RELATIONS: [&str; 5] = ["stylesheet", ALTERNATE, "preload", "modulepreload", "preconnect"];
/// Maximum number of links of one response.
const MAX_LINKS: usize = 64;

schema! {
    /// A `<link>` in the page's head. `rel` and `href` are as in `Link` (RFC 8288); the other keys become attributes.
    pub(crate) mod link {
        /// The relation of the asset to the page.
        REL = Field::new("rel", Kind::Word(&RELATIONS)).required();
        /// The URL of the asset. A relative one is served through the compositor.
        HREF = Field::new("href", Kind::Text).required().example("\"/assets/weather.css\"");
        /// The destination of a preload, such as `style` or `font`.
        AS = Field::new("as", Kind::Text).example("\"font\"");
        /// The media type.
        TYPE = Field::new("type", Kind::Text).example("\"font/woff2\"");
        /// The title of an alternative stylesheet, by which readers choose it.
        TITLE = Field::new("title", Kind::Text).example("\"Dark\"");
        /// The media query for which it applies.
        MEDIA = Field::new("media", Kind::Text).example("\"print\"");
        /// The hash of its bytes (Subresource Integrity).
        INTEGRITY = Field::new("integrity", Kind::Text).example("\"sha384-…\"");
        /// How credentials are sent to another origin.
        CROSSORIGIN = Field::new("crossorigin", Kind::Text).example("\"anonymous\"");
        /// The priority of its fetch.
        FETCHPRIORITY = Field::new("fetchpriority", Kind::Text).example("\"high\"");
        /// The candidate images of a preload.
        IMAGESRCSET = Field::new("imagesrcset", Kind::Text).example("\"map.png 1x, map-2x.png 2x\"");
        /// The sizes of the candidate images.
        IMAGESIZES = Field::new("imagesizes", Kind::Text).example("\"100vw\"");
    }
}

/// The fields that become attributes of the `<link>`, and that parameters of `Link` set.
fn attributes() -> impl Iterator<Item = &'static Field> {
    let is_attribute = |field: &&'static Field| !std::ptr::eq(*field, &link::REL) && !std::ptr::eq(*field, &link::HREF);
    link::SCHEMA.fields.iter().copied().filter(is_attribute)
}

/// An asset as a manifest declares it: relation, URL and attributes.
pub(super) type Declared = (&'static str, String, Vec<(&'static str, String)>);

/// Reads one of `[[assets]]`.
pub(super) fn read(asset: &mut TableReader<'_>) -> Option<Declared> {
    let rel = asset.required(&link::REL, table::word(&link::REL.kind));
    let href = asset.required(&link::HREF, table::filled);
    let attributes = attributes().filter_map(|field| Some((field.name, asset.read(field, table::text)?))).collect();
    rel.zip(href).map(|(rel, href)| (rel, href, attributes))
}

/// A `<link>` for the page's head.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asset {
    /// Its relation to the page.
    pub rel: String,
    /// The URL that browsers request.
    pub href: String,
    /// The other attributes, in the order of the schema.
    attributes: Vec<(&'static str, Option<String>)>,
}

/// The parts of an asset: relation, URL and attributes.
pub type AssetParts = (String, String, Vec<(String, Option<String>)>);

impl Asset {
    /// Reads the links of a response, in their order. A duplicate is left out.
    #[must_use]
    pub fn read(headers: &HeaderMap, url: &Url, service: Option<(&str, &Version)>) -> Box<[Self]> {
        let mut seen = Set::default();
        fields::members(headers, &header::LINK)
            .flat_map(|link| Self::link(link, url, service))
            .filter(|asset| seen.insert((asset.rel.clone(), asset.href.clone())))
            .take(MAX_LINKS)
            .collect()
    }

    fn link(link: &str, url: &Url, service: Option<(&str, &Version)>) -> Vec<Self> {
        let parts = fields::split(link, b';').members;
        let Some((target, parameters)) = parts.split_first() else { return Vec::new() };
        let target = target.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let href = target.and_then(|target| public_href(target.trim(), url, service));
        let Some(href) = href else { return Vec::new() };
        let parameters: Vec<(String, Option<String>)> = parameters.iter().map(|text| fields::pair(text)).collect();
        // RFC 8288, 3.2: a link with an anchor is about another resource than this fragment.
        if parameters.iter().any(|(name, _)| name == "anchor") {
            return Vec::new();
        }
        // RFC 8288, 3.3: only the first `rel` counts, and it may have several relations.
        let rel = parameters.iter().find(|(name, _)| name == "rel").and_then(|(_, value)| value.as_deref());
        let attributes: Vec<_> = attributes()
            .filter_map(|field| {
                let (_, value) = parameters.iter().find(|(name, _)| name == field.name)?;
                Some((field.name, value.clone()))
            })
            .collect();
        // A title would make any other stylesheet one of a set, of which browsers apply one.
        let of = |rel: &str| {
            let kept = attributes.iter().filter(|(name, _)| rel == ALTERNATE || *name != link::TITLE.name);
            Self { rel: rel.to_owned(), href: href.clone(), attributes: kept.cloned().collect() }
        };
        relations(rel.unwrap_or_default()).into_iter().map(of).collect()
    }

    /// Creates an asset that a manifest declares. `None` if its URL is not allowed.
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
        Some(Self { rel: rel.to_owned(), href: public_href(href, base, Some((name, version)))?, attributes })
    }

    /// The hash that its bytes must have (Subresource Integrity), if it is declared.
    #[must_use]
    pub fn integrity(&self) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| *name == link::INTEGRITY.name).and_then(|(_, value)| value.as_deref())
    }

    /// Its parts, to be kept elsewhere: relation, URL and attributes.
    #[must_use]
    pub fn parts(&self) -> AssetParts {
        let attributes = self.attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        (self.rel.clone(), self.href.clone(), attributes.collect())
    }

    /// The asset of such parts. `None`: they are not the parts of one.
    #[must_use]
    pub fn of_parts(rel: &str, href: String, attributes: Vec<(String, Option<String>)>) -> Option<Self> {
        let rel = RELATIONS.iter().find(|known| **known == rel)?;
        let known = |(name, value): (String, Option<String>)| {
            let field = self::attributes().find(|field| field.name == name)?;
            Some((field.name, value))
        };
        let attributes = attributes.into_iter().map(known).collect::<Option<_>>()?;
        Some(Self { rel: (*rel).to_owned(), href, attributes })
    }

    /// Its approximate size in memory, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter().map(|(_, value)| value.as_ref().map_or(0, String::len) + 48);
        size_of::<Self>() + self.rel.len() + self.href.len() + attributes.sum::<usize>()
    }

    /// The `<link>` element.
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

/// Those of the relations of a link for which it is moved to the head, each once.
fn relations(rel: &str) -> BTreeSet<&'static str> {
    let words: Vec<String> = rel.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let is_one = |known: &&str| match *known {
        ALTERNATE => has("alternate") && has("stylesheet"),
        "stylesheet" => has("stylesheet") && !has("alternate"),
        other => has(other),
    };
    RELATIONS.into_iter().filter(is_one).collect()
}

/// The URL that browsers request for `target`. An absolute URL stays, as does one that lacks only the scheme. A relative one is resolved against `base`; on a
/// named nanoservice it becomes a path of the compositor. `None` if the URL is not allowed.
fn public_href(target: &str, base: &Url, service: Option<(&str, &Version)>) -> Option<String> {
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
        // The page may be served over another scheme than the service.
        _ if target.starts_with("//") => Some(target.to_owned()),
        _ => Some(url.into()),
    }
}
