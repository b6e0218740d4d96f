//! Decides who may use the admin listener: checks the admin token, or without one the host, and always the origin.
//! A request without the token gets a 401 that requests a password from browsers and a bearer token from other clients.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use constant_time_eq::constant_time_eq;
use http::StatusCode;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use crate::page::http::origin::{host, is_foreign, is_own_host};

use super::{Admin, refuse};

/// Refuses what pages of other sites could have an operator's browser do: to change anything; and without a token also to
/// read anything, under a name that resolves to this machine.
pub(super) async fn refuse_foreign(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let host = host(request.uri(), request.headers());
    // Browsers name a host, so whoever names none is not one.
    let is_own = host.is_empty() || is_own_host(host, admin.listens_on) || is_replica(&admin, &request);
    if admin.token.is_none() && !is_own {
        let detail = "without an admin token, only requests for localhost or a loopback address are answered";
        return refuse(StatusCode::MISDIRECTED_REQUEST, detail);
    }
    if !request.method().is_safe() && is_foreign(request.headers(), host) {
        return refuse(StatusCode::FORBIDDEN, "a page of another site cannot change anything here");
    }
    next.run(request).await
}

pub(super) async fn authorise(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_operator =
        admin.token.as_ref().is_none_or(|token| given.is_some_and(|given| holds_token(given, token.reveal())));
    if is_operator || is_replica(&admin, &request) {
        return next.run(request).await;
    }
    // For `Basic`, browsers prompt for a name and a password; any name is accepted.
    let challenges = [(WWW_AUTHENTICATE, "Bearer"), (WWW_AUTHENTICATE, "Basic realm=\"Pasteup\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, AppendHeaders(challenges), "this needs the admin token\n").into_response()
}

/// Whether a request comes from another replica, and is one that replicas make.
fn is_replica(admin: &Admin, request: &Request) -> bool {
    let path = request.uri().path();
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_allowed = path == "/api/purge" || path == "/api/cluster" || path.starts_with("/api/cluster/");
    let token = admin.cluster_token.as_ref().filter(|_| is_allowed);
    token.zip(given).is_some_and(|(token, given)| holds_token(given, token.reveal()))
}

/// Whether a value of `Authorization` holds the token, as a bearer token (RFC 6750) or as a password (RFC 7617).
fn holds_token(given: &str, token: &str) -> bool {
    let Some((scheme, given)) = given.split_once(' ') else { return false };
    let given = given.trim_start_matches(' ');
    // Schemes are case-insensitive (RFC 9110, 11.1).
    if scheme.eq_ignore_ascii_case("bearer") {
        return is_equal(given, token);
    }
    let pair = STANDARD.decode(given).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"));
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    pair.as_deref().and_then(|pair| pair.split_once(':')).is_some_and(|(_, password)| is_equal(password, token))
}

/// Compares two texts in a time that does not depend on where they differ.
fn is_equal(given: &str, token: &str) -> bool {
    constant_time_eq(given.as_bytes(), token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_case_insensitive_and_blanks_may_follow_it() {
        let basic = STANDARD.encode("anybody:to ken");
        for given in ["Bearer to ken", "bearer to ken", "BEARER    to ken"] {
            assert!(holds_token(given, "to ken"), "{given}");
        }
        for scheme in ["Basic", "basic", "BASIC  "] {
            assert!(holds_token(&format!("{scheme} {basic}"), "to ken"), "{scheme}");
        }
        for given in ["", "to ken", "Bearer", "Bearer ", "Bearer to", "Bearerto ken", "Digest to ken", "Basic to ken"] {
            assert!(!holds_token(given, "to ken"), "{given}");
        }
        assert!(!holds_token(&format!("Bearer {basic}"), "to ken"));
    }
}
