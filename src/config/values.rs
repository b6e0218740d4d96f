//! Reads the values that only settings have: addresses, networks, secrets, log filters.
//! A value that may hold a secret is never repeated in a message.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use fluent_langneg::LanguageIdentifier;
use http::HeaderName;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::page::manifest::upstreams::{self, UpstreamError};
use crate::page::source::diagnostic::Located;
use crate::page::source::secret::Reference;
use crate::page::source::table::{self, Data, Value, ValueError};
use crate::secrets::{self, Secret};

pub(super) fn log_filter(value: &Value) -> Result<String, ValueError> {
    let text = table::filled(value)?;
    match EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(ValueError::with_help(
            format!("`{text}` is not a valid log filter: {error}"),
            "write it like \"info\", \"debug\" or \"warn,pasteup=debug\"",
        )),
    }
}

pub(super) fn address(value: &Value) -> Result<SocketAddr, ValueError> {
    let text = table::text(value)?;
    text.parse().map_err(|_| {
        ValueError::with_help(
            format!("`{text}` is not an address and port"),
            "write it like \"127.0.0.1:8080\" or \"[::]:8080\"; port 0 picks a free one",
        )
    })
}

pub(super) fn bytes(value: &Value) -> Result<usize, ValueError> {
    Ok(usize::try_from(table::size(value)?)?)
}

/// Reads a reference to a secret, and looks the secret up; files are relative to the site's folder. In the environment, the
/// value may be the secret itself. An empty value counts as no secret.
pub(super) fn secret(root: &Path) -> impl Fn(&Value) -> Result<Option<Secret>, ValueError> {
    move |value| {
        let text = table::text(value)?;
        if text.is_empty() {
            return Ok(None);
        }
        let is_secret = matches!(value.data, Data::Bare(_)) && !text.starts_with("env:") && !text.starts_with("file:");
        if is_secret {
            return Ok(Some(Secret::new(text)));
        }
        secrets::look_up(&Reference::read(value)?, root).map(Some).map_err(ValueError::new)
    }
}

pub(super) fn source(value: &Value) -> Result<Located<Url>, ValueError> {
    let url = upstreams::source(&table::text(value)?)?;
    Ok(Located { value: url, at: value.at.clone() })
}

/// Reads the URL of a collector. An error does not repeat the value, since it may hold a password.
pub(super) fn collector(value: &Value) -> Result<Option<Url>, ValueError> {
    let text = table::text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    upstreams::source(&text).map(Some).map_err(|error| match error {
        UpstreamError::UserInformation => ValueError::with_help(
            error.to_string(),
            "credentials go into the environment: `OTEL_EXPORTER_OTLP_HEADERS=authorization=…`",
        ),
        _ => ValueError::with_help(
            "this is not the URL of a collector",
            "write it like \"http://collector:4318\": OTLP over HTTP, without `/v1/traces`. Leave it empty to send nothing",
        ),
    })
}

pub(super) fn locale(value: &Value) -> Result<String, ValueError> {
    let text = table::filled(value)?;
    match text.parse::<LanguageIdentifier>() {
        Ok(_) => Ok(text),
        Err(_) => Err(ValueError::with_help(
            format!("`{text}` is not a valid language tag"),
            "write it like \"en\" or \"pt-BR\"",
        )),
    }
}

pub(super) fn header_name(value: &Value) -> Result<Option<HeaderName>, ValueError> {
    let text = table::text(value)?;
    if text.is_empty() {
        return Ok(None);
    }
    HeaderName::try_from(&text).map(Some).map_err(|_| ValueError::new(format!("`{text}` is not a valid header name")))
}

pub(super) fn network(value: &Value) -> Result<IpNet, ValueError> {
    let text = table::filled(value)?;
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| {
        ValueError::with_help(
            format!("`{text}` is not an address or network"),
            "write it like \"10.0.0.0/8\", \"192.0.2.7\" or \"fd00::/8\"",
        )
    })
}
