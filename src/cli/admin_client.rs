//! Asks the admin listener of a running compositor.
//! One that does not respond, or that refuses, is an error in words.

use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::Server;
use crate::secrets::Secret;

use super::keys;

/// A client of one admin listener.
pub(super) struct AdminClient {
    /// `http://127.0.0.1:9090`
    address: String,
    token: Option<Secret>,
    client: reqwest::Client,
}

impl AdminClient {
    /// A client of the admin listener in the settings. `patience`: the longest wait for a response.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub(super) fn of(server: &Server, patience: Duration) -> Result<Self, String> {
        Self::new(format!("http://{}", server.admin), server, patience)
    }

    /// A client of the admin listener at a URL, with the token of the settings.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub(super) fn at(url: &Url, server: &Server, patience: Duration) -> Result<Self, String> {
        Self::new(url.as_str().trim_end_matches('/').to_owned(), server, patience)
    }

    fn new(address: String, server: &Server, patience: Duration) -> Result<Self, String> {
        let client = reqwest::Client::builder().no_proxy().timeout(patience).build();
        let client = client.map_err(|error| error.to_string())?;
        Ok(Self { address, token: keys::admin_token_if_any(server), client })
    }

    /// Gets a document.
    ///
    /// # Errors
    /// No compositor responds, or it refuses.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        self.answer(self.client.get(self.url(path))).await
    }

    /// Posts a document.
    ///
    /// # Errors
    /// No compositor responds, or it refuses.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, String> {
        let body = serde_json::to_vec(body).expect("texts and numbers can be written as JSON");
        self.answer(self.client.post(self.url(path)).header(CONTENT_TYPE, "application/json").body(body)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    async fn answer<T: DeserializeOwned>(&self, mut request: reqwest::RequestBuilder) -> Result<T, String> {
        let admin = self.address.as_str();
        let admin = admin.strip_prefix("http://").unwrap_or(admin);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        let response = request.send().await.map_err(|_| {
            format!(
                "no compositor responds on {admin}: is it running, and is this its admin listener (`--admin ADDR`)?"
            )
        })?;
        let status = response.status();
        let text = response.text().await.map_err(|error| error.to_string())?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(format!("{admin} requires the admin token: set PASTEUP_SERVER__ADMIN_TOKEN"));
        }
        if !status.is_success()
            && let Ok(problem) = serde_json::from_str::<serde_json::Value>(&text)
            && let Some(detail) = problem["detail"].as_str()
        {
            return Err(detail.to_owned());
        }
        serde_json::from_str(&text).map_err(|_| format!("{admin} responded with {status}: {}", text.trim()))
    }
}
