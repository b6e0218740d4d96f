//! Requests of a load run: they carry its token, and may describe the client that they stand for.
//! A token that is not that of the current run is ignored, and so is a description that cannot be read.

use std::sync::Arc;

use constant_time_eq::constant_time_eq;
use http::{HeaderName, HeaderValue};

use crate::engine::load::{LoadRun, MeasuredRequest};
use crate::page::layout::Template;
use crate::page::output::waterfall::PageKind;
use crate::page::visit::context::{Device, Dimension, Reader};
use crate::page::visit::experiment::Assignment;
use crate::page::visit::region;

use super::exchange::Exchange;

/// The header that carries the token. Like all that begin with `pasteup-`, it is never sent to a nanoservice.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("pasteup-load");

/// What a request is recorded for.
pub(super) struct Measured {
    run: Arc<LoadRun>,
    /// The client that the request stands for, if it describes one.
    pub(super) client: Option<Box<Client>>,
}

/// A client as a request describes it: `TOKEN; device=mobile; region=GB; locale=de; variant=lead:big`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    device: Option<Device>,
    region: Option<&'static str>,
    locale: Option<String>,
    variants: Vec<(String, String)>,
}

impl Measured {
    /// What a request with this value of the header is recorded for. `None`: it is not the token of the run.
    pub(super) fn read(value: &HeaderValue, run: Arc<LoadRun>) -> Option<Self> {
        let (value, expected) = (value.as_bytes(), run.token.as_bytes());
        if constant_time_eq(value, expected) {
            return Some(Self { run, client: None });
        }
        let (token, client) = value.split_at(memchr::memchr(b';', value)?);
        if !constant_time_eq(token.trim_ascii_end(), expected) {
            return None;
        }
        let client = std::str::from_utf8(&client[1..]).ok().map(|text| Box::new(Client::read(text)));
        Some(Self { run, client })
    }

    /// Records a page that was cached as a whole.
    pub(super) fn cached(&self, exchange: &Exchange, is_stale: bool) {
        let kind = PageKind { is_hit: !is_stale, is_stale, ..PageKind::HIT };
        let trace = exchange.trace.span().trace;
        self.run.cached(target(exchange), trace, exchange.began.elapsed(), kind);
    }

    /// Begins to measure a page that is not cached as a whole.
    pub(super) fn begin(&self, exchange: &Exchange) -> Arc<MeasuredRequest> {
        let trace = exchange.trace.span().trace;
        Arc::new(MeasuredRequest::new(Arc::clone(&self.run), target(exchange), trace, exchange.began))
    }
}

/// Path and query of a request, as its client sent them.
fn target(exchange: &Exchange) -> &str {
    exchange.request.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}

impl Client {
    fn read(text: &str) -> Self {
        let mut client = Self::default();
        for (name, value) in text.split(';').filter_map(|field| field.split_once('=')) {
            let value = value.trim();
            match name.trim() {
                "device" => client.device = value.parse().ok(),
                "region" => client.region = region::code(value),
                "locale" => client.locale = Some(value.to_owned()),
                "variant" => {
                    let variant = value.split_once(':');
                    client.variants.extend(variant.map(|(name, variant)| (name.to_owned(), variant.to_owned())));
                }
                _ => {}
            }
        }
        client
    }

    /// Replaces what is known of a reader, in the dimensions that a page reads. A reader whose variants are given is not
    /// assigned to others. What the site does not have, no reader gets: neither a locale nor a variant.
    pub(super) fn replace(
        &self,
        template: &Template,
        locales: &[String],
        reader: &mut Reader,
        assignment: &mut Assignment,
    ) {
        for dimension in &template.reads {
            match dimension {
                Dimension::Device => reader.device = self.device.or(reader.device),
                Dimension::Region => reader.region = self.region.map(str::to_owned).or(reader.region.take()),
                Dimension::Locale => {
                    let known = self.locale.clone().filter(|locale| locales.contains(locale));
                    reader.locale = known.or(reader.locale.take());
                }
                Dimension::Variant if !self.variants.is_empty() => {
                    for (name, variant) in &mut reader.variants {
                        let experiment = template.experiments.iter().find(|experiment| experiment.name == *name);
                        let known = experiment.into_iter().flat_map(|experiment| &experiment.variants);
                        let given = self.variants.iter().filter(|(experiment, _)| experiment == name);
                        let given = given.map(|(_, variant)| variant).next();
                        if let Some((given, _)) = known.into_iter().find(|(known, _)| Some(known) == given) {
                            variant.clone_from(given);
                        }
                    }
                    *assignment = Assignment::default();
                }
                Dimension::Variant | Dimension::Page | Dimension::Cookie(_) | Dimension::Header(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::load::LoadRuns;
    use jiff::Timestamp;

    #[test]
    fn only_the_token_of_the_run_is_good() {
        let runs = LoadRuns::new(10);
        runs.begin("run".to_owned(), "secret".to_owned(), Timestamp::UNIX_EPOCH);
        let run = runs.live().expect("it has just begun");
        let measured = |value: &str| Measured::read(&value.parse().expect("a value"), Arc::clone(&run));
        for good in ["secret", "secret;device=mobile", "secret ; device=mobile", "secret;"] {
            assert!(measured(good).is_some(), "{good}");
        }
        for bad in ["", ";", "secre", "secret2", "Secret", "device=mobile; secret"] {
            assert!(measured(bad).is_none(), "{bad}");
        }
        assert!(measured("secret").is_some_and(|measured| measured.client.is_none()));
    }

    #[test]
    fn a_description_is_read_as_far_as_it_is_valid() {
        let client = Client::read(" device=mobile; region=uk;locale=de; variant=lead:big; other=1; ;");
        assert_eq!((client.device, client.region), (Some(Device::Mobile), Some("GB")));
        assert_eq!(client.locale.as_deref(), Some("de"));
        assert_eq!(client.variants, [("lead".to_owned(), "big".to_owned())]);
        assert_eq!(Client::read("device=toaster; region=XX; variant=lead"), Client::default());
    }
}
