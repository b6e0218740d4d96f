//! The addresses of standalone fragments: what a page states of a lazy part, with a tag that only the site's key can make.
//! An address that no page has written is not read any further than its tag.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::page::http::query;

use super::lazy::PREFIX;

/// The prefix of the compositor's own query parameters. It has a colon, so that they cannot collide with a parameter from a
/// `data-` attribute.
pub(crate) const OWN: &str = "pasteup:";
/// The query parameter that names the page, for nanoservices that declare `page` as context.
const PAGE: &str = "pasteup:page";
/// The query parameter with the sides that the page view takes in rollouts of what the nanoservice composes.
const SIDES: &str = "pasteup:sides";
/// The query parameter with the tag, the last one.
const TAG: &str = "t";
/// The number of bytes of a tag. Nobody can try many of 2^96 tags, and each character of it is in every page.
const TAG_BYTES: usize = 12;

/// Signs addresses, and verifies them.
#[derive(Clone)]
pub struct AddressKey {
    bytes: [u8; 32],
    /// The state after the key was read, which is the same for all addresses.
    keyed: Hmac<Sha256>,
}

impl AddressKey {
    /// Signs with a key.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self { bytes, keyed: Hmac::new_from_slice(&bytes).expect("a key may have any length") }
    }

    /// The state after all that a tag covers. Each text is preceded by its length, so that no two addresses are read alike.
    fn over<'a>(&self, texts: impl Iterator<Item = &'a str>) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        for text in texts {
            mac.update(&(text.len() as u64).to_le_bytes());
            mac.update(text.as_bytes());
        }
        mac
    }
}

/// A key that signs for nobody: no server has it. It is for programs that only show pages.
impl Default for AddressKey {
    fn default() -> Self {
        Self::new([0; 32])
    }
}

impl PartialEq for AddressKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for AddressKey {}

impl std::fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AddressKey(…)")
    }
}

/// The conditions of a place, each as the name and the value of a query parameter.
pub type ConditionFields = Vec<(String, String)>;

/// What an address states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LazyAddress {
    /// The name of the nanoservice.
    pub name: String,
    /// The version of the nanoservice that the page was planned with.
    pub version: String,
    /// The parameters of the place, in the layout's order.
    pub parameters: Vec<(String, String)>,
    /// The route pattern of the page, if the nanoservice is sent it.
    pub page: Option<String>,
    /// The sides that the page view takes in rollouts of what the nanoservice composes.
    pub sides: Option<String>,
    /// The conditions of the place.
    pub conditions: ConditionFields,
}

impl LazyAddress {
    /// Writes the address, with its tag.
    #[must_use]
    pub fn write(&self, key: &AddressKey) -> String {
        let Self { name, version, .. } = self;
        let tag = key.over(self.signed()).finalize().into_bytes();
        let tag = BASE64_URL_SAFE_NO_PAD.encode(&tag[..TAG_BYTES]);
        let query = query::write(self.fields().chain([(TAG, tag.as_str())]));
        format!("{PREFIX}{name}/{version}?{query}")
    }

    /// Reads an address: the path behind [`PREFIX`], and the query. `None`: nobody with this key has written it.
    #[must_use]
    pub fn read(path: &str, query: &str, key: &AddressKey) -> Option<Self> {
        let (name, version) = path.split_once('/')?;
        let mut address = Self { name: name.to_owned(), version: version.to_owned(), ..Self::default() };
        let mut fields: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let (_, tag) = fields.pop().filter(|(name, _)| name == TAG)?;
        for (name, value) in fields {
            let once = match name.as_str() {
                PAGE => Some(&mut address.page),
                SIDES => Some(&mut address.sides),
                _ => None,
            };
            if let Some(once) = once {
                if once.replace(value).is_some() {
                    return None;
                }
            } else if name.starts_with(OWN) {
                address.conditions.push((name, value));
            } else {
                address.parameters.push((name, value));
            }
        }
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok().filter(|tag| tag.len() == TAG_BYTES)?;
        // In a time that does not depend on the tag.
        key.over(address.signed()).verify_truncated_left(&tag).ok()?;
        Some(address)
    }

    /// What the tag covers.
    fn signed(&self) -> impl Iterator<Item = &str> {
        [self.name.as_str(), self.version.as_str()]
            .into_iter()
            .chain(self.fields().flat_map(|(name, value)| [name, value]))
    }

