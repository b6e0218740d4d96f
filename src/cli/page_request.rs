//! The request for a page that an operator describes: with any device, region or locale, at any time.
//! The command line of `render` and `explain`, and the query of the admin API, are read to the same options.

use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use jiff::Timestamp;

use crate::engine::{PageRequest, Rollouts, Snapshot, Trace};
use crate::page::layout::Template;
use crate::page::site::{Match, NoMatch};
use crate::page::source::names;
use crate::page::visit::context::{Device, Dimension, Reader};
use crate::page::visit::experiment::assign_variants;
use crate::page::visit::side::assign_sides;
use crate::page::visit::{region, route};

/// Which page to compose, and for which client.
#[derive(clap::Args)]
pub(super) struct PageOptions {
    /// The page's path, with its query: /news/uk?page=2
    pub(super) path: String,
    /// The client's device: mobile, tablet or desktop
    #[arg(long)]
    device: Option<Device>,
    /// The client's country, as an ISO 3166-1 code
    #[arg(long, value_parser = parse_region)]
    region: Option<String>,
    /// The client's locale
    #[arg(long)]
    locale: Option<String>,
    /// The client's variant in an experiment; the first one that has a weight if left out
    #[arg(long = "variant", value_name = "EXPERIMENT:VARIANT", value_parser = parse_variant)]
    variants: Vec<(String, String)>,
    /// A request header that the client sends
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The time at which conditions are evaluated, such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
}

fn parse_variant(text: &str) -> Result<(String, String), String> {
    let (experiment, variant) = text.split_once(':').ok_or("write it like `lead:big`")?;
    Ok((experiment.to_owned(), variant.to_owned()))
}

fn parse_region(text: &str) -> Result<String, String> {
    region::code(text).map(str::to_owned).ok_or_else(|| match region::suggestion(text) {
        Some(meant) => format!("`{text}` is not an ISO 3166-1 code; did you mean `{meant}`?"),
        None => format!("`{text}` is not an ISO 3166-1 code; write it like `GB`"),
    })
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it like `Accept-Language: en`")?;
    let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    Ok((name, HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?))
}

/// The parser's own message is left out: it describes its grammar, not what to write.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("`{text}` is not a time; write it like 2026-12-24T18:00:00Z"))
}

/// The request that a query describes: `path=/news/uk&device=mobile`. `None`: no layout matches the path.
///
/// # Errors
/// A parameter is unknown or not valid, or there is no path.
pub(super) fn from_query(
    query: &[(String, String)],
    live: &Snapshot,
    now: Timestamp,
    rollouts: &Rollouts,
) -> Result<Option<PageRequest>, String> {
    PageOptions::parse_query(query)?.request(live, now, rollouts)
}

impl PageOptions {
    fn parse_query(query: &[(String, String)]) -> Result<Self, String> {
        let mut options = Self {
            path: String::new(),
            device: None,
            region: None,
            locale: None,
            variants: Vec::new(),
            headers: Vec::new(),
            at: None,
        };
        for (name, value) in query {
            let in_parameter = |error: String| format!("`{name}`: {error}");
            match name.as_str() {
                "path" => options.path.clone_from(value),
                "device" => options.device = Some(Device::from_str(value).map_err(in_parameter)?),
                "region" => options.region = Some(parse_region(value).map_err(in_parameter)?),
                "locale" => options.locale = Some(value.clone()),
                "variant" => options.variants.push(parse_variant(value).map_err(in_parameter)?),
                "header" => options.headers.push(parse_header(value).map_err(in_parameter)?),
                "at" => options.at = Some(parse_time(value).map_err(in_parameter)?),
                _ => {
                    return Err(format!("`{name}` is not one of path, device, region, locale, variant, header and at"));
                }
            }
        }
        if options.path.is_empty() {
            return Err("the page's path is missing: add `?path=/`".to_owned());
        }
        Ok(options)
    }

