//! The fetches of ESI includes: of the upstream of the nanoservice that includes, as that nanoservice,
//! and of others where they are allowed.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::page::esi::request::Values;
use crate::page::esi::text::{EsiText, Piece};
use crate::page::layout::FragmentUse;
use crate::page::manifest::upstreams::{self, Allowed};
use crate::page::source::reason::Reason;
use crate::page::visit::context::Visit;

use super::defaults::Defaults;
use super::fetch::{Fetch, everywhere, of_service, sourced};

/// What stands as it is in any part of a URL (RFC 3986, 2.3).
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Who includes something.
#[derive(Debug, Clone, Copy)]
pub struct Includer<'a> {
    /// The fetch whose answer does; `None` for a layout.
    pub parent: Option<&'a Fetch>,
    /// What else he may include.
    pub allowed: &'a [Allowed],
}

impl Includer<'_> {
    /// The fetch of an include.
    ///
    /// # Errors
    /// It cannot be asked for: why.
    pub fn fetch(
        &self,
        fragment: &FragmentUse,
        src: &EsiText,
        variables: &Values,
        visit: &Visit,
        defaults: &Defaults,
    ) -> Result<Fetch, Reason> {
        // A value may not become another path.
        let leads_up = |piece: &Piece| match piece {
            Piece::Variable(variable) => {
                let value = variable.value(variables);
                !value.is_empty() && value.bytes().all(|byte| byte == b'.')
            }
            Piece::Literal(_) => false,
        };
        if src.pieces().iter().any(leads_up) {
            return Err(Reason::NotAllowed);
        }
        let text = src.render(variables, |value| utf8_percent_encode(value, VALUE).to_string());
        let base = self.parent.map(|parent| &parent.target().url);
        let mut url = match base {
            Some(base) if !text.contains("://") => base.join(&text).map_err(|_| Reason::NotAllowed)?,
            _ => upstreams::source(&text).map_err(|_| Reason::NotAllowed)?,
        };
        url.set_fragment(None);
        let manifest = self.parent.and_then(|parent| parent.manifest.as_ref());
        if let (Some(base), Some(manifest)) = (base, manifest)
            && base.origin() == url.origin()
        {
            let targets = everywhere(manifest, &url);
            return Ok(of_service(fragment, manifest, targets, visit, defaults));
        }
        if !self.allowed.iter().any(|allowed| allowed.covers(&url)) {
            return Err(Reason::NotAllowed);
        }
        // Who keeps within his place does so with all that he includes.
        let html = manifest.map_or(defaults.html, |manifest| manifest.html);
        Ok(sourced(fragment, &url, &[], html, defaults))
    }
}
