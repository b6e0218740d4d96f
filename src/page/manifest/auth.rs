//! How requests to a nanoservice are authenticated: each one has its own method and secrets.
//! A table without a valid `kind` is an error.

use crate::page::source::schema::{Field, Kind, schema};
use crate::page::source::secret::Reference;
use crate::page::source::table::{self, TableReader, Value, ValueError};

/// How requests to a nanoservice are authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Auth {
    /// `Authorization: Bearer` (RFC 6750, 2.1).
    Bearer(Reference),
    /// `Authorization: Basic` (RFC 7617).
    Basic {
        /// The user-id, which contains no colon.
        user: String,
        /// The password.
        password: Reference,
    },
    /// A client certificate (RFC 8446, 4.4.2).
    Mtls {
        /// The certificate chain, as PEM.
        cert: Reference,
        /// Its private key, as PEM.
        key: Reference,
        /// The authority that issued the nanoservice's certificate; the system's authorities if `None`.
        ca: Option<Reference>,
    },
    /// HTTP message signatures (RFC 9421).
    Signature {
        /// The name by which the nanoservice knows the key.
        key_id: String,
        /// The key.
        key: Reference,
        /// How the key is used.
        algorithm: Algorithm,
    },
}

/// An algorithm for HTTP message signatures (RFC 9421, 6.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// HMAC with a shared key, as Base64.
    #[default]
    HmacSha256,
    /// EdDSA with a private key, as PEM.
    Ed25519,
    /// ECDSA with a private key, as PEM.
    EcdsaP256Sha256,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::HmacSha256, Self::Ed25519, Self::EcdsaP256Sha256];

    const KIND: Kind = Kind::Word(&[Self::HmacSha256.as_str(), Self::Ed25519.as_str(), Self::EcdsaP256Sha256.as_str()]);

    const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
        }
    }
}

const NONE: &str = "none";
const BEARER: &str = "bearer";
const BASIC: &str = "basic";
const MTLS: &str = "mtls";
const SIGNATURE: &str = "signature";

schema! {
    /// How requests to the service are authenticated. Secrets are references, and are read again every ten seconds.
    /// Without its secret a service is not requested.
    pub(crate) mod fields {
        /// The method, which determines the other keys.
        KIND = Field::new("kind", Kind::Variant(&[
            (NONE, &none::SCHEMA),
            (BEARER, &bearer::SCHEMA),
            (BASIC, &basic::SCHEMA),
            (MTLS, &mtls::SCHEMA),
            (SIGNATURE, &signature::SCHEMA),
        ])).required();
    }
}

schema! {
    /// Requests are not authenticated.
    pub(crate) mod none {}
}

schema! {
    /// Sends `Authorization: Bearer` (RFC 6750).
    pub(crate) mod bearer {
        /// The token.
        TOKEN = Field::new("token", Kind::Reference).required().example("\"env:WEATHER_TOKEN\"");
    }
}

schema! {
    /// Sends `Authorization: Basic` (RFC 7617).
    pub(crate) mod basic {
        /// The user name, without a colon.
        USER = Field::new("user", Kind::Text).required().example("\"pasteup\"");
        /// The password.
        PASSWORD = Field::new("password", Kind::Reference).required().example("\"env:WEATHER_PASSWORD\"");
    }
}

schema! {
    /// Sends a client certificate (TLS 1.3, RFC 8446). Every endpoint must be `https`.
    pub(crate) mod mtls {
        /// The certificate chain, as PEM.
        CERT = Field::new("cert", Kind::Reference).required().example("\"file:client.pem\"");
        /// The private key, as PEM.
        KEY = Field::new("key", Kind::Reference).required().example("\"file:client-key.pem\"");
        /// The authority that issued the service's certificate, as PEM.
        CA = Field::new("ca", Kind::Reference)
            .otherwise("the authorities of the system")
            .example("\"file:authority.pem\"");
    }
}

schema! {
    /// Sends `Signature` and `Signature-Input` (RFC 9421) over method, authority, path, query, and all headers that
    /// describe the client.
    pub(crate) mod signature {
        /// The name by which the service knows the key: ASCII without quotes and backslashes.
        KEY_ID = Field::new("key_id", Kind::Text).required().example("\"pasteup-1\"");
        /// The key: Base64 for `hmac-sha256`, otherwise PEM.
        KEY = Field::new("key", Kind::Reference).required().example("\"env:WEATHER_KEY\"");
        /// The algorithm.
        ALGORITHM = Field::new("algorithm", Algorithm::KIND).default(Algorithm::HmacSha256.as_str());
    }
}

impl Auth {
    /// The method's name in manifests.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bearer(_) => BEARER,
            Self::Basic { .. } => BASIC,
            Self::Mtls { .. } => MTLS,
            Self::Signature { .. } => SIGNATURE,
        }
    }
}

/// Reads `[auth]`.
pub(super) fn read(table: &mut TableReader<'_>) -> Option<Auth> {
    // A table without a kind is an error: otherwise a token would be configured, and never sent.
    if !table.is_empty() && table.entry(&fields::KIND).is_none() {
        note_missing(table, &fields::KIND);
    }
    match table.variant(&fields::KIND) {
        Some(BEARER) => needed(table, &bearer::TOKEN, Reference::read).map(Auth::Bearer),
        Some(BASIC) => {
            let user = needed(table, &basic::USER, |value| {
                let user = table::filled(value)?;
                if user.contains(':') { Err(ValueError::new("must not contain a colon")) } else { Ok(user) }
            });
            user.zip(needed(table, &basic::PASSWORD, Reference::read))
                .map(|(user, password)| Auth::Basic { user, password })
        }
        Some(MTLS) => {
            let ca = table.read(&mtls::CA, Reference::read);
            needed(table, &mtls::CERT, Reference::read)
                .zip(needed(table, &mtls::KEY, Reference::read))
                .map(|(cert, key)| Auth::Mtls { cert, key, ca })
        }
        Some(SIGNATURE) => {
            let algorithm = table::word_for(&Algorithm::KIND, &Algorithm::ALL, Algorithm::as_str);
            let algorithm = table.read_or_default(&signature::ALGORITHM, algorithm);
            needed(table, &signature::KEY_ID, key_id)
                .zip(needed(table, &signature::KEY, Reference::read))
                .map(|(key_id, key)| Auth::Signature { key_id, key, algorithm })
        }
        _ => None,
    }
}

fn needed<T>(
    table: &mut TableReader<'_>,
    field: &'static Field,
    read: impl Fn(&Value) -> Result<T, ValueError>,
) -> Option<T> {
    if table.entry(field).is_none() {
        note_missing(table, field);
        return None;
    }
    table.read(field, read)
}

/// Reports a key that is missing, at the whole table.
fn note_missing(table: &mut TableReader<'_>, field: &'static Field) {
    let key = field.name;
    table.note(table.at().clone(), format!("`auth.{key}` is missing"), Some(format!("add a line `{key} = …`")));
}

/// Reads a string that can be a parameter of `Signature-Input` (RFC 9421, 2.3; RFC 9651, 3.3.3).
fn key_id(value: &Value) -> Result<String, ValueError> {
    let text = table::filled(value)?;
    let plain = text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
    if plain { Ok(text) } else { Err(ValueError::new("must be printable ASCII, without quotes and backslashes")) }
}
