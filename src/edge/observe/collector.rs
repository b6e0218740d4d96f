//! The HTTP client for a collector, which reads what the collector did not accept.
//! A response that cannot be read as OTLP counts as one without a complaint.

use futures::future::BoxFuture;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use crate::page::source::visible;

/// Longest message of a collector that is logged, in characters.
const MAX_MESSAGE: usize = 500;

/// Is called with the number of rejected spans, which may be zero, and the collector's message.
pub(super) type Report = Box<dyn Fn(usize, &str) + Send + Sync>;

/// Sends spans, and reports what the collector states about those that it does not accept (OTLP, partial success).
pub(super) struct Client {
    pub(super) client: reqwest::blocking::Client,
    pub(super) report: Report,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.client.fmt(f)
    }
}

impl HttpClient for Client {
    fn send_bytes<'this, 'future>(
        &'this self,
        request: Request<Bytes>,
    ) -> BoxFuture<'future, Result<Response<Bytes>, HttpError>>
    where
        'this: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let response = self.client.send_bytes(request).await?;
            if let Some((spans, message)) = rejected(response.body()).filter(|_| response.status().is_success()) {
                (self.report)(spans, &message);
            }
            Ok(response)
        })
    }
}

/// The number of spans that a response rejects, and why. `None`: it accepts all of them without a word.
fn rejected(response: &[u8]) -> Option<(usize, String)> {
    let partial = ExportTraceServiceResponse::decode(response).ok()?.partial_success?;
    let message: String = partial.error_message.chars().take(MAX_MESSAGE).collect();
    let spans = usize::try_from(partial.rejected_spans).unwrap_or(0);
    (spans > 0 || !message.is_empty()).then(|| (spans, visible::visible(&message).into_owned()))
}
