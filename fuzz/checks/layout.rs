//! Properties that hold for the files of any site. Called by the fuzz target and by `tests/it/fuzzing.rs`.

mod response;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use pasteup::page::layout::syntax::markup::MAX_DEPTH;
use pasteup::page::layout::syntax::node::{Esi, Node};
use pasteup::page::layout::{Composition, LayoutFile, Segment, Template};
use pasteup::page::site::{Files, Site, SiteLimits};
use pasteup::page::source::diagnostic::{Diagnostic, Source};
use pasteup::page::source::visible::visible;

/// The beginning of a line that separates two files: `==== frames/site.html`.
const NEXT_FILE: &str = "==== ";
/// The largest number of files in one input.
const MAX_FILES: usize = 8;

/// The manifest of a nanoservice that every site has, so that checks against a manifest are reached.
const MANIFEST: &str = "name = \"weather\"\nversion = \"3.1.0\"\nendpoint = \"http://127.0.0.1:1/\"\nlifecycle = \"deprecated\"\n\
                        [params.city]\nrequired = true\n[params.days]\ntype = \"integer\"\nmaximum = 7\n[cache]\nmax_ttl = \"10m\"\n";

/// Reads an input as the files of a site. Up to the first line `==== NAME` it is `p.html`.
pub(crate) fn check(input: &str, draw: fn(&Diagnostic) -> String) {
    let (mut layouts, mut manifests) = files(input);
    put("weather/fragment.toml", MANIFEST, &mut layouts, &mut manifests);
    for source in &layouts {
        let file = LayoutFile::parse(source);
        for problem in &file.problems {
            assert!(Arc::ptr_eq(&problem.at.source, source), "{problem:?} is about another file");
            is_valid(problem, draw);
        }
        assert!(file.depth <= MAX_DEPTH, "elements are nested {} levels deep", file.depth);
        let end = ordered(source, &file.nodes, 0);
        assert!(end <= source.text.len());
        response::check(&source.text);
    }
    let files = Files { layouts, manifests, ..Files::default() };
    let limits = SiteLimits {
        allowed: vec!["http://127.0.0.1:*".parse().expect("it is a valid pattern")],
        ..SiteLimits::default()
    };
    let site = Site::build(&files, &limits, None);
    for problem in &site.problems {
        assert!(
            files.layouts.iter().chain(&files.manifests).any(|source| *source == problem.at.source),
            "{problem:?} is about none of the files"
        );
        is_valid(problem, draw);
    }
    for template in site.templates.iter().flat_map(|template| template.with_takeovers()) {
        holds_together(template);
    }
    for source in &files.layouts {
        let file = LayoutFile::parse(source);
        if !file.is_page() {
            continue;
        }
        match site.templates.iter().find(|template| template.file == source.file) {
            Some(template) => {
                assert!(!file.problems.iter().any(Diagnostic::is_error), "{} is live with an error", source.file);
                stays(&file, template);
            }
            None => assert!(site.has_errors(), "{} is not live, but no error is reported", source.file),
        }
    }
    // Reading the same files again, as when a file is saved, changes nothing.
    let again = Site::build(&files, &limits, Some(&site));
    assert_eq!(again.problems, site.problems);
    let digests = |site: &Site| site.templates.iter().map(|template| template.html.digest).collect::<Vec<_>>();
    assert_eq!(digests(&again), digests(&site));
}

/// The layouts of an input, and its manifests: files whose names end in `.toml`.
fn files(input: &str) -> (Vec<Arc<Source>>, Vec<Arc<Source>>) {
    let (mut layouts, mut manifests) = (Vec::new(), Vec::new());
    let mut name = "p.html";
    let (mut from, mut at) = (0, 0);
    for line in input.split_inclusive('\n') {
        if let Some(next) = line.strip_prefix(NEXT_FILE).filter(|_| layouts.len() + manifests.len() < MAX_FILES) {
            put(name, &input[from..at], &mut layouts, &mut manifests);
            name = next.trim();
            from = at + line.len();
        }
        at += line.len();
    }
    put(name, &input[from..], &mut layouts, &mut manifests);
    (layouts, manifests)
}

/// Adds a file. It replaces a file of the same name.
fn put(name: &str, text: &str, layouts: &mut Vec<Arc<Source>>, manifests: &mut Vec<Arc<Source>>) {
    let (folder, files) = if name.ends_with(".toml") { ("fragments", manifests) } else { ("layouts", layouts) };
    let source = Source::new(format!("{folder}/{name}"), text);
    files.retain(|other| other.file != source.file);
    files.push(source);
}

/// Checks that a diagnostic can be drawn, and that its span is within its file.
fn is_valid(problem: &Diagnostic, draw: fn(&Diagnostic) -> String) {
    let source = &problem.at.source;
    within(&source.text, &problem.at.span);
    let (line, column) = source.position(problem.at.span.start);
    assert!(line >= 1 && column >= 1);
    assert!(source.text.is_empty() || source.text.get(source.line(problem.at.span.start)).is_some());
    assert!(!problem.message.is_empty(), "{problem:?} has no message");
    assert!(draw(problem).contains(&*visible(&source.file)), "{problem:?} is drawn without its file");
}

