//! Checks the imports between the storeys: none points upward, and adapters do not import each other.

use std::path::{Path, PathBuf};

use crate::support::process::root;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every `crate::x::y` that a file names, as `x` and `y`.
fn imports(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.match_indices("crate::").map(move |(at, _)| &line[at + "crate::".len()..]))
        .map(|path| {
            let mut names =
                path.split("::").map(|name| name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            (names.next().unwrap_or_default(), names.next().unwrap_or_default())
        })
        .collect()
}

/// Checks every import of the files below `src/FOLDER`.
fn check(folder: &str, allowed: impl Fn(&Path, &str, &str) -> bool) {
    let folder = root().join("src").join(folder);
    let mut files = Vec::new();
    sources(&folder, &mut files);
    assert!(!files.is_empty(), "{} has no source", folder.display());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (storey, module) in imports(&text) {
            assert!(allowed(&file, &storey, &module), "{} must not use crate::{storey}::{module}", file.display());
        }
    }
}

#[test]
fn page_imports_nothing_above_it() {
    check("page", |_, storey, _| storey == "page");
}

#[test]
fn engine_imports_only_page_and_engine() {
    check("engine", |_, storey, _| matches!(storey, "page" | "engine"));
}

#[test]
fn adapters_do_not_import_each_other() {
    check("edge", |file, storey, module| {
        let below = file.strip_prefix(root().join("src/edge")).unwrap();
        let own = below.iter().next().unwrap().to_string_lossy().replace(".rs", "");
        matches!(storey, "page" | "engine" | "secrets") || (storey == "edge" && module == own)
    });
}

#[test]
fn page_code_has_no_clock_randomness_or_io() {
    let mut files = Vec::new();
    sources(&root().join("src/page"), &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in [
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "std::fs",
            "std::net::Tcp",
            "tokio",
            "fastrand",
            "async ",
        ] {
            assert!(!code.contains(word), "{} contains `{word}`", file.display());
        }
    }
}
