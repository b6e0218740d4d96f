//! Reads the manifests of a site, those in files and those that services were discovered with, into its catalogue.
//! If a manifest has an error, the last good one stays in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::page::manifest::Manifest;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::discovered::Published;

use super::build::{Site, SiteLimits};
use super::files::{Files, is_at};
use super::owners::Owners;

impl Site {
    /// Reads the manifests into the catalogue. Returned are the names of broken ones, each with its file.
    pub(super) fn read_manifests(
        &mut self,
        files: &Files,
        limits: &SiteLimits,
        before: Option<&Self>,
    ) -> BTreeMap<String, String> {
        let mut owners = Owners::default();
        let mut broken = BTreeMap::new();
        let live = before.map(|site| site.catalogue.manifests()).unwrap_or_default();
        let unreadable = files.unreadable.iter().map(|problem| (&problem.at.source, None));
        let read = files.manifests.iter().map(|source| {
            let (mut manifest, problems) = Manifest::parse(source);
            self.problems.extend(problems);
            let component = manifest.as_mut().and_then(Manifest::component_mut);
            if let Some(component) = component {
                component.content =
                    files.components.iter().find(|(manifest, _)| *manifest == source.file).map(|(_, hash)| *hash);
            }
            (source, manifest)
        });
        for (source, manifest) in read.chain(unreadable) {
            match manifest {
                Some(manifest) => owners.add_own(Arc::new(manifest)),
                None => {
                    let folder = source.file.rsplit('/').nth(1).unwrap_or_default();
                    broken.insert(folder.to_owned(), source.file.clone());
                    // A mistake in a file must not give its name to a source.
                    owners.claim(Manifest::name_in(source).unwrap_or_else(|| folder.into()), &source.file);
                    for manifest in live.iter().filter(|manifest| is_at(&manifest.at.source.file, &source.file)) {
                        self.last_good.push(manifest.at.source.file.clone());
                        owners.add_own(Arc::clone(manifest));
                    }
                }
            }
        }
        // In the order of the settings, so that it does not matter which source answered first.
        for source in &limits.sources {
            let name = source.document();
            let Some(document) = files.discovered.iter().find(|document| document.file == name) else { continue };
            let published = Published::read(document, &limits.allowed);
            let live = before.and_then(|site| site.published.get(&name)).map_or(&[][..], Vec::as_slice);
            let (manifests, kept) = owners.add_source(source, published, live);
            if kept {
                self.last_good.push(name.clone());
            }
            self.published.insert(name, manifests);
        }
        let (manifests, problems) = owners.finish();
        self.problems.extend(problems);
        let (catalogue, problems) = Catalogue::new(manifests);
        self.catalogue = catalogue;
        self.problems.extend(problems);
        broken
    }
}