fn within(text: &str, span: &Range<usize>) {
    assert!(text.get(span.clone()).is_some(), "{span:?} is not within the {} bytes", text.len());
}

/// Checks that the spans of nodes are in the order of the file and do not overlap. Returns the end of the last one.
fn ordered(source: &Source, nodes: &[Node], from: usize) -> usize {
    let mut at = from;
    let pass = |at: usize, span: &Range<usize>| {
        within(&source.text, span);
        assert!(span.start >= at, "{span:?} begins before {at}");
        span.end
    };
    for node in nodes {
        at = match node {
            Node::Text(span) | Node::Title(span) => pass(at, span),
            Node::Fragment(element) => {
                let inner = pass(at, &element.at.span);
                // Fallbacks for certain reasons may be anywhere between the others.
                element.all_inside().map(|inside| ordered(source, inside, inner)).max().unwrap_or(inner)
            }
            Node::When { inside, .. } | Node::Fill { inside, .. } | Node::Head(inside) => ordered(source, inside, at),
            Node::Include(named) => pass(at, &named.at.span),
            Node::Slot { start, inside, end, .. } => {
                let inner = pass(at, start);
                let inner = ordered(source, inside, inner);
                pass(inner, end)
            }
            Node::InsertionPoint(_) => at,
            Node::Esi(Esi::Include(include)) => pass(at, &include.at.span),
            Node::Esi(Esi::Value(value)) => pass(at, &value.at.span),
            // The branch that is shown if no other is may be written first, but is last in the tree.
            Node::Esi(_) => {
                let ends = node.inside().into_iter().map(|inside| ordered(source, inside, at));
                ends.max().unwrap_or(at)
            }
        };
    }
    at
}

/// Checks that each fragment, condition and value of a template has exactly one place.
fn holds_together(template: &Template) {
    let html = &template.html;
    let mut places = Places {
        fragments: vec![0; html.fragments.len()],
        conditions: vec![0; html.conditions.len()],
        values: vec![0; html.values.len()],
        assets: 0,
    };
    places.count(html, &html.segments, false);
    let each = places.fragments.iter().chain(&places.conditions).chain(&places.values);
    assert!(each.clone().all(|times| *times == 1), "{places:?}");
    assert!(places.assets <= 1, "the head has {} places for assets", places.assets);
    let mut ids: Vec<&str> = html.fragments.iter().map(|fragment| &*fragment.id).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|two| two[0] != two[1]), "two of {ids:?} are the same");
    assert!(html.error.is_none(), "{:?} is for responses", html.error);
    assert!(template.dimensions.iter().all(|dimension| template.reads.contains(dimension)), "{:?}", template.reads);
}

/// The number of places of each fragment, condition and value in a template.
#[derive(Debug)]
struct Places {
    fragments: Vec<usize>,
    conditions: Vec<usize>,
    values: Vec<usize>,
    assets: usize,
}

impl Places {
    fn count(&mut self, html: &Composition, parts: &[Segment], in_fallback: bool) {
        for part in parts {
            match part {
                Segment::Text(text) => assert!(std::str::from_utf8(text).is_ok(), "a character is split"),
                Segment::Fragment(index) => {
                    self.fragments[*index] += 1;
                    let fragment = &html.fragments[*index];
                    fragment.fallbacks().for_each(|fallback| self.count(html, fallback, true));
                    let mut left = direct(&fragment.fallback);
                    for index in fragment.fills.values().flat_map(|parts| direct(parts)) {
                        assert!(left.remove(&index), "{index} fills two slots, or is not in the fallback");
                    }
                }
                Segment::When(index, inside) => {
                    self.conditions[*index] += 1;
                    self.count(html, inside, in_fallback);
                }
                Segment::Value(index) => self.values[*index] += 1,
                Segment::Try(attempt, except) => {
                    assert!(html.has_tries, "`has_tries` is not set");
                    self.count(html, attempt, in_fallback);
                    self.count(html, except, in_fallback);
                }
                Segment::Assets | Segment::Late => {
                    assert!(!in_fallback, "{part:?} is in a fallback, which may never be shown");
                    self.assets += usize::from(*part == Segment::Assets);
                }
                Segment::Slot(name, _) => panic!("the slot `{name}` is not in a response"),
            }
        }
    }
}

/// The fragments that are not in another fragment.
fn direct(parts: &[Segment]) -> BTreeSet<usize> {
    let fragments = |part: &Segment| match part {
        Segment::Fragment(index) => BTreeSet::from([*index]),
        Segment::When(_, inside) => direct(inside),
        Segment::Try(attempt, except) => &direct(attempt) | &direct(except),
        _ => BTreeSet::new(),
    };
    parts.iter().flat_map(fragments).collect()
}

