//! Checks that each route, and each status that has a page of the site's own, belongs to one layout.
//! Of several layouts with equal patterns none goes live.

use std::collections::BTreeMap;

use crate::page::layout::LayoutFile;
use crate::page::source::diagnostic::{Code, Diagnostic, Located};

/// Maximum number of other places that are named at each of several equal patterns.
const MAX_NAMED: usize = 3;

/// Reports each pattern that is in two places at both, by file.
pub(super) fn duplicate_routes(layouts: &BTreeMap<String, LayoutFile>) -> BTreeMap<&str, Vec<Diagnostic>> {
    let mut by_shape: BTreeMap<String, Vec<(&str, Located<String>)>> = BTreeMap::new();
    for file in layouts.values() {
        for Located { value, at } in &file.front.routes {
            let route = Located { value: value.to_string(), at: at.clone() };
            by_shape.entry(value.shape()).or_default().push((file.path(), route));
        }
        if let Some(Located { value, at }) = &file.front.status {
            let status = Located { value: value.as_str().to_owned(), at: at.clone() };
            // A shape begins with a slash.
            by_shape.entry(status.value.clone()).or_default().push((file.path(), status));
        }
    }
    let mut problems: BTreeMap<&str, Vec<Diagnostic>> = BTreeMap::new();
    for same in by_shape.values().filter(|same| same.len() > 1) {
        for (index, (file, route)) in same.iter().enumerate() {
            let others = same.iter().enumerate().filter(|(other, _)| *other != index).take(MAX_NAMED);
            let mut named: Vec<String> = Vec::new();
            for (_, (_, other)) in others {
                let (line, _) = other.at.source.position(other.at.span.start);
                named.push(format!("{}:{line} (`{}`)", other.at.source.file, other.value));
            }
            let more = same.len() - 1 - named.len();
            named.extend((more > 0).then(|| format!("and {more} more")));
            let here = same.iter().all(|(other, _)| other == file);
            let message = if here {
                format!("`{}` is a route of this layout twice: {}", route.value, named.join(", "))
            } else {
                let what = if route.value.starts_with('/') { "route" } else { "status" };
                format!("`{}` is the {what} of another layout too: {}", route.value, named.join(", "))
            };
            let is_status = !route.value.starts_with('/');
            let help = match (here, is_status) {
                (true, _) => "keep one of them",
                (false, false) => "a path can lead to one layout only",
                (false, true) => "a status can have one page only",
            };
            let problem = Diagnostic::new(Code::DuplicateRoute, route.at.clone(), message).help(help);
            problems.entry(file).or_default().push(problem);
        }
    }
    problems
}
