//! The fetches of ESI includes: from the upstream of the including nanoservice, as that nanoservice, and from others where
//! they are allowed.
//! A URL that leads to no allowed upstream, or whose variables would change its path, is refused with a reason.

use percent_encoding::utf8_percent_encode;

use crate::page::esi::request::Values;
use crate::page::esi::text::{EsiText, Piece};
use crate::page::http::encoding::IN_SEGMENT;
use crate::page::layout::FragmentUse;
use crate::page::manifest::upstreams::{self, Allowed};
use crate::page::source::reason::Reason;
use crate::page::visit::context::Visit;

use super::address::on_all_endpoints;
use super::defaults::Defaults;
use super::fetch::{Fetch, of_nanoservice, of_url};

/// The origin of the HTML that contains an include.
#[derive(Debug, Clone, Copy)]
pub struct Includer<'a> {
    /// The fetch whose response includes it; `None` for a layout.
    pub parent: Option<&'a Fetch>,
    /// The other upstreams that may be included from.
    pub allowed: &'a [Allowed],
}

impl Includer<'_> {
    /// The fetch of an include.
    ///
    /// # Errors
    /// The include must not be requested: the reason.
    pub fn fetch(
        &self,
        fragment: &FragmentUse,
        src: &EsiText,
        variables: &Values,
        visit: &Visit,
        defaults: &Defaults,
    ) -> Result<Fetch, Reason> {
        // A value must not lead to another path.
        let is_dot_segment = |piece: &Piece| match piece {
            Piece::Variable(variable) => {
                let value = variable.value(variables);
                !value.is_empty() && value.bytes().all(|byte| byte == b'.')
            }
            Piece::Literal(_) => false,
        };
        if src.pieces().iter().any(is_dot_segment) {
            return Err(Reason::NotAllowed);
        }
        let text = src.render(variables, |value| utf8_percent_encode(value, IN_SEGMENT).to_string());
        let base = self.parent.map(|parent| parent.target().address.base());
        let mut url = match base {
            Some(base) if !text.contains("://") => base.join(&text).map_err(|_| Reason::NotAllowed)?,
            _ => upstreams::source(&text).map_err(|_| Reason::NotAllowed)?,
        };
        url.set_fragment(None);
        let manifest = self.parent.and_then(|parent| parent.manifest.as_ref());
        if let (Some(base), Some(manifest)) = (base, manifest)
            && base.origin() == url.origin()
        {
            let targets = on_all_endpoints(manifest, &url);
            return Ok(of_nanoservice(fragment, manifest, targets, visit, defaults));
        }
        if !self.allowed.iter().any(|allowed| allowed.covers(&url)) {
            return Err(Reason::NotAllowed);
        }
        // A nanoservice whose HTML is balanced must not escape its part through what it includes.
        let html = manifest.map_or(defaults.html, |manifest| manifest.html);
        Ok(of_url(fragment, &url, &[], html, defaults))
    }
}
