//! Cache keys: everything that a nanoservice is sent for a response, and nothing else.
//! Different lists of fields never make the same key.

use std::hash::{BuildHasher as _, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use foldhash::quality::RandomState;
use xxhash_rust::xxh3::xxh3_128;

/// Bytes that are reserved for a key; most keys need no more.
const CAPACITY: usize = 256;
/// Bytes of the length of a field.
const LENGTH: usize = size_of::<u64>();
/// Bytes of the hashes at the start of a key.
const HASHES: usize = size_of::<u64>() + size_of::<u128>();

/// The key of a fetch: everything that the nanoservice is sent.
// A single pointer, since a response has its key in several tables. It starts with two hashes, computed once: one of all that
// follows, seeded per process, and one of the resource.
#[derive(Clone)]
pub struct Key(Arc<[u8]>);

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

impl Key {
    /// Joins fields into a key. Each is preceded by its length, so that different lists of fields have different keys. The first list is
    /// the resource, the second the context that it is requested in.
    #[must_use]
    pub fn new<F: AsRef<[u8]>>(resource: impl IntoIterator<Item = F>, context: impl IntoIterator<Item = F>) -> Self {
        let mut bytes = Vec::with_capacity(CAPACITY);
        // The hashes, and where the second list begins, are filled in below.
        bytes.extend_from_slice(&[0; HASHES + LENGTH]);
        join(&mut bytes, resource);
        let end = bytes.len();
        bytes[HASHES..HASHES + LENGTH].copy_from_slice(&(end as u64).to_le_bytes());
        let resource = xxh3_128(&bytes[HASHES + LENGTH..]);
        join(&mut bytes, context);
        let hash = HASHER.hash_one(&bytes[HASHES..]);
        bytes[..LENGTH].copy_from_slice(&hash.to_le_bytes());
        bytes[LENGTH..HASHES].copy_from_slice(&resource.to_le_bytes());
        Self(bytes.into())
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes of the key that are the same in all processes.
    #[must_use]
    pub fn portable_bytes(&self) -> &[u8] {
        &self.0[LENGTH..]
    }

    /// The fields that the key was made of, for people to read: bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn fields(&self) -> Vec<String> {
        let mut rest = &self.0[HASHES + LENGTH..];
        let mut fields = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<LENGTH>() {
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX).min(after.len());
            let (field, after) = after.split_at(length);
            fields.push(String::from_utf8_lossy(field).into_owned());
            rest = after;
        }
        fields
    }

    /// Whether there may be other keys of the same resource: it was requested in some context.
    #[must_use]
    pub fn has_context(&self) -> bool {
        let end: [u8; LENGTH] = *self.0[HASHES..].first_chunk().expect("the hashes are followed by a length");
        u64::from_le_bytes(end) < self.0.len() as u64
    }

    /// A hash of the key; it differs between processes.
    #[must_use]
    pub fn local_hash(&self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("a key starts with its hashes"))
    }

    /// A hash of the resource, which is equal for all keys of the same resource, whatever their context.
    #[must_use]
    pub fn resource(&self) -> u128 {
        u128::from_le_bytes(*self.0[LENGTH..].first_chunk().expect("a key starts with its hashes"))
    }
}

fn join<F: AsRef<[u8]>>(bytes: &mut Vec<u8>, fields: impl IntoIterator<Item = F>) {
    for field in fields {
        let field = field.as_ref();
        bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
        bytes.extend_from_slice(field);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.local_hash());
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.0[HASHES..].escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[a:1|]{0,3}", 0..3)
    }

    proptest! {
        #[test]
        fn different_fields_make_different_keys(a in fields(), b in fields(), c in fields(), d in fields()) {
            let (first, second) = (Key::new(&a, &b), Key::new(&c, &d));
            prop_assert_eq!((&a, &b) == (&c, &d), first == second);
            prop_assert_eq!(a == c, first.resource() == second.resource());
            prop_assert_eq!(first.has_context(), !b.is_empty());
            prop_assert_eq!(first.fields(), [a, b].concat());
        }
    }
}
