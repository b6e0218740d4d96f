//! The values of the ESI variables for a visit.
//! They contain only the dimensions of the reader that were declared: by a layout in naming a variable, by a nanoservice in
//! its manifest.

use std::collections::BTreeMap;

use crate::page::http::query;
use crate::page::visit::context::{Dimension, Visit};

use super::agent::agent;
use super::variables::Value;

/// The header in `HTTP_REFERER`.
const REFERER: &str = "referer";
/// The header in `HTTP_USER_AGENT`.
const USER_AGENT: &str = "user-agent";

/// Values by name.
pub type Values = BTreeMap<&'static str, Value>;

/// The values for a visit, from these dimensions of the reader and the parameters of the query string.
#[must_use]
pub fn variables(dimensions: &[Dimension], visit: &Visit, query: &[(String, String)]) -> Values {
    let reader = &visit.reader;
    let mut cookies: Vec<(String, String)> = Vec::new();
    let mut values = BTreeMap::from([("HTTP_HOST", Value::Text(visit.host.clone()))]);
    for dimension in dimensions {
        match dimension {
            Dimension::Locale => {
                values.insert("HTTP_ACCEPT_LANGUAGE", Value::List(reader.locale.iter().cloned().collect()));
            }
            Dimension::Cookie(name) => {
                cookies.extend(reader.cookies.iter().find(|(known, _)| known == name).cloned());
            }
            Dimension::Header(name) => {
                let header = || reader.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
                match name.as_str() {
                    REFERER => values.insert("HTTP_REFERER", Value::Text(header().to_owned())),
                    USER_AGENT => values.insert("HTTP_USER_AGENT", agent(header())),
                    _ => None,
                };
            }
            Dimension::Region | Dimension::Device | Dimension::Variant | Dimension::Page => {}
        }
    }
    let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    values.insert("HTTP_COOKIE", Value::Dictionary { whole: pairs.join("; "), entries: cookies });
    let whole = query::write(query.iter().map(|(name, value)| (name, value)));
    values.insert("QUERY_STRING", Value::Dictionary { whole, entries: query.to_vec() });
    values
}

/// The dimension of the reader that a variable depends on, if any.
#[must_use]
pub fn reads(name: &str, key: Option<&str>) -> Option<Dimension> {
    match (name, key) {
        ("HTTP_ACCEPT_LANGUAGE", _) => Some(Dimension::Locale),
        ("HTTP_COOKIE", Some(cookie)) => Some(Dimension::Cookie(cookie.to_owned())),
        ("HTTP_REFERER", _) => Some(Dimension::Header(REFERER.to_owned())),
        ("HTTP_USER_AGENT", _) => Some(Dimension::Header(USER_AGENT.to_owned())),
        _ => None,
    }
}