/// A piece of a template.
#[derive(Debug, PartialEq)]
enum Item<'a> {
    Bytes(Cow<'a, [u8]>),
    /// Its position, and the positions of the fragments that fill its slots.
    Fragment(Range<usize>, Vec<(&'a str, Range<usize>)>),
    When,
    End,
}

fn add<'a>(items: &mut Vec<Item<'a>>, bytes: &'a [u8]) {
    if bytes.is_empty() {
        return;
    }
    match items.last_mut() {
        Some(Item::Bytes(before)) => before.to_mut().extend_from_slice(bytes),
        _ => items.push(Item::Bytes(Cow::Borrowed(bytes))),
    }
}

/// Checks that the template of a page in one file has the bytes of that file, and its parts between them.
fn stays(file: &LayoutFile, template: &Template) {
    let mut written = Vec::new();
    // Bytes that ESI leaves out are in no node.
    if file.source.text.to_ascii_lowercase().contains("esi") {
        return;
    }
    if file.front.frame.is_some() || file.front.title.is_some() || !from_nodes(file, &file.nodes, &mut written) {
        return;
    }
    let mut assembled = Vec::new();
    from_parts(&template.html, &template.html.segments, &mut assembled);
    assert_eq!(written, assembled);
    // What no node holds are our own tags.
    let mut at = file.source.text.len();
    let mut left = file.source.text.as_str();
    for text in texts(&file.nodes).into_iter().rev() {
        our_tags(&left[text.end..at], &["fragment", "when"]);
        left = &left[..text.start];
        at = text.start;
    }
}

/// Converts nodes. `false` where the file needs other files.
fn from_nodes<'a>(file: &'a LayoutFile, nodes: &'a [Node], items: &mut Vec<Item<'a>>) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(span) | Node::Title(span) => {
            add(items, file.source.text[span.clone()].as_bytes());
            true
        }
        Node::Fragment(element) => {
            let mut fills = slotted(&element.inside);
            fills.sort_by_key(|(slot, _)| *slot);
            items.push(Item::Fragment(element.at.span.clone(), fills));
            let is_complete = from_nodes(file, &element.inside, items);
            items.push(Item::End);
            is_complete && element.fallbacks.is_empty()
        }
        Node::When { inside, .. } => {
            items.push(Item::When);
            let is_complete = from_nodes(file, inside, items);
            items.push(Item::End);
            is_complete
        }
        Node::InsertionPoint(_) => true,
        Node::Include(_) | Node::Slot { .. } | Node::Fill { .. } | Node::Head(_) | Node::Esi(_) => false,
    })
}

/// The elements that fill a slot of the fragment around them.
fn slotted(nodes: &[Node]) -> Vec<(&str, Range<usize>)> {
    let mut found = Vec::new();
    for node in nodes {
        match node {
            Node::Fragment(element) => {
                found.extend(element.slot.as_ref().map(|slot| (slot.value.as_str(), element.at.span.clone())));
            }
            Node::When { inside, .. } => found.extend(slotted(inside)),
            _ => {}
        }
    }
    found
}

fn from_parts<'a>(html: &'a Composition, parts: &'a [Segment], items: &mut Vec<Item<'a>>) {
    for part in parts {
        match part {
            Segment::Text(text) => add(items, text),
            Segment::Fragment(index) => {
                let fragment = &html.fragments[*index];
                let place = |index: usize| html.fragments[index].at.span.clone();
                let fills = fragment.fills.iter();
                let fills =
                    fills.flat_map(|(slot, parts)| direct(parts).into_iter().map(move |index| (&**slot, place(index))));
                items.push(Item::Fragment(fragment.at.span.clone(), fills.collect()));
                from_parts(html, &fragment.fallback, items);
                items.push(Item::End);
            }
            Segment::When(_, inside) => {
                items.push(Item::When);
                from_parts(html, inside, items);
                items.push(Item::End);
            }
            Segment::Assets | Segment::Late => {}
            Segment::Slot(..) | Segment::Value(_) | Segment::Try(..) => panic!("{part:?} was not written"),
        }
    }
}

/// The spans of all texts in nodes.
fn texts(nodes: &[Node]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for node in nodes {
        match node {
            Node::Text(span) | Node::Title(span) => found.push(span.clone()),
            Node::Fragment(element) => found.extend(texts(&element.inside)),
            Node::When { inside, .. } => found.extend(texts(inside)),
            _ => {}
        }
    }
    found
}

fn our_tags(text: &str, ours: &[&str]) {
    let lower = text.to_ascii_lowercase();
    let starts = |name: &&str| {
        lower.strip_prefix('<').is_some_and(|rest| rest.strip_prefix('/').unwrap_or(rest).starts_with(*name))
    };
    assert!(text.is_empty() || (ours.iter().any(starts) && text.ends_with('>')), "`{text}` is lost");
}
