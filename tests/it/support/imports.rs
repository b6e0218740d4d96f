//! Reads the imports of `src/` as text: which module uses which, tests left out.
//! A path that names no module of this crate is not an arrow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::process::root;

/// A module as its path from the crate's root: `["page", "visit", "route"]`.
pub(crate) type Module = Vec<String>;

/// The modules of `src/`, their code, and the arrows between them.
pub(crate) struct Imports {
    /// Each module's file and its code without comments and tests.
    pub(crate) files: BTreeMap<Module, (PathBuf, String)>,
    /// Which modules each module names in `use` lines and in paths that begin with `crate::`.
    pub(crate) arrows: BTreeMap<Module, BTreeSet<Module>>,
}

impl Imports {
    /// Reads all files below `src/`.
    pub(crate) fn read() -> Self {
        let source = root().join("src");
        let mut paths = Vec::new();
        collect(&source, &mut paths);
        let files: BTreeMap<Module, (PathBuf, String)> = paths
            .into_iter()
            .map(|path| {
                let text = std::fs::read_to_string(&path).expect("a source file is readable");
                (module(path.strip_prefix(&source).expect("it is below src/")), (path, code(&text)))
            })
            .collect();
        let arrows = files
            .iter()
            .map(|(from, (_, code))| {
                let named = uses(code).into_iter().chain(crate_paths(code));
                let targets =
                    named.filter_map(|path| target(from, &path, &files)).filter(|to| to != from && !to.is_empty());
                (from.clone(), targets.collect())
            })
            .collect();
        Self { files, arrows }
    }

    /// All arrows, as pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.arrows.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (from, to)))
    }

    /// The circles of modules, each sorted, with modules grouped by `group` first (`None`: left out).
    pub(crate) fn circles<'m, G: Ord + Clone>(&'m self, group: impl Fn(&'m Module) -> Option<G>) -> Vec<BTreeSet<G>> {
        let mut graph: BTreeMap<G, BTreeSet<G>> = BTreeMap::new();
        for (from, to) in self.pairs() {
            if let (Some(from), Some(to)) = (group(from), group(to))
                && from != to
            {
                graph.entry(from).or_default().insert(to);
            }
        }
        let reach: BTreeMap<&G, BTreeSet<&G>> = graph.keys().map(|from| (from, reachable(&graph, from))).collect();
        let circles = reach.iter().filter_map(|(one, reached)| {
            let circle = |other: &&&G| reach.get(**other).is_some_and(|back| back.contains(one));
            reached.contains(one).then(|| reached.iter().filter(circle).map(|&one| one.clone()).collect())
        });
        circles.collect::<BTreeSet<BTreeSet<G>>>().into_iter().collect()
    }
}

fn reachable<'g, G: Ord>(graph: &'g BTreeMap<G, BTreeSet<G>>, from: &G) -> BTreeSet<&'g G> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(next) = left.pop() {
        for to in graph.get(next).into_iter().flatten() {
            if reached.insert(to) {
                left.push(to);
            }
        }
    }
    reached
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder is readable") {
        let path = entry.expect("its entries are readable").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

fn module(file: &Path) -> Module {
    let mut names: Module = file.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|last| last == "mod") || names == ["lib"] {
        names.pop();
    }
    names
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths that private `use` declarations name. A `pub use` only hands names on.
fn uses(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default();
        if line.trim().is_empty() {
            expand("", code[at + "use ".len()..].split(';').next().unwrap_or_default(), &mut paths);
        }
    }
    paths
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let (head, inner) = match tree.split_once('{') {
        Some((head, rest)) => (head, rest.rsplit_once('}').map(|(inner, _)| inner)),
        None => (tree, None),
    };
    let head = format!("{prefix}{}", head.split(" as ").next().unwrap_or_default().trim());
    let Some(inner) = inner else { return paths.push(head) };
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expand(&head, &inner[start..at], paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn crate_paths(code: &str) -> impl Iterator<Item = String> {
    code.match_indices("crate::").map(|(at, _)| {
        let is_path = |c: &char| c.is_alphanumeric() || matches!(c, '_' | ':');
        code[at..].chars().take_while(is_path).collect()
    })
}

/// The module that a path leads to: the longest beginning of it that is one.
fn target(here: &Module, path: &str, files: &BTreeMap<Module, (PathBuf, String)>) -> Option<Module> {
    let mut names = path.split("::").filter(|name| !name.is_empty()).peekable();
    let mut at = here.clone();
    match *names.peek()? {
        "crate" => {
            at.clear();
            names.next();
        }
        "super" => {
            while names.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        "self" => _ = names.next(),
        child => {
            let mut path = here.clone();
            path.push(child.to_owned());
            files.get(&path)?;
        }
    }
    let mut found = files.contains_key(&at).then(|| at.clone());
    for name in names {
        at.push(name.to_owned());
        if !files.contains_key(&at) {
            break;
        }
        found = Some(at.clone());
    }
    found
}
