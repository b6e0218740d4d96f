//! Reads the values that only settings have: addresses, networks, secrets, log filters.
//! A value that may hold a secret is never repeated in a message.

use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use fluent_langneg::LanguageIdentifier;
use http::HeaderName;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::edge::observe::line_file::LineTarget;
use crate::page::manifest::upstreams::{self, ServiceUrl, UpstreamError};
use crate::page::source::diagnostic::Located;
use crate::page::source::secret::Reference;
use crate::page::source::table::{self, Data, Value, ValueError};
use crate::secrets::site_key::{MIN_BYTES, SiteKey};
use crate::secrets::state::StateFolder;
use crate::secrets::{self, Secret};

use super::AdminToken;

/// The value of `admin_token` for a token that the compositor makes.
const GENERATE: &str = "generate";
/// The least number of characters of an admin token.
const MIN_ADMIN_TOKEN: usize = 16;
/// The folders of a site that a state folder cannot be in.
const SITE_FOLDERS: [&str; 3] = ["layouts", "fragments", "public"];

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

/// Reads the address of a DNS server.
pub(super) fn name_server(value: &Value) -> Result<SocketAddr, ValueError> {
    let text = table::text(value)?;
    let address = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 53).into()));
    address.map_err(|_| {
        ValueError::with_help(
            format!("`{text}` is not the address of a DNS server"),
            "write it like \"127.0.0.1:53\" or \"[::1]:53\"; a name cannot be looked up before there is a server",
        )
    })
}

pub(super) fn bytes(value: &Value) -> Result<usize, ValueError> {
    Ok(usize::try_from(table::size(value)?)?)
}

/// A secret as it is written: by reference or, in the environment, itself.
enum Written {
    Reference(Reference),
    Itself(String),
}

impl Written {
    /// Reads a secret. An empty value counts as none.
    fn read(value: &Value) -> Result<Option<Self>, ValueError> {
        let text = table::text(value)?;
        if text.is_empty() {
            return Ok(None);
        }
        let is_reference = text.starts_with("env:") || text.starts_with("file:");
        if matches!(value.data, Data::Bare(_)) && !is_reference {
            return Ok(Some(Self::Itself(text)));
        }
        Reference::read(value).map(|reference| Some(Self::Reference(reference)))
    }
}

/// Reads a secret, and looks it up; files are relative to the site's folder.
pub(super) fn secret(root: &Path) -> impl Fn(&Value) -> Result<Option<Secret>, ValueError> {
    move |value| {
        Ok(match Written::read(value)? {
            None => None,
            Some(Written::Itself(text)) => Some(Secret::new(text)),
            Some(Written::Reference(reference)) => Some(secrets::look_up(&reference, root).map_err(ValueError::new)?),
        })
    }
}

/// Reads the admin token, and looks it up; files are relative to the site's folder.
pub(super) fn admin_token(root: &Path) -> impl Fn(&Value) -> Result<Option<AdminToken>, ValueError> {
    move |value| {
        if table::text(value)? == GENERATE {
            return Ok(Some(AdminToken::Generated));
        }
        let token = match Written::read(value)? {
            None => return Ok(None),
            Some(Written::Itself(text)) => Secret::new(text),
            Some(Written::Reference(reference)) => secrets::look_up(&reference, root).map_err(ValueError::new)?,
        };
        if token.reveal().chars().count() < MIN_ADMIN_TOKEN {
            return Err(ValueError::with_help(
                format!("the admin token has fewer than {MIN_ADMIN_TOKEN} characters, so it could be guessed"),
                "use a long random one, such as `openssl rand -hex 32` prints, or write \"generate\"",
            ));
        }
        Ok(Some(AdminToken::Given(token)))
    }
}

/// Reads the site's key, and looks it up; files are relative to the site's folder.
pub(super) fn site_key(root: &Path) -> impl Fn(&Value) -> Result<Option<SiteKey>, ValueError> {
    move |value| {
        let bytes = match Written::read(value)? {
            None => return Ok(None),
            Some(Written::Itself(text)) => text.into_bytes(),
            Some(Written::Reference(reference)) => secrets::look_up_bytes(&reference, root).map_err(ValueError::new)?,
        };
        SiteKey::new(bytes).map(Some).ok_or_else(|| {
            ValueError::with_help(
                format!("the key has fewer than {MIN_BYTES} bytes"),
                "use a random one, such as `openssl rand -hex 32` prints",
            )
        })
    }
}

/// Reads the path of the state folder, which is relative to the site's folder.
pub(super) fn state(root: &Path) -> impl Fn(&Value) -> Result<StateFolder, ValueError> + Copy {
    move |value| {
        let path = PathBuf::from(table::filled(value)?);
        // What is in these folders is read or served.
        let first = path.components().find(|part| *part != Component::CurDir);
        if let Some(Component::Normal(first)) = first
            && SITE_FOLDERS.iter().any(|folder| first == *folder)
        {
            let folder = first.display();
            return Err(ValueError::with_help(
                format!("the state folder cannot be in `{folder}/`"),
                "choose a folder of its own, such as \".pasteup\"",
            ));
        }
        Ok(StateFolder::new(root.join(path)))
    }
}

/// Reads where the access log goes. A path is relative to the site's folder.
pub(super) fn access_log(root: &Path) -> impl Fn(&Value) -> Result<Option<LineTarget>, ValueError> + Copy {
    move |value| {
        Ok(match table::text(value)?.as_str() {
            "" => None,
            "stdout" => Some(LineTarget::Stdout),
            path => Some(LineTarget::File(root.join(path))),
        })
    }
}

pub(super) fn source(value: &Value) -> Result<Located<ServiceUrl>, ValueError> {
    let url = ServiceUrl::parse(&table::text(value)?)?;
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