    /// The query parameters without the tag: those of the place, then those of the compositor.
    fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let page = self.page.iter().map(|page| (PAGE, page.as_str()));
        let page = page.chain(self.sides.iter().map(|sides| (SIDES, sides.as_str())));
        pairs(&self.parameters).chain(page).chain(pairs(&self.conditions))
    }
}

fn pairs(fields: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_pairs(name: &'static str) -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec((name, "[a=&;t +%é]{0,3}"), 0..3)
    }

    prop_compose! {
        fn address()(
            name in "[a-z]{1,3}",
            version in "[0-9]",
            parameters in some_pairs("[a-z]{1,2}"),
            page in proptest::option::of("/[a-z{}&]{0,3}"),
            sides in proptest::option::of("[a-z@:.]{0,3}"),
            conditions in some_pairs("pasteup:(device|region)"),
        ) -> LazyAddress {
            LazyAddress { name, version, parameters, page, sides, conditions }
        }
    }

    fn read(written: &str, key: &AddressKey) -> Option<LazyAddress> {
        let (path, query) = written.strip_prefix(PREFIX)?.split_once('?')?;
        LazyAddress::read(path, query, key)
    }

    proptest! {
        #[test]
        fn what_clients_send_is_read_without_a_panic(path in ".{0,20}", query in "[a-z%&=+:0-9é]{0,60}", tag in "[-_A-Za-z0-9=]{16}") {
            let key = AddressKey::new([7; 32]);
            for query in [query.clone(), format!("{query}&t={tag}")] {
                prop_assert_eq!(LazyAddress::read(&path, &query, &key), None);
            }
        }

        #[test]
        fn only_what_was_written_is_read(one in address(), other in address()) {
            let key = AddressKey::new([7; 32]);
            let written = one.write(&key);
            let signed = read(&written, &key);
            prop_assert_eq!(signed.as_ref(), Some(&one));
            prop_assert_eq!(read(&written, &AddressKey::new([8; 32])), None);
            // The tag of one address is not that of another.
            let tag = |address: &str| address.rsplit_once("t=").map(|(_, tag)| tag.to_owned());
            let other_written = other.write(&key);
            prop_assert_eq!(tag(&written) == tag(&other_written), one == other);
        }
    }

    #[test]
    fn an_address_that_was_changed_is_not_read() {
        let key = AddressKey::new([7; 32]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let address = LazyAddress {
            name: "comments".to_owned(),
            version: "1.0.0".to_owned(),
            parameters: vec![pair("moderated", "only"), pair("limit", "10")],
            page: Some("/news".to_owned()),
            sides: None,
            conditions: vec![pair("pasteup:region", "DE AT")],
        };
        let written = address.write(&key);
        let (path, query) =
            written.strip_prefix(PREFIX).and_then(|address| address.split_once('?')).expect("an address");
        assert_eq!(LazyAddress::read(path, query, &key), Some(address));
        let tag = query.rsplit_once("t=").expect("a tag").1;
        for query in [
            query.replace("only", "all"),
            query.replace("&limit=10", ""),
            query.replace("moderated=only&limit=10", "limit=10&moderated=only"),
            format!("draft=true&{query}"),
            format!("{query}&draft=true"),
            query.replace("%20AT", ""),
            query.replace("&pasteup%3Aregion=DE%20AT", ""),
            query.replace("&pasteup%3Apage=%2Fnews", ""),
            query.replace("&pasteup%3Apage=%2Fnews", "&pasteup%3Apage=%2Fnews&pasteup%3Apage=%2Fnews"),
            query.replace(&format!("&t={tag}"), ""),
            query.replace(tag, &tag[..15]),
            query.replace(tag, &format!("{tag}AAAA")),
            query.replace(tag, ""),
            format!("t={tag}"),
            format!("{query}&t={tag}"),
            String::new(),
        ] {
            assert_eq!(LazyAddress::read(path, &query, &key), None, "{query}");
        }
        for path in ["comments", "comments/1.0.1", "comments/1.0.0/", "comment/s1.0.0", "comments/"] {
            assert_eq!(LazyAddress::read(path, query, &key), None, "{path}");
        }
    }
}
