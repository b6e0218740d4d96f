//! The site's key and the admin token, wherever they come from.
//! Only a server makes them and keeps them in the state folder; the other commands use what is there, and write nothing.

use crate::config::{AdminToken, Server};
use crate::page::browser::lazy_address::AddressKey;
use crate::secrets::Secret;
use crate::secrets::site_key::{Purpose, SiteKey};
use crate::secrets::state::{ADMIN_TOKEN, KEY, Kept};

/// The secrets that a server runs with.
pub(super) struct ServerKeys {
    pub(super) site: SiteKey,
    pub(super) admin_token: Option<Secret>,
    /// Whether the admin token was made at this start, so that nobody knows it yet.
    pub(super) has_new_token: bool,
}

impl ServerKeys {
    /// The secrets of the settings. What they leave out is made, and kept in the state folder.
    ///
    /// # Errors
    /// The operating system provides no random numbers.
    pub(super) fn of(server: &Server) -> Result<Self, String> {
        let site = match &server.key {
            Some(key) => key.clone(),
            None => made_site_key(server)?,
        };
        let (admin_token, has_new_token) = match &server.admin_token {
            None => (None, false),
            Some(AdminToken::Given(token)) => (Some(token.clone()), false),
            Some(AdminToken::Generated) => {
                let Kept { secret, is_new, not_kept } = server.state.read_or_make(ADMIN_TOKEN)?;
                if let Some(why) = not_kept {
                    tracing::warn!("the admin token is valid until this process ends, since it cannot be kept: {why}");
                }
                (Some(secret), is_new)
            }
        };
        Ok(Self { site, admin_token, has_new_token })
    }
}

/// The site's key in the state folder, which is made if there is none.
fn made_site_key(server: &Server) -> Result<SiteKey, String> {
    let Kept { secret, not_kept, .. } = server.state.read_or_make(KEY)?;
    let key = SiteKey::new(secret.reveal().as_bytes().to_vec());
    let key = key.ok_or_else(|| {
        let path = server.state.path().join(KEY);
        format!("the key in {} has fewer than 32 bytes: remove the file, and a new key is made", path.display())
    })?;
    if let Some(why) = not_kept {
        tracing::warn!(
            "the site's key is random and valid until this process ends, since it cannot be kept: {why}. Debug tokens, and the \
             lazy parts of pages in caches, end with it. Make the folder writable, or set `server.key`"
        );
    }
    Ok(key)
}

/// The key that signs the addresses of standalone fragments.
pub(super) fn address_key(site: &SiteKey) -> AddressKey {
    AddressKey::new(site.derive(Purpose::LazyAddresses))
}

/// The same for a command that only shows pages. If there is no key yet, no server has this one.
pub(super) fn address_key_if_any(server: &Server) -> AddressKey {
    let kept = || SiteKey::new(server.state.read(KEY).ok()??.reveal().as_bytes().to_vec());
    server.key.clone().or_else(kept).as_ref().map(address_key).unwrap_or_default()
}

/// The admin token for a command that talks to a running server. `None`: there is none, or it cannot be read.
pub(super) fn admin_token_if_any(server: &Server) -> Option<Secret> {
    match server.admin_token.as_ref()? {
        AdminToken::Given(token) => Some(token.clone()),
        AdminToken::Generated => server.state.read(ADMIN_TOKEN).ok()?,
    }
}
