//! Checks that each route belongs to one layout.
//! Of several layouts with equal patterns none goes live.

use std::collections::BTreeMap;

use crate::page::layout::LayoutFile;
use crate::page::source::diagnostic::{Code, Diagnostic, Located};
use crate::page::visit::route::Pattern;

/// Maximum number of other places that are named at each of several equal patterns.
const MAX_NAMED: usize = 3;

/// Reports each pattern that is in two places at both, by file.
pub(super) fn duplicate_routes(layouts: &BTreeMap<String, LayoutFile>) -> BTreeMap<&str, Vec<Diagnostic>> {
    let mut by_shape: BTreeMap<String, Vec<(&str, &Located<Pattern>)>> = BTreeMap::new();
    for file in layouts.values() {
        for route in &file.front.routes {
            by_shape.entry(route.value.shape()).or_default().push((file.path(), route));
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
                format!("`{}` is the route of another layout too: {}", route.value, named.join(", "))
            };
            let help = if here { "keep one of them" } else { "a path can lead to one layout only" };
            let problem = Diagnostic::new(Code::DuplicateRoute, route.at.clone(), message).help(help);
            problems.entry(file).or_default().push(problem);
        }
    }
    problems
}
