//! Where the data of a service is: in the binary, in a file, or at a URL.
//! A place that does not exist and one that cannot be read are different errors.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::{BoxError, sample};

/// Longest time from a request to the last byte of its response.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time to connect to a URL.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of the data, which is read into memory as a whole.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A place that data is read from.
#[derive(Clone, Debug)]
pub enum Place {
    /// Text in the binary, so that the service runs from anywhere. Its dates are moved so that it ends today.
    BuiltIn(&'static str),
    /// A file, which is read again when it changes.
    File(PathBuf),
    /// A URL, and the client that requests it.
    Url(String, reqwest::Client),
}

/// Why a place is invalid.
#[derive(Debug, thiserror::Error)]
pub enum BadPlace {
    /// It looks like a URL, but is not a valid one.
    #[error("`{0}` is not a valid URL")]
    Url(String),
    /// The HTTP client could not be built, for example because no root certificates are installed.
    #[error("cannot build an HTTP client for `{0}`")]
    Client(String, #[source] reqwest::Error),
}

/// What changes when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

/// Why data could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("it does not exist")]
    Missing(#[source] BoxError),
    #[error("it cannot be read")]
    Unreadable(#[source] BoxError),
    #[error("the response was {0}")]
    Status(reqwest::StatusCode),
    #[error("it is larger than {MAX_BYTES} bytes")]
    TooLarge,
}

impl Place {
    /// The place that the environment variable `name` gives, or the built-in sample if it is not set.
    pub fn from_env(name: &str, sample: &'static str) -> Result<Self, BadPlace> {
        match std::env::var(name) {
            Ok(text) if !text.trim().is_empty() => Self::parse(text.trim()),
            _ => Ok(Self::BuiltIn(sample)),
        }
    }

    /// Parses a URL, if the text begins with `http://` or `https://`, or a path.
    pub fn parse(text: &str) -> Result<Self, BadPlace> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        reqwest::Url::parse(text).map_err(|_| BadPlace::Url(text.to_owned()))?;
        // This fails only if a provider is already installed, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::limited(3))
            .no_proxy()
            .build()
            .map_err(|cause| BadPlace::Client(text.to_owned(), cause))?;
        Ok(Self::Url(text.to_owned(), client))
    }

    /// The same place with `placeholder` replaced by `value`, which must be safe in a path.
    #[must_use]
    pub fn fill(&self, placeholder: &str, value: &str) -> Self {
        match self {
            Self::BuiltIn(text) => Self::BuiltIn(text),
            Self::File(path) => Self::File(path.to_string_lossy().replace(placeholder, value).into()),
            Self::Url(url, client) => Self::Url(url.replace(placeholder, value), client.clone()),
        }
    }

    /// The stamp of a file; `None` for other places, and for a file that does not exist.
    pub(crate) async fn stamp(&self) -> Option<Stamp> {
        let Self::File(path) = self else { return None };
        let meta = tokio::fs::metadata(path).await.ok()?;
        Some(Stamp { modified: meta.modified().ok(), length: meta.len() })
    }

    pub(crate) async fn load(&self) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::BuiltIn(text) => Ok(sample::ending(text, sample::today()).into_bytes()),
            Self::File(path) => load_file(path).await,
            Self::Url(url, client) => load_url(url, client).await,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(_) => f.write_str("the built-in sample"),
            Self::File(path) => write!(f, "{}", path.display()),
            // Without user info and query: they may contain secrets, and this text is logged.
            Self::Url(url, _) => match reqwest::Url::parse(url) {
                Ok(url) => {
                    let host = url.host_str().unwrap_or_default();
                    let port = url.port().map(|port| format!(":{port}"));
                    let port = port.unwrap_or_default();
                    write!(f, "{}://{host}{port}{}", url.scheme(), url.path())
                }
                Err(_) => f.write_str("a URL"),
            },
        }
    }
}

async fn load_file(path: &PathBuf) -> Result<Vec<u8>, LoadError> {
    let read = async {
        if tokio::fs::metadata(path).await?.len() > MAX_BYTES as u64 {
            return Ok(None);
        }
        tokio::fs::read(path).await.map(Some)
    };
    match read.await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(LoadError::TooLarge),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Err(LoadError::Missing(cause.into())),
        Err(cause) => Err(LoadError::Unreadable(cause.into())),
    }
}

async fn load_url(url: &str, client: &reqwest::Client) -> Result<Vec<u8>, LoadError> {
    // `without_url`, here and below: the URL may contain secrets, and the error is logged.
    let unreadable = |cause: reqwest::Error| LoadError::Unreadable(cause.without_url().into());
    let mut response = client.get(url).send().await.map_err(unreadable)?;
    let status = response.status();
    if matches!(status.as_u16(), 404 | 410) {
        return Err(LoadError::Missing(format!("the response was {status}").into()));
    }
    if !status.is_success() {
        return Err(LoadError::Status(status));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreadable)? {
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(LoadError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_file_unless_it_is_a_url() {
        assert!(matches!(Place::parse("a/b.csv"), Ok(Place::File(_))));
        assert!(matches!(Place::parse("http://"), Err(BadPlace::Url(_))));
    }

    #[test]
    fn a_placeholder_is_replaced() {
        let place = Place::parse("dir/2025-26-{league}.json").expect("a file is always a place");
        let filled = place.fill("{league}", "en.1");
        assert_eq!(filled.to_string(), "dir/2025-26-en.1.json");
    }

    #[test]
    fn secrets_in_a_url_are_not_shown() {
        let client = reqwest::Client::builder;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client().no_proxy().build().expect("a client");
        let place = Place::Url("https://me:pw@feeds.example:8443/a?key=1".into(), client);
        assert_eq!(place.to_string(), "https://feeds.example:8443/a");
    }

    #[tokio::test]
    async fn a_url_is_read_missing_or_refused() {
        use axum::http::StatusCode;
        use axum::routing::get;

        let routes = axum::Router::new()
            .route("/good", get(|| async { "data" }))
            .route("/down", get(|| async { StatusCode::BAD_GATEWAY }))
            .route("/large", get(|| async { vec![b'x'; MAX_BYTES + 1] }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let load = async |path: &str| {
            let place = Place::parse(&format!("http://{address}{path}"));
            place.expect("a URL").load().await
        };
        assert_eq!(load("/good").await.ok().as_deref(), Some(&b"data"[..]));
        assert!(matches!(load("/none").await, Err(LoadError::Missing(_))));
        assert!(matches!(load("/down").await, Err(LoadError::Status(_))));
        assert!(matches!(load("/large").await, Err(LoadError::TooLarge)));
        server.abort();
        let _ = server.await;
        assert!(matches!(load("/good").await, Err(LoadError::Unreadable(_))));
    }
}