    /// The request for the page, or for the site's own page for paths that no layout matches. `None`: it has none.
    ///
    /// # Errors
    /// The path is not valid, or the page has no such variant.
    pub(super) fn request(
        &self,
        live: &Snapshot,
        now: Timestamp,
        rollouts: &Rollouts,
    ) -> Result<Option<PageRequest>, String> {
        if !self.path.starts_with('/') {
            return Err(format!("`{}` is not a page path; paths begin with `/`", self.path));
        }
        let uri: Uri = self.path.parse().map_err(|error| format!("`{}` is not a valid path: {error}", self.path))?;
        let path = route::normalise(uri.path()).map_err(|error| format!("`{}`: {error}", self.path))?;
        let at = self.at.unwrap_or(now);
        let found = match live.site.find(&path, uri.query(), at) {
            Ok(found) => Some(found),
            Err(NoMatch::Missing) => live.site.status_page(StatusCode::NOT_FOUND, at),
            Err(NoMatch::Forged | NoMatch::NoSuchVersion) => {
                return Err(format!("`{}` is not an address that a page of this site has written", self.path));
            }
        };
        let Some(Match { template, changes_in, pattern, parameters, sides }) = found else { return Ok(None) };
        let asked = live.site.asked_versions(uri.query());
        let asked =
            asked.map_err(|_| format!("`{}` asks for a version that the catalogue does not have", self.path))?;
        let with_versions;
        let template = if asked.is_empty() {
            template
        } else {
            with_versions = live.site.with_versions(template, &asked);
            &with_versions
        };
        // Headers are trusted as if a proxy had set them: an operator may describe any client. PageOptions override headers.
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        let known = live.readers.reader(&template.reads, &headers, true);
        let mut reader = Reader {
            device: self.device.or(known.device),
            region: self.region.clone().or(known.region),
            locale: self.locale.clone().or(known.locale),
            ..known
        };
        // A reader is always in some variant. This one is in that of a cookie, or in the first one, like programs without cookies.
        assign_variants(&template.experiments, &[Dimension::Variant], &headers, || 0.0, &mut reader);
        self.choose_variants(template, &mut reader.variants)?;
        // As a reader would: some see the new version.
        let standing = |name: &str, version: &str| rollouts.standing(name, version);
        assign_sides(&template.rollouts, &headers, sides.as_deref(), standing, fastrand::f64, &mut reader);
        let visit = template.visit(&pattern, parameters, uri.query(), reader, String::new());
        Ok(Some(PageRequest { template: Arc::clone(template), visit, trace: Trace::new(), at, changes_in }))
    }

    /// Changes a reader's variants to those of the options.
    ///
    /// # Errors
    /// The page has no such experiment, or the experiment no such variant.
    fn choose_variants(&self, template: &Template, variants: &mut Vec<(String, String)>) -> Result<(), String> {
        for (at, (name, variant)) in self.variants.iter().enumerate() {
            let problem = |what: String, help: Option<String>| {
                let help = help.map(|help| format!("; {help}")).unwrap_or_default();
                Err(format!("variant `{name}:{variant}`: {what}{help}"))
            };
            let Some(experiment) = template.experiments.iter().find(|experiment| experiment.name == *name) else {
                let known = template.experiments.iter().map(|experiment| experiment.name.as_str());
                let what = format!("{} has no experiment `{name}`", template.file);
                return problem(what, names::did_you_mean(name, known));
            };
            let known = experiment.variants.iter().map(|(variant, _)| variant.as_str());
            if !known.clone().any(|known| known == variant) {
                let what = format!("the experiment has no variant `{variant}`");
                return problem(what, names::did_you_mean(variant, known));
            }
            if self.variants[..at].iter().any(|(other, _)| other == name) {
                return problem("the experiment is named twice".to_owned(), None);
            }
            variants.retain(|(other, _)| other != name);
            variants.push((name.clone(), variant.clone()));
        }
        Ok(())
    }
}
