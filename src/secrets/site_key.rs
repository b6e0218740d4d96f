//! The key of a site. From it the key of every keyed tag is derived (HKDF, RFC 5869), one for each purpose.
//! A derived key tells nothing about the site's key, nor about the key for another purpose.

use ring::hkdf::{HKDF_SHA256, KeyType, Salt};

/// The least number of bytes of a key.
pub const MIN_BYTES: usize = 32;

/// What distinguishes this use of a secret from all others that an operator may make of it.
const SALT: &[u8] = b"pasteup site key";

/// The key of a site: any bytes, of which there are enough. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SiteKey(Vec<u8>);

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The tags in the addresses of standalone fragments.
    LazyAddresses,
    /// Debug tokens.
    DebugTokens,
    /// The names of responses in a store that replicas share.
    SharedNames,
}

impl Purpose {
    /// Its label in the derivation. A label that changes makes all tags of this purpose invalid.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::LazyAddresses => b"lazy addresses",
            Self::DebugTokens => b"debug tokens",
            Self::SharedNames => b"shared names",
        }
    }
}

impl SiteKey {
    /// A key of these bytes. `None`: there are fewer than [`MIN_BYTES`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= MIN_BYTES).then_some(Self(bytes))
    }

    /// The key for a purpose.
    #[must_use]
    pub fn derive(&self, purpose: Purpose) -> [u8; 32] {
        let mut key = [0; 32];
        let derived = Salt::new(HKDF_SHA256, SALT).extract(&self.0);
        let info = [purpose.label()];
        let filled = derived.expand(&info, Length(key.len())).and_then(|derived| derived.fill(&mut key));
        filled.expect("HKDF gives up to 8,160 bytes");
        key
    }
}

impl std::fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SiteKey(…)")
    }
}

/// The number of bytes of a derived key.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_and_each_site_has_its_own_key() {
        let key = |byte| SiteKey::new(vec![byte; MIN_BYTES]).expect("it is long enough");
        let (first, other) = (key(1), key(2));
        assert_eq!(first.derive(Purpose::DebugTokens), key(1).derive(Purpose::DebugTokens));
        assert_ne!(first.derive(Purpose::DebugTokens), first.derive(Purpose::LazyAddresses));
        assert_ne!(first.derive(Purpose::DebugTokens), other.derive(Purpose::DebugTokens));
        assert_eq!(SiteKey::new(vec![1; MIN_BYTES - 1]), None);
        assert!(!format!("{first:?}").contains('1'));
    }

    /// Pages in caches hold tags: a derivation that changed would break all of them at an upgrade. The value is that of
    /// another implementation.
    #[test]
    fn a_derived_key_stays_what_it_is() {
        let key = SiteKey::new(b"0123456789abcdef0123456789abcdef".to_vec()).expect("it is long enough");
        let hex: String = key.derive(Purpose::LazyAddresses)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "8be5e6362c8d3caa");
    }
}
