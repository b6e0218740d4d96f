//! A request for one of the compositor's own paths, as the handlers of the router extract it.

use std::sync::Arc;

use axum::Extension;

use super::exchange::Exchange;

/// A request for one of these paths.
pub(super) struct OwnRequest {
    pub(super) exchange: Exchange,
    /// Its path, normalised.
    pub(super) path: String,
}

/// A request as handlers extract it.
pub(super) type Own = Extension<Arc<OwnRequest>>;
