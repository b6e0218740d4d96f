//! The settings that all HTTP clients of this folder share, and the descriptions of their errors.
//! All defaults of reqwest that follow redirects, use proxies, or wait and pool without a limit are overridden here.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;
use std::time::Duration;

use reqwest::redirect::Policy;

/// Longest time to connect. The timeout of a fetch is mostly shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection stays in the pool. Shorter than the 5 s after which Node's servers close one without notice.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of idle connections in the pool for each host.
const MAX_IDLE_PER_HOST: usize = 256;

/// A client builder that follows no redirects, uses no proxy and sends no `Referer`.
pub(super) fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .tcp_nodelay(true)
}

/// Builds a client.
///
/// # Errors
/// TLS could not be set up, as on a machine without any CA certificates.
pub(super) fn build(builder: reqwest::Result<reqwest::ClientBuilder>) -> Result<reqwest::Client, String> {
    builder
        .and_then(reqwest::ClientBuilder::build)
        .map_err(|error| format!("the HTTP client could not be built: {}", describe(&error)))
}

/// The cause of an error if it means that the response was not HTTP.
pub(super) fn parse_error(error: &reqwest::Error) -> Option<&hyper::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref()).find(|cause: &&hyper::Error| cause.is_parse())
}

/// Describes what went wrong in one line, from the causes of an error. reqwest's own message is left out if there is a
/// cause: it repeats the URL and adds nothing.
pub(super) fn describe(error: &reqwest::Error) -> String {
    let host = error.url().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    if let Some((host, port)) = host.filter(|_| error.is_connect()) {
        let refused = |cause: &io::Error| cause.kind() == ErrorKind::ConnectionRefused;
        return match causes(error).last() {
            Some(_) if causes(error).filter_map(|cause| cause.downcast_ref()).any(refused) => {
                format!("connection to {host}:{port} refused")
            }
            // A failed connect passes through several layers, and the innermost one knows why.
            Some(innermost) => format!("cannot connect to {host}:{port}: {innermost}"),
            None => format!("cannot connect to {host}:{port}"),
        };
    }
    let mut causes: Vec<String> = causes(error).map(ToString::to_string).collect();
    causes.dedup();
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

/// The causes of an error, from the outermost to the innermost.
fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(error.source(), |&cause: &&'a (dyn Error + 'static)| cause.source())
}
