//! How the compositor shows a nanoservice who it is: each service has its own way and secrets.

use crate::page::source::secret::Reference;
use crate::page::source::table::{self, TableReader, Value, Wrong};

/// How requests to a nanoservice show who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// `Authorization: Bearer` (RFC 6750, 2.1)
    Bearer(Reference),
    /// `Authorization: Basic` (RFC 7617)
    Basic {
        /// The user-id, which holds no colon.
        user: String,
        /// The password.
        password: Reference,
    },
    /// A client's certificate (RFC 8446, 4.4.2).
    Mtls {
        /// Certificate chain, as PEM.
        cert: Reference,
        /// Its private key, as PEM.
        key: Reference,
        /// The authority that the service's own certificate is from; the system's, where there is none.
        ca: Option<Reference>,
    },
    /// HTTP message signatures (RFC 9421).
    Signature {
        /// What the service knows the key by.
        key_id: String,
        /// The key.
        key: Reference,
        /// How it is used.
        algorithm: Algorithm,
    },
}

/// RFC 9421, 6.2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// `hmac-sha256`: a shared key, as Base64.
    #[default]
    HmacSha256,
    /// `ed25519`: a private key, as PEM.
    Ed25519,
    /// `ecdsa-p256-sha256`: a private key, as PEM.
    EcdsaP256Sha256,
}

impl Auth {
    /// The word for its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bearer(_) => "bearer",
            Self::Basic { .. } => "basic",
            Self::Mtls { .. } => "mtls",
            Self::Signature { .. } => "signature",
        }
    }
}

/// Reads `[auth]`.
pub(super) fn auth(reader: &mut TableReader<'_>) -> Option<Auth> {
    reader.table("auth", |auth| {
        // Where there is a table, it says how: a token that is written and not sent helps nobody.
        let kinds = table::word(&["none", "bearer", "basic", "mtls", "signature"]);
        let kind = if auth.is_empty() { None } else { needed(auth, "kind", kinds) };
        match kind {
            Some("bearer") => needed(auth, "token", Reference::read).map(Auth::Bearer),
            Some("basic") => {
                let user = needed(auth, "user", |value| {
                    let user = table::filled(value)?;
                    if user.contains(':') { Err(Wrong::new("a user name holds no colon")) } else { Ok(user) }
                });
                user.zip(needed(auth, "password", Reference::read))
                    .map(|(user, password)| Auth::Basic { user, password })
            }
            Some("mtls") => {
                let ca = auth.read("ca", Reference::read);
                needed(auth, "cert", Reference::read)
                    .zip(needed(auth, "key", Reference::read))
                    .map(|(cert, key)| Auth::Mtls { cert, key, ca })
            }
            Some("signature") => {
                let algorithm = auth.read("algorithm", algorithm).unwrap_or_default();
                needed(auth, "key_id", key_id)
                    .zip(needed(auth, "key", Reference::read))
                    .map(|(key_id, key)| Auth::Signature { key_id, key, algorithm })
            }
            _ => {
                // Without a kind that is known, no key of it is unknown.
                for key in ["token", "user", "password", "cert", "key", "ca", "key_id", "algorithm"] {
                    auth.entry(key);
                }
                None
            }
        }
    })
}

fn needed<T>(auth: &mut TableReader<'_>, key: &'static str, kind: impl Fn(&Value) -> Result<T, Wrong>) -> Option<T> {
    if auth.entry(key).is_none() {
        let at = auth.at().clone();
        auth.note(at, format!("`auth.{key}` is missing"), Some(format!("add a line `{key} = …`")));
        return None;
    }
    auth.read(key, kind)
}

/// A text that can stand in `Signature-Input` (RFC 9421, 2.3; RFC 9651, 3.3.3).
fn key_id(value: &Value) -> Result<String, Wrong> {
    let text = table::filled(value)?;
    let plain = text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
    if plain { Ok(text) } else { Err(Wrong::new("must be of ASCII, without quotes, backslashes and line feeds")) }
}

fn algorithm(value: &Value) -> Result<Algorithm, Wrong> {
    Ok(match table::word(&["hmac-sha256", "ed25519", "ecdsa-p256-sha256"])(value)? {
        "ed25519" => Algorithm::Ed25519,
        "ecdsa-p256-sha256" => Algorithm::EcdsaP256Sha256,
        _ => Algorithm::HmacSha256,
    })
}
