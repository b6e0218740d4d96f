//! Who is touched when a nanoservice changes or goes: pages, nanoservices that compose it, and their owners.
//! A name that no version has touches nobody, which is not known here from a name that nobody uses.

use std::collections::BTreeSet;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::page::layout::{FragmentSource, Template};

use super::build::Site;

/// Who is touched when a nanoservice changes or goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Impact {
    /// The name of the nanoservice.
    pub name: String,
    /// The version, if only that one changes.
    pub version: Option<String>,
    /// The pages that it is on, directly or in what they compose.
    pub pages: Vec<TouchedPage>,
    /// The nanoservices whose HTML may include it, directly or through others.
    pub composed_by: Vec<Composer>,
    /// The owners of these pages and nanoservices, each once.
    pub owners: Vec<String>,
}

/// A page that is touched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TouchedPage {
    /// The pattern of its route, or its status.
    pub route: String,
    /// The layout.
    pub file: String,
    /// The line of the first use; `None` if it is only in what the page composes.
    pub line: Option<usize>,
    /// The team that is responsible for it.
    pub owner: Option<String>,
    /// How often it is asked for in a second, if that is known.
    pub per_second: Option<f64>,
}

/// A nanoservice whose HTML may include another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Composer {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The team that is responsible for it.
    pub owner: Option<String>,
}

impl Site {
    /// Who is touched when a nanoservice changes or goes, or one version of it.
    #[must_use]
    pub fn impact(&self, name: &str, version: Option<&Version>) -> Impact {
        let mut pages = Vec::new();
        for template in &self.templates {
            let uses: Vec<Option<usize>> =
                template.with_takeovers().filter_map(|one| first_use(one, name, version)).collect();
            if uses.is_empty() {
                continue;
            }
            let line = uses.into_iter().flatten().next();
            pages.extend(template.labels().map(|route| TouchedPage {
                route,
                file: template.file.clone(),
                line,
                owner: template.owner.clone(),
                per_second: None,
            }));
        }
        let composers = self.composers(name);
        let owners = pages.iter().map(|page| &page.owner).chain(composers.iter().map(|composer| &composer.owner));
        let owners: BTreeSet<String> = owners.flatten().cloned().collect();
        Impact {
            name: name.to_owned(),
            version: version.map(ToString::to_string),
            pages,
            composed_by: composers,
            owners: owners.into_iter().collect(),
        }
    }

    /// The nanoservices whose HTML may include one, directly or through others.
    fn composers(&self, name: &str) -> Vec<Composer> {
        let (mut names, mut found) = (BTreeSet::from([name.to_owned()]), BTreeSet::new());
        let mut open = vec![name.to_owned()];
        while let Some(inner) = open.pop() {
            for manifest in self.catalogue.manifests().iter().filter(|manifest| manifest.composes.contains(&inner)) {
                found.insert(Composer {
                    name: manifest.name.to_string(),
                    version: manifest.version.to_string(),
                    owner: manifest.owner.clone(),
                });
                if names.insert(manifest.name.to_string()) {
                    open.push(manifest.name.to_string());
                }
            }
        }
        found.into_iter().collect()
    }
}

/// Whether a template uses a nanoservice, and if the layout does so itself, in which line.
fn first_use(template: &Template, name: &str, version: Option<&Version>) -> Option<Option<usize>> {
    let is_version = |used: &Version| version.is_none_or(|version| version == used);
    for fragment in &template.html.fragments {
        if let FragmentSource::Named(candidates) = &fragment.source
            && *candidates.chosen().name == *name
            && candidates.iter().chain([candidates.chosen()]).any(|manifest| is_version(&manifest.version))
        {
            return Some(Some(fragment.at.source.position(fragment.at.span.start).0));
        }
    }
    let nested = template.nested.choose(name, &VersionReq::STAR)?;
    let is_nested = is_version(&nested.manifest.version) || is_version(&nested.shown().version);
    is_nested.then_some(None)
}
