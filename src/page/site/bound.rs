//! A site bound to defaults, and which of its templates serves a path at a time.
//! If two templates have the same pattern, the first in the site's order of precedence serves it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use semver::Version;

use crate::page::browser::lazy;
use crate::page::request::bound::BoundTemplate;
use crate::page::request::defaults::Defaults;
use crate::page::visit::route::Routes;

use super::build::Site;

/// A site with its templates bound to defaults. It is read like the site that it was made from.
#[derive(Debug, Default)]
pub struct BoundSite {
    /// The values that are used if neither layout nor manifest states one.
    pub defaults: Arc<Defaults>,
    site: Site,
    routes: Routes<(String, Arc<BoundTemplate>)>,
    /// Standalone fragments by name, the highest version first.
    standalone: BTreeMap<String, Vec<StandalonePage>>,
}

/// The page of a standalone fragment.
#[derive(Debug)]
struct StandalonePage {
    version: Version,
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
    /// The pattern that matched.
    pub pattern: &'a str,
    /// The values of the route's parameters.
    pub parameters: Vec<(String, String)>,
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
        for template in &site.by_precedence {
            let bound = BoundTemplate::bind(template, &defaults);
            for route in &template.routes {
                // A pattern that is already taken belongs to a layout without an error.
                let _is_new = routes.insert(&route.value, (route.value.as_str().to_owned(), Arc::clone(&bound)));
            }
        }
        let page = |name: &str, (version, template): &(Version, Arc<_>)| StandalonePage {
            version: version.clone(),
            pattern: format!("{}{name}", lazy::PREFIX),
            template: BoundTemplate::bind(template, &defaults),
        };
        let pages = |(name, versions): (&String, &Vec<_>)| {
            (name.clone(), versions.iter().map(|version| page(name, version)).collect())
        };
        let standalone = site.standalone.iter().map(pages).collect();
        Self { defaults, site, routes, standalone }
    }

    /// The template that serves a normalised path at a time, if any.
    #[must_use]
    pub fn find(&self, path: &str, now: Timestamp) -> Option<Match<'_>> {
        let (pattern, template, parameters) = match path.strip_prefix(lazy::PREFIX) {
            Some(path) => {
                let page = self.standalone(path, now)?;
                (&page.pattern, &page.template, Vec::new())
            }
            None => {
                let ((pattern, template), parameters) = self.routes.find(path)?;
                (pattern, template, parameters)
            }
        };
        let (template, changes_in) = template.at(now);
        Some(Match { template, changes_in, pattern, parameters })
    }

    /// The page of a standalone fragment: `NAME`, or `NAME/VERSION`. If that version is gone, the highest one is served, since
    /// pages that are cached elsewhere name the version of their time.
    fn standalone(&self, path: &str, now: Timestamp) -> Option<&StandalonePage> {
        let (name, version) = path.split_once('/').map_or((path, None), |(name, version)| (name, Some(version)));
        let versions = self.standalone.get(name)?;
        let exactly = versions.iter().find(|page| version.is_some_and(|version| page.version.to_string() == version));
        let is_version = version.is_none_or(|version| version.parse::<Version>().is_ok());
        let page = exactly.or_else(|| versions.first().filter(|_| is_version))?;
        // Outside its windows it is on no page, and is not served as a standalone fragment either.
        let standalone = page.template.standalone.as_ref()?;
        standalone.windows.iter().any(|window| window.contains(now)).then_some(page)
    }
}
