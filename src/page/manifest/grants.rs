//! What operators grant the services that publish their manifests themselves.
//! A manifest that asks for more than its source is granted is not used.

use crate::page::source::names::{self, Name};
use crate::page::visit::context::{Dimension, is_token};

use super::upstreams::ServiceUrl;
use super::{Boundary, Manifest};

/// The path at which services publish their manifests.
pub const PATH: &str = "/.well-known/fragments.json";

/// A service that publishes manifests, and what it is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSource {
    /// The URL of the service.
    pub url: ServiceUrl,
    /// What its manifests may ask for.
    pub allow: Vec<Grant>,
    /// The names that it may declare even if they belong to a folder, or to a source that is listed before it.
    pub names: Vec<Name>,
}

impl ManifestSource {
    /// The URL of its document, by which diagnostics name it.
    #[must_use]
    pub fn document(&self) -> String {
        format!("{}{PATH}", self.url.origin())
    }

    /// Its entry in the settings, with further grants and names.
    #[must_use]
    pub fn entry_with(&self, grants: &[Grant], name: Option<&Name>) -> String {
        let list = |key: &str, items: Vec<String>| {
            let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
            if items.is_empty() { String::new() } else { format!(", {key} = [{}]", items.join(", ")) }
        };
        let allow = list("allow", self.allow.iter().chain(grants).map(ToString::to_string).collect());
        let names = list("names", self.names.iter().chain(name).map(ToString::to_string).collect());
        format!("{{ url = \"{}\"{allow}{names} }}", self.url.to_string().trim_end_matches('/'))
    }
}

/// What a manifest may ask for only if its source is granted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// `html = "raw"`.
    Raw,
    /// The cookie of this name as context.
    Cookie(String),
    /// The header of this name as context, in lower case.
    Header(String),
    /// To set the cookie of this name.
    SetCookie(String),
    /// The fragment of this name in `composes`, although another source declares it.
    Composes(String),
}

impl Grant {
    /// The notations in settings.
    pub const FORMS: [&'static str; 5] = ["raw", "cookie:NAME", "header:NAME", "set-cookie:NAME", "composes:NAME"];
}

/// The notation of settings.
impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Raw => f.write_str("raw"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::SetCookie(name) => write!(f, "set-cookie:{name}"),
            Self::Composes(name) => write!(f, "composes:{name}"),
        }
    }
}

impl std::str::FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "raw" {
            return Ok(Self::Raw);
        }
        match text.split_once(':') {
            Some((_, "*")) => Err(format!("`{text}`: `*` is not a name; list each name")),
            Some(("cookie" | "header", _)) => match text.parse::<Dimension>()? {
                Dimension::Header(name) => Ok(Self::Header(name)),
                Dimension::Cookie(name) => Ok(Self::Cookie(name)),
                _ => Err(format!("`{text}` is not one of {}", Self::FORMS.join(", "))),
            },
            Some(("set-cookie", name)) if is_token(name) => Ok(Self::SetCookie(name.to_owned())),
            Some(("composes", name)) if names::is_name(name) => Ok(Self::Composes(name.to_owned())),
            _ => Err(format!("`{text}` is not one of {}", Self::FORMS.join(", "))),
        }
    }
}

impl Manifest {
    /// What the manifest asks for that a source has only if it is granted. `is_own`: whether a name is one of the source's
    /// own.
    #[must_use]
    pub fn asks_for(&self, is_own: impl Fn(&str) -> bool) -> Vec<Grant> {
        let mut all: Vec<Grant> = Vec::new();
        all.extend((self.html == Boundary::Raw).then_some(Grant::Raw));
        all.extend(self.context.iter().filter_map(|dimension| match dimension {
            Dimension::Cookie(name) => Some(Grant::Cookie(name.clone())),
            Dimension::Header(name) => Some(Grant::Header(name.clone())),
            Dimension::Locale | Dimension::Region | Dimension::Device | Dimension::Variant | Dimension::Page => None,
        }));
        all.extend(self.cookies.iter().cloned().map(Grant::SetCookie));
        all.extend(self.composes.iter().filter(|name| !is_own(name)).cloned().map(Grant::Composes));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read_as_it_is_written() {
        for text in ["raw", "cookie:units", "header:x-tenant", "set-cookie:units", "composes:icon"] {
            assert_eq!(text.parse::<Grant>().expect("a grant").to_string(), text);
        }
        assert_eq!("header:X-Tenant".parse(), Ok(Grant::Header("x-tenant".to_owned())));
        for (text, why) in [
            ("html", "is not one of raw, cookie:NAME"),
            ("cookie:*", "list each name"),
            ("cookie:", "is not one of"),
            ("header:host", "it names the nanoservice's own host"),
            ("composes:a b", "is not one of"),
            ("locale", "is not one of"),
        ] {
            let error = text.parse::<Grant>().expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }
}
