//! A site bound to defaults, and which of its templates serves a path at a time.
//! If two templates have the same pattern, the first in the site's order of precedence serves it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use crate::page::browser::lazy;
use crate::page::browser::lazy_address::{ConditionFields, LazyAddress};
use crate::page::manifest::Manifest;
use crate::page::request::bound::BoundTemplate;
use crate::page::request::defaults::Defaults;
use crate::page::visit::route::Routes;

use super::build::{Site, StandaloneTemplate};

/// The query parameter by which whoever has a debug token chooses a version.
const WITH: &str = "pasteup-with";

/// A site with its templates bound to defaults. It is read like the site that it was made from.
#[derive(Debug, Default)]
pub struct BoundSite {
    /// The values that are used if neither layout nor manifest states one.
    pub defaults: Arc<Defaults>,
    site: Site,
    routes: Routes<(String, Arc<BoundTemplate>)>,
    /// The site's own pages for statuses, each with the name that its requests are counted under.
    statuses: BTreeMap<u16, (String, Arc<BoundTemplate>)>,
    /// Standalone fragments by name, the highest version first.
    standalone: BTreeMap<String, Vec<StandalonePage>>,
}

/// The page of a standalone fragment, for all places with the same conditions.
#[derive(Debug)]
struct StandalonePage {
    /// The version of the nanoservice, as addresses state it.
    version: String,
    /// The conditions of the places, as addresses state them.
    conditions: ConditionFields,
    /// The pattern that its requests are counted under.
    pattern: String,
    template: Arc<BoundTemplate>,
}

/// The template that serves a path.
#[derive(Debug)]
pub struct Match<'a> {
    /// The template.
    pub template: &'a Arc<BoundTemplate>,
    /// How long until another one replaces it.
    pub changes_in: Option<Duration>,
    /// The pattern that matched; of a standalone fragment, that of the page which it is for, if its nanoservice is sent it.
    pub pattern: Cow<'a, str>,
    /// The values of the route's parameters, or the parameters of a standalone fragment.
    pub parameters: Vec<(String, String)>,
    /// The sides that the address of a standalone fragment states.
    pub sides: Option<String>,
}

/// Why no template serves a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMatch {
    /// No layout has a route for it, or the place of a standalone fragment is gone.
    Missing,
    /// It is the address of a standalone fragment, but no page of this site has written it.
    Forged,
    /// It asks for a version that the catalogue does not have.
    NoSuchVersion,
}

impl Deref for BoundSite {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl BoundSite {
    /// Binds all templates of a site: also those that stay live despite an error, and those of standalone fragments.
    #[must_use]
    pub fn bind(site: Site, defaults: Arc<Defaults>) -> Self {
        let mut routes = Routes::default();
        let mut statuses = BTreeMap::new();
        for template in &site.by_precedence {
            let bound = BoundTemplate::bind(template, &defaults);
            if let Some(status) = template.status {
                let page = || (status.as_str().to_owned(), Arc::clone(&bound));
                statuses.entry(status.as_u16()).or_insert_with(page);
            }
            for route in &template.routes {
                // A pattern that is already taken belongs to a layout without an error.
                let _is_new = routes.insert(&route.value, (route.value.as_str().to_owned(), Arc::clone(&bound)));
            }
        }
        let page = |name: &str, StandaloneTemplate { version, conditions, template }: &_| StandalonePage {
            version: version.to_string(),
            conditions: ConditionFields::clone(conditions),
            pattern: format!("{}{name}", lazy::PREFIX),
            template: BoundTemplate::bind(template, &defaults),
        };
        let pages =
            |(name, all): (&String, &Vec<_>)| (name.clone(), all.iter().map(|one| page(name, one)).collect::<Vec<_>>());
        let standalone = site.standalone.iter().map(pages).collect();
        Self { defaults, site, routes, statuses, standalone }
    }

    /// The template that serves a normalised path at a time. The query is read for standalone fragments only.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, path: &str, query: Option<&str>, now: Timestamp) -> Result<Match<'_>, NoMatch> {
        if let Some(path) = path.strip_prefix(lazy::PREFIX) {
            return self.standalone(path, query.unwrap_or_default());
        }
        let ((pattern, template), parameters) = self.routes.find(path).ok_or(NoMatch::Missing)?;
        let (template, changes_in) = template.at(now);
        Ok(Match { template, changes_in, pattern: Cow::Borrowed(pattern), parameters, sides: None })
    }

    /// The site's own page for a status at a time, if it has one.
    #[must_use]
    pub fn status_page(&self, status: StatusCode, now: Timestamp) -> Option<Match<'_>> {
        let (pattern, template) = self.statuses.get(&status.as_u16())?;
        let (template, changes_in) = template.at(now);
        Some(Match { template, changes_in, pattern: Cow::Borrowed(pattern), parameters: Vec::new(), sides: None })
    }

    /// The versions that a query asks for: `pasteup-with=weather@3.2.0`, locked or not.
    ///
    /// # Errors
    /// The catalogue does not have one of them.
    pub fn asked_versions(&self, query: Option<&str>) -> Result<Vec<Arc<Manifest>>, NoMatch> {
        let query = query.filter(|query| query.contains(WITH)).unwrap_or_default();
        let asked = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == WITH);
        let manifest = |text: &str| {
            let (name, version) = text.split_once('@')?;
            self.catalogue.versions(name).find(|manifest| manifest.version.to_string() == version).cloned()
        };
        asked.map(|(_, text)| manifest(&text).ok_or(NoMatch::NoSuchVersion)).collect()
    }

    /// A template that shows certain versions, whatever its ranges say.
    #[must_use]
    pub fn with_versions(&self, template: &BoundTemplate, versions: &[Arc<Manifest>]) -> Arc<BoundTemplate> {
        let with = template.with_versions(versions, &self.catalogue);
        BoundTemplate::bind(&Arc::new(with), &self.defaults)
    }

    /// The page of a standalone fragment. If its version is gone, the highest one is served, since pages that are cached
    /// elsewhere name the version of their time.
    fn standalone(&self, path: &str, query: &str) -> Result<Match<'_>, NoMatch> {
        let address = LazyAddress::read(path, query, &self.defaults.address_key).ok_or(NoMatch::Forged)?;
        let pages = self.standalone.get(&address.name).ok_or(NoMatch::Missing)?;
        let mut of_place = pages.iter().filter(|page| page.conditions == address.conditions).peekable();
        let highest = of_place.peek().copied();
        let page = of_place.find(|page| page.version == address.version).or(highest).ok_or(NoMatch::Missing)?;
        let pattern = address.page.map_or(Cow::Borrowed(page.pattern.as_str()), Cow::Owned);
        let LazyAddress { parameters, sides, .. } = address;
        Ok(Match { template: &page.template, changes_in: None, pattern, parameters, sides })
    }
}
