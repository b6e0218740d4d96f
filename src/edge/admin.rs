//! The operators' side: health and metrics. A mutation is a POST; a GET never changes anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};

/// What the admin side works with.
pub struct Admin {
    /// Whether layouts are loaded and the server is not stopping.
    pub ready: Arc<AtomicBool>,
    /// All metrics as text.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// What a request must bring for all but health; nothing where there is none.
    pub token: Option<String>,
}

/// The admin side as a service.
pub fn router(admin: Arc<Admin>) -> Router {
    let guarded =
        Router::new().route("/metrics", get(metrics)).layer(from_fn_with_state(Arc::clone(&admin), authorise));
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .merge(guarded)
        .with_state(admin)
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (admin.metrics)())
}

async fn authorise(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let allowed = admin.token.as_ref().is_none_or(|token| {
        given.and_then(|given| given.strip_prefix("Bearer ")).is_some_and(|given| same(given, token))
    });
    if allowed {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], "this needs the admin token\n").into_response()
    }
}

/// Compares in a time that does not depend on where the texts differ.
fn same(given: &str, token: &str) -> bool {
    given.len() == token.len() && given.bytes().zip(token.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
