//! Talks to the admin listener of the compositor: begins a run there, and fetches what was recorded.
//! Without it everything is measured all the same, but nobody can be blamed.

use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::edge::admin::LoadRunStarted;
use crate::engine::load::RunReport;
use crate::secrets::Secret;

use super::targets::reachable;

/// Longest wait for an answer: the records of a large run are some megabytes.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The admin listener.
pub(super) struct Admin {
    address: SocketAddr,
    token: Option<Secret>,
    client: reqwest::Client,
}

impl Admin {
    /// The admin listener at an address.
    ///
    /// # Errors
    /// The client could not be set up.
    pub(super) fn new(address: SocketAddr, token: Option<Secret>) -> Result<Self, String> {
        let client =
            reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(|error| error.to_string())?;
        Ok(Self { address: SocketAddr::new(reachable(address.ip()), address.port()), token, client })
    }

    /// Begins a run.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn begin(&self) -> Result<LoadRunStarted, String> {
        self.answer(self.client.post(format!("http://{}/api/load-runs", self.address))).await
    }

    /// What was recorded for a run.
    ///
    /// # Errors
    /// Why that is not known.
    pub(super) async fn report(&self, run: &str) -> Result<RunReport, String> {
        self.answer(self.client.get(format!("http://{}/api/load-runs/{run}", self.address))).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, String> {
        let address = self.address;
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        };
        let response = request.send().await.map_err(|_| {
            format!("no compositor responds on {address}: is this its admin listener (`--admin ADDR`)?")
        })?;
        let status = response.status();
        if status == http::StatusCode::UNAUTHORIZED {
            return Err(format!("{address} requires the admin token: set PASTEUP_SERVER__ADMIN_TOKEN"));
        }
        let bytes = response.bytes().await.map_err(|error| format!("{address}: {error}"))?;
        if status == http::StatusCode::NOT_FOUND {
            return Err(format!(
                "{address} does not know the run: another one has begun since, or it is no Pasteup of this version"
            ));
        }
        serde_json::from_slice(&bytes).map_err(|_| format!("{address} responded with {status}, and not with a run"))
    }
}
