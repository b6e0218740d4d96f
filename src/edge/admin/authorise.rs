//! Checks the admin token of a request.
//! A request without the token gets a 401 that requests a password from browsers and a bearer token from other clients.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::Admin;

pub(super) async fn authorise(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if admin.token.as_ref().is_none_or(|token| given.is_some_and(|given| holds_token(given, token))) {
        return next.run(request).await;
    }
    // For `Basic`, browsers prompt for a name and a password; any name is accepted.
    let challenges = [(WWW_AUTHENTICATE, "Bearer"), (WWW_AUTHENTICATE, "Basic realm=\"Pasteup\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, AppendHeaders(challenges), "this needs the admin token\n").into_response()
}

/// Whether a value of `Authorization` holds the token, as a bearer token (RFC 6750) or as a password (RFC 7617).
fn holds_token(given: &str, token: &str) -> bool {
    if let Some(given) = given.strip_prefix("Bearer ") {
        return is_equal(given, token);
    }
    let pair = given.strip_prefix("Basic ").and_then(|pair| STANDARD.decode(pair).ok());
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    pair.as_deref().and_then(|pair| pair.split_once(':')).is_some_and(|(_, password)| is_equal(password, token))
}

/// Compares two texts in a time that does not depend on where they differ.
fn is_equal(given: &str, token: &str) -> bool {
    given.len() == token.len() && given.bytes().zip(token.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
