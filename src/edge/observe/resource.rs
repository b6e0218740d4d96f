//! The resource that sends the spans: its name, its version, and what the environment states about it.
//! `OTEL_RESOURCE_ATTRIBUTES` that cannot be read are ignored as a whole, and that is logged (OpenTelemetry, Resource SDK).

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use percent_encoding::percent_decode_str;

const NAME: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// The resource that this process is, according to its environment.
pub(super) fn of_environment() -> Resource {
    let (name, stated) = (std::env::var(NAME).ok(), std::env::var(ATTRIBUTES).ok());
    let attributes = attributes(name.as_deref(), stated.as_deref());
    Resource::builder().with_attributes(attributes.into_iter().map(|(key, value)| KeyValue::new(key, value))).build()
}

/// All attributes, a later one in place of an earlier one with the same key.
fn attributes(name: Option<&str>, stated: Option<&str>) -> Vec<(String, String)> {
    let own = [("service.name", "pasteup"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let mut all: Vec<(String, String)> =
        own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    match pairs(stated.unwrap_or_default()) {
        Some(pairs) => all.extend(pairs),
        None => tracing::warn!("{ATTRIBUTES} is ignored: write it like `key=value,key=value`, with `%2C` for a comma"),
    }
    all.extend(name.filter(|name| !name.is_empty()).map(|name| ("service.name".to_owned(), name.to_owned())));
    all
}

/// The pairs of a list, decoded. `None`: one of them is not a pair, or not correctly encoded.
fn pairs(list: &str) -> Option<Vec<(String, String)>> {
    let members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    let decoded = |text: &str| Some(percent_decode_str(text.trim()).decode_utf8().ok()?.into_owned());
    let pair = |member: &str| {
        let (key, value) = member.split_once('=')?;
        Some((decoded(key)?, decoded(value)?)).filter(|(key, _)| !key.is_empty())
    };
    members.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_name_precedes_attributes_and_values_are_decoded() {
        let read = |name, stated| BTreeMap::from_iter(attributes(name, stated));
        let known = read(Some("shop"), Some("service.name=other, team=a%20b%2Cc%3Dd ,region=eu%2Dwest,"));
        assert_eq!(known["service.name"], "shop");
        assert_eq!((known["team"].as_str(), known["region"].as_str()), ("a b,c=d", "eu-west"));
        assert_eq!(read(Some(""), Some("service.name=other%2F1"))["service.name"], "other/1");
        assert_eq!(read(None, None)["service.name"], "pasteup");
        for broken in ["team", "a=b,=c", "a=%ff"] {
            assert_eq!(read(None, Some(broken)), read(None, None), "{broken}");
        }
    }
}
