//! A page as somebody asks for it who runs the site: for whichever reader, at whichever time.

use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use jiff::Timestamp;

use crate::engine::{self, Snapshot, Trace};
use crate::page::site::Match;
use crate::page::visit::context::{Device, Reader};
use crate::page::visit::route;

/// What to ask for, and for whom.
#[derive(clap::Args)]
pub(super) struct Wanted {
    /// The page, with its query: /news/uk?page=2
    pub(super) path: String,
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

/// The request for what a query asks. `None`: no layout has a route for it.
///
/// # Errors
/// It asks for something that cannot be.
pub(super) fn asked(
    query: &[(String, String)],
    live: &Snapshot,
    now: Timestamp,
) -> Result<Option<engine::PageRequest>, String> {
    Wanted::parse(query)?.request(live, now)
}

impl Wanted {
    /// The same, from a query: `path=/news/uk&device=mobile`.
    ///
    /// # Errors
    /// It says something that cannot be asked.
    fn parse(query: &[(String, String)]) -> Result<Self, String> {
        fn read<T: FromStr<Err: std::fmt::Display>>(name: &str, value: &str) -> Result<T, String> {
            value.parse().map_err(|error| format!("`{name}`: {error}"))
        }
        let mut wanted = Self {
            path: String::new(),
            device: None,
            region: None,
            locale: None,
            variants: Vec::new(),
            headers: Vec::new(),
            at: None,
        };
        for (name, value) in query {
            match name.as_str() {
                "path" => wanted.path.clone_from(value),
                "device" => wanted.device = Some(read(name, value)?),
                "region" => wanted.region = Some(value.clone()),
                "locale" => wanted.locale = Some(value.clone()),
                "variant" => wanted.variants.push(pair(value)?),
                "header" => wanted.headers.push(header(value)?),
                "at" => wanted.at = Some(read(name, value)?),
                _ => {
                    return Err(format!("`{name}` is none of path, device, region, locale, variant, header and at"));
                }
            }
        }
        if wanted.path.is_empty() {
            return Err("say which page: `?path=/`".to_owned());
        }
        Ok(wanted)
    }

    /// The request for it. `None`: no layout has a route for it.
    ///
    /// # Errors
    /// The path is none.
    pub(super) fn request(&self, live: &Snapshot, now: Timestamp) -> Result<Option<engine::PageRequest>, String> {
        if !self.path.starts_with('/') {
            return Err(format!("`{}` is no path of a page: one begins with `/`", self.path));
        }
        let uri: Uri = self.path.parse().map_err(|error| format!("`{}` is no path: {error}", self.path))?;
        let path = route::normalise(uri.path()).map_err(|error| format!("`{}`: {error}", self.path))?;
        let at = self.at.unwrap_or(now);
        let Some(Match { template, changes_in, pattern, parameters }) = live.site.find(&path, at) else {
            return Ok(None);
        };
        // Who runs a site may say all of a reader; what he says by an option is over what headers say.
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        let known = live.readers.reader(&template.reads, &headers, true);
        let reader = Reader {
            device: self.device.or(known.device),
            region: self.region.clone().or(known.region),
            locale: self.locale.clone().or(known.locale),
            variants: self.variants.clone(),
            ..known
        };
        let visit = template.visit(pattern, parameters, uri.query(), reader, String::new());
        Ok(Some(engine::PageRequest { template: Arc::clone(template), visit, trace: Trace::new(), at, changes_in }))
    }
}
