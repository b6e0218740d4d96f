//! The files of `public/` as far as they concern layouts: which of them are never served.
//! Each reason is one warning, however many files it is about.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::page::source::diagnostic::{Code, Diagnostic, Located, Source, SourceSpan};
use crate::page::visit::route::{Pattern, Routes};

use super::build::Site;

/// Maximum number of files that a warning names.
const MAX_NAMED: usize = 3;
/// The paths of the compositor itself.
const OWN: &str = "_pasteup/";
/// The endings of files that hold another file in an encoding.
const ENCODED: [&str; 3] = [".br", ".gz", ".zst"];

/// A file of `public/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicFile {
    /// Its path in the folder.
    pub path: String,
    /// When it was changed last.
    pub modified: SystemTime,
}

impl Site {
    /// Warns of the files of `public/` that are never served.
    #[must_use]
    pub fn hidden_files(&self, files: &[PublicFile]) -> Vec<Diagnostic> {
        let mut routes: Routes<&Located<Pattern>> = Routes::default();
        for route in self.templates.iter().flat_map(|template| &template.routes) {
            // A pattern that two layouts have is an error of its own.
            let _is_new = routes.insert(&route.value, route);
        }
        let mut by_route: BTreeMap<&str, (&Located<Pattern>, Vec<&str>)> = BTreeMap::new();
        let mut own = Vec::new();
        for PublicFile { path, .. } in files {
            if path.starts_with(OWN) {
                own.push(path.as_str());
            } else if let Some((route, _)) = routes.find(&format!("/{path}")) {
                by_route.entry(route.value.as_str()).or_insert_with(|| (route, Vec::new())).1.push(path);
            }
        }
        let hidden = by_route.into_values().map(|(route, paths)| {
            let message = format!("`{}` also matches {}: the layout is served instead", route.value, named(&paths));
            Diagnostic::new(Code::HiddenFile, route.at.clone(), message).help("move the files, or choose another route")
        });
        let own = (!own.is_empty()).then(|| {
            let message = format!("paths below `/{OWN}` belong to the compositor, so {} cannot be served", named(&own));
            Diagnostic::new(Code::HiddenFile, at(own[0]), message).help("move the files to another folder")
        });
        hidden.chain(own).chain(outdated(files)).collect()
    }
}

/// Warns of each file in an encoding that is older than the file itself, so that its content may be another.
fn outdated(files: &[PublicFile]) -> impl Iterator<Item = Diagnostic> {
    let times: BTreeMap<&str, SystemTime> = files.iter().map(|file| (file.path.as_str(), file.modified)).collect();
    files.iter().filter_map(move |file| {
        let original = ENCODED.iter().find_map(|ending| file.path.strip_suffix(ending))?;
        let is_older = times.get(original).is_some_and(|modified| file.modified < *modified);
        is_older.then(|| {
            let message = format!("this is older than public/{original}, so that is sent instead");
            Diagnostic::new(Code::HiddenFile, at(&file.path), message).help("compress the file again, or remove this")
        })
    })
}

/// The beginning of a file of `public/`.
fn at(path: &str) -> SourceSpan {
    SourceSpan::new(&Source::new(format!("public/{path}"), ""), 0..0)
}

/// The first of these paths, and how many more there are.
fn named(paths: &[&str]) -> String {
    let mut named: Vec<String> = paths.iter().take(MAX_NAMED).map(|path| format!("public/{path}")).collect();
    let more = paths.len() - named.len();
    named.extend((more > 0).then(|| format!("{more} more")));
    let last = named.pop().unwrap_or_default();
    if named.is_empty() { last } else { format!("{} and {last}", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::page::site::{Files, SiteLimits};

    use super::*;

    fn warnings(routes: &[&str], files: &[(&str, u64)]) -> Vec<String> {
        let layout = |(index, route): (usize, &&str)| {
            Source::new(format!("layouts/{index}.html"), format!("+++\nroute = \"{route}\"\n+++\n"))
        };
        let layouts = routes.iter().enumerate().map(layout).collect();
        let site = Site::build(&Files { layouts, ..Files::default() }, &SiteLimits::default(), None);
        let file = |(path, seconds): &(&str, u64)| PublicFile {
            path: (*path).to_owned(),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds),
        };
        let files: Vec<PublicFile> = files.iter().map(file).collect();
        let shown = |problem: Diagnostic| format!("{}: {}", problem.at.source.file, problem.message);
        site.hidden_files(&files).into_iter().map(shown).collect()
    }

    #[test]
    fn a_file_that_a_layout_hides_is_named_at_the_route() {
        let files = [("a.css", 0), ("b.css", 0), ("c.css", 0), ("d.css", 0), ("img/a.png", 0), ("img/b.png", 0)];
        assert_eq!(
            warnings(&["/{page}", "/img/a.png", "/news"], &files),
            [
                "layouts/1.html: `/img/a.png` also matches public/img/a.png: the layout is served instead",
                "layouts/0.html: `/{page}` also matches public/a.css, public/b.css, public/c.css and 1 more: the layout is served instead",
            ]
        );
    }

    #[test]
    fn a_compressed_file_that_is_older_than_its_file_is_named() {
        let files = [("a.css", 5), ("a.css.br", 4), ("a.css.gz", 5), ("a.css.zst", 6), ("b.css.br", 1)];
        assert_eq!(
            warnings(&[], &files),
            ["public/a.css.br: this is older than public/a.css, so that is sent instead"]
        );
    }

    #[test]
    fn a_file_at_a_path_of_the_compositor_is_named() {
        assert_eq!(
            warnings(&["/{*all}"], &[("_pasteup/lazy.js", 0)]),
            [
                "public/_pasteup/lazy.js: paths below `/_pasteup/` belong to the compositor, so public/_pasteup/lazy.js cannot be served"
            ]
        );
    }
}
