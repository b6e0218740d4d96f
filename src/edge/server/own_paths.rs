//! The compositor's own paths: scripts, assets, the catalogue, the overlay's login, and the paths of `pasteup dev`.
//! Any other path below `/_pasteup/` gets a 404. Standalone fragments are pages, and are not handled here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode, Uri};
use percent_encoding::utf8_percent_encode;
use tokio::sync::OwnedSemaphorePermit;
use tower::ServiceExt as _;

use crate::page::browser::scripts;
use crate::page::http::encoding::IN_PATH;

use super::exchange::Exchange;
use super::own_request::{Own, OwnRequest};
use super::pending::{PendingReply, later};
use super::reply::Reply;
use super::route::CATALOGUE;
use super::state::Pages;
use super::{assets, dev, dev_paths, error_page, overlay, pages};

pub(super) fn router(pages: Arc<Pages>) -> Router {
    let mut router = Router::new()
        .route("/_pasteup/{script}", any(script))
        .route(assets::ROUTE, any(assets::respond))
        .route(CATALOGUE, any(catalogue))
        .route(overlay::ENTRANCE, any(enter));
    if pages.dev.is_some() {
        router = router.route(dev::EVENTS, get(dev_paths::events)).route(dev::FAULT, post(dev_paths::fault));
    }
    router.fallback(missing).method_not_allowed_fallback(missing).with_state(pages)
}

/// Handles a request for one of these paths.
pub(super) fn call(
    pages: Arc<Pages>,
    router: Router,
    exchange: Exchange,
    path: String,
    permit: OwnedSemaphorePermit,
) -> PendingReply {
    later(async move {
        let mut request = Request::new(Body::empty());
        // axum would drop the body of a reply to `HEAD`, before it is known how it is encoded.
        let method = &exchange.request.method;
        *request.method_mut() = if method == Method::HEAD { Method::GET } else { method.clone() };
        let uri = utf8_percent_encode(&path, IN_PATH).to_string();
        *request.uri_mut() = Uri::try_from(uri).expect("an encoded path is a URI");
        let own = Arc::new(OwnRequest { exchange, path });
        request.extensions_mut().insert(Arc::clone(&own));
        let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
        drop(permit);
        own.exchange.finish(&pages, Reply::from(response), None)
    })
}

/// The reply to any other path.
async fn missing(Extension(own): Own) -> Reply {
    pages::error(StatusCode::NOT_FOUND, &own.exchange, None, None)
}

/// One of the compositor's scripts. Its path changes with its text, so it may be cached for a year.
async fn script(Extension(own): Own) -> Reply {
    let Some(script) = scripts::at(&own.path) else { return missing(Extension(own)).await };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Reply::new(StatusCode::OK, headers.into_iter().collect(), script.text.into())
}

/// The manifests of all nanoservices that pages can use.
async fn catalogue(Extension(own): Own) -> Reply {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=10")),
    ];
    let catalogue = own.exchange.snapshot.site.catalogue.to_json().to_string();
    Reply::new(StatusCode::OK, headers.into_iter().collect(), catalogue.into())
}

/// Sets the cookie for a debug token.
async fn enter(State(pages): State<Arc<Pages>>, Extension(own): Own) -> Reply {
    let exchange = &own.exchange;
    let entered = pages.overlay.enter(&exchange.request, pages.compositor.now(), exchange.is_secure(&pages));
    entered.unwrap_or_else(|| error_page::reply(StatusCode::NOT_FOUND, &exchange.trace))
}
