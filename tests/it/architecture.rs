//! The house holds: nothing imports what is above it, no folders form a circle, and pages touch no world.
//! ARCHITECTURE.md draws the picture that is checked here.

use crate::support::imports::{Imports, Module};

/// The rooms of `src/page`, ground first: each may import only itself and those before it.
const ROOMS: [&str; 15] = [
    "source", "http", "html", "policy", "visit", "manifest", "esi", "browser", "layout", "request", "response", "site",
    "plan", "output", "conform",
];

/// The rooms of `src/page/layout`, ground first.
const LAYOUT_ROOMS: [&str; 3] = ["syntax", "template", "assemble"];

/// What each storey and each module beside them may import, beside itself.
const STOREYS: [(&str, &[&str]); 6] = [
    ("page", &[]),
    ("engine", &["page"]),
    ("secrets", &["page"]),
    ("edge", &["page", "engine", "secrets"]),
    ("config", &["page", "secrets", "edge"]),
    ("cli", &["page", "engine", "secrets", "edge", "config"]),
];

/// Entries of one folder of `src/page` at most: more cannot be taken in at a glance.
const MOST_ENTRIES: usize = 22;
/// Lines of one file at most.
const MOST_LINES: usize = 700;

fn show(module: &Module) -> String {
    module.join("/")
}

#[test]
fn no_storey_imports_what_is_above_it() {
    let imports = Imports::read();
    let allowed = |from: &Module, to: &Module| {
        from[0] == to[0] || STOREYS.iter().any(|(storey, below)| *storey == from[0] && below.contains(&to[0].as_str()))
    };
    let wrong = imports.pairs().filter(|(from, to)| !from.is_empty() && from[0] != "main" && !allowed(from, to));
    let wrong: Vec<String> = wrong.map(|(from, to)| format!("{} imports {}", show(from), show(to))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (storey, _) in STOREYS {
        assert!(imports.files.keys().any(|module| module.first().is_some_and(|first| first == storey)), "{storey}");
    }
}

/// Asserts that below `base` no room imports one that is listed after it, and that all rooms are listed.
fn check_rooms(base: &[&str], rooms: &[&str]) {
    let imports = Imports::read();
    let room = |module: &Module| {
        let inside = module.iter().map(String::as_str).take(base.len()).eq(base.iter().copied());
        let name = module.get(base.len()).filter(|_| inside)?;
        Some(rooms.iter().position(|room| room == name).unwrap_or_else(|| panic!("{} is in no list", show(module))))
    };
    let upward = imports.pairs().filter(|(from, to)| room(from).zip(room(to)).is_some_and(|(from, to)| from < to));
    let upward: Vec<String> = upward.map(|(from, to)| format!("{} imports {}", show(from), show(to))).collect();
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn a_room_of_the_page_imports_only_rooms_before_it() {
    check_rooms(&["page"], &ROOMS);
}

#[test]
fn a_room_of_the_layout_imports_only_rooms_before_it() {
    check_rooms(&["page", "layout"], &LAYOUT_ROOMS);
}

#[test]
fn no_files_of_the_engine_form_a_circle() {
    let imports = Imports::read();
    let circles = imports.circles(|module| (module.first()? == "engine").then_some(module));
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn no_rooms_form_a_circle() {
    let imports = Imports::read();
    for storey in ["page", "engine", "edge", "cli"] {
        let circles = imports.circles(|module| module.get(1).filter(|_| module[0] == storey));
        assert!(circles.is_empty(), "{storey}: {circles:#?}");
    }
}

#[test]
fn no_circle_of_files_is_larger_than_a_folder_and_its_children() {
    let imports = Imports::read();
    let circles = imports.circles(Some);
    let is_knot = |circle: &std::collections::BTreeSet<&Module>| {
        let folders = circle.iter().map(|module| &module[..module.len().min(2)]);
        circle.len() < 4 && folders.collect::<std::collections::BTreeSet<_>>().len() == 1
    };
    let large: Vec<_> = circles.iter().filter(|circle| !is_knot(circle)).collect();
    assert!(large.is_empty(), "{large:#?}");
}

#[test]
fn adapters_do_not_know_each_other() {
    let imports = Imports::read();
    let adapters = imports.pairs().filter(|(from, to)| from.len() > 1 && to.len() > 1);
    let foreign = adapters.filter(|(from, to)| from[0] == "edge" && to[0] == "edge" && from[1] != to[1]);
    let foreign: Vec<String> = foreign.map(|(from, to)| format!("{} imports {}", show(from), show(to))).collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}

#[test]
fn pages_read_no_clock_and_touch_no_world() {
    const WORDS: [&str; 8] = [
        "Instant::now",
        "SystemTime::now",
        "Timestamp::now",
        "std::fs",
        "std::net::Tcp",
        "tokio",
        "fastrand",
        "async ",
    ];
    let imports = Imports::read();
    for (module, (_, code)) in
        imports.files.iter().filter(|(module, _)| module.first().is_some_and(|first| first == "page"))
    {
        for word in WORDS {
            assert!(!code.contains(word), "{} contains `{word}`", show(module));
        }
    }
}

#[test]
fn no_folder_is_crowded_and_no_file_is_long() {
    let imports = Imports::read();
    let entries =
        imports.files.keys().filter(|module| module.len() > 1 && module[0] == "page").map(|module| &module[1]);
    let entries: std::collections::BTreeSet<&String> = entries.collect();
    assert!(entries.len() <= MOST_ENTRIES, "src/page has {} entries", entries.len());
    for (path, _) in imports.files.values() {
        let lines = std::fs::read_to_string(path).expect("a source file is readable").lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_is_printed_by_macros_that_panic_where_nothing_can_be_written() {
    for (path, code) in Imports::read().files.values() {
        let printed = ["print!(", "println!("].iter().any(|name| code.contains(name));
        assert!(!printed, "{}: print by `cli::terminal`, or log", path.display());
    }
}
