//! Runs the checks of the fuzz targets on their corpora, which contain every input that was a bug (`fuzz/README.md`).

use std::path::Path;

#[path = "../../fuzz/checks/balance.rs"]
pub(crate) mod balance;
#[path = "../../fuzz/checks/esi.rs"]
mod esi;
#[path = "../../fuzz/checks/layout.rs"]
mod layout;
#[path = "../../fuzz/checks/policy.rs"]
mod policy;
#[path = "../../src/cli/report.rs"]
#[allow(dead_code, reason = "only the human format is used")]
mod report;
#[path = "../../fuzz/checks/wire.rs"]
mod wire;

/// Runs a target's check on each file of its corpus, and lists those that fail.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let failed = files.iter().filter(|file| {
        let input = std::fs::read(file).unwrap();
        std::panic::catch_unwind(|| check(&input)).is_err()
    });
    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "{failed:?}");
}

fn text(input: &[u8]) -> &str {
    std::str::from_utf8(input).unwrap()
}

#[test]
fn the_corpus_of_layouts_passes() {
    replay("layout", |input| layout::check(text(input), report::human));
}

#[test]
fn the_corpus_of_fragments_passes() {
    replay("balance", |input| balance::check(text(input)));
}

#[test]
fn the_corpus_of_esi_passes() {
    replay("esi", |input| esi::check(text(input)));
}

#[test]
fn the_corpus_of_connections_passes() {
    replay("wire", wire::check);
}

#[test]
fn the_corpus_of_headers_passes() {
    replay("policy", policy::check);
}
