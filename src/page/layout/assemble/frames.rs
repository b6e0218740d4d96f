//! Resolves a page and the frames around it: which file fills which slots of which frame.
//! A missing frame, a cycle, and a slot that the frame does not have are errors.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::page::layout::syntax::file::{LayoutFile, missing_file, without_effect};
use crate::page::layout::syntax::front_matter::Title;
use crate::page::layout::syntax::node::Node;
use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};
use crate::page::source::names;

/// Maximum number of nested frames.
const MAX_FRAMES: usize = 16;

/// The content that one file puts into the frame around it.
#[derive(Default)]
pub(super) struct Fills<'a> {
    /// The content of each slot, by the slot's name, which is empty for the slot that takes the rest.
    pub(super) slots: BTreeMap<&'a str, Vec<&'a Node>>,
    /// The nodes that are added to the head.
    pub(super) heads: Vec<&'a [Node]>,
}

/// A page and its frames, the outermost first, and what each puts into the frame before it.
pub(super) struct Frames<'a> {
    pub(super) levels: Vec<&'a LayoutFile>,
    pub(super) fills: Vec<Fills<'a>>,
    pub(super) problems: Vec<Diagnostic>,
}

impl<'a> Frames<'a> {
    pub(super) fn around(page: &'a LayoutFile, files: &'a BTreeMap<String, LayoutFile>) -> Self {
        let mut levels = vec![page];
        let mut problems = Vec::new();
        while let Some(named) = &levels[0].front.frame {
            match next(named, &levels, files) {
                Ok(frame) => {
                    // One error is enough to keep the page from going live; the file itself reports all of them.
                    problems.extend(frame.problems.iter().find(|problem| problem.is_error()).cloned());
                    problems.extend(without_effect(frame));
                    levels.insert(0, frame);
                }
                Err(problem) => {
                    problems.push(problem);
                    break;
                }
            }
        }
        let fills: Vec<Fills<'a>> = levels.iter().map(|file| fills(file)).collect();
        for (frame, (file, fills)) in levels.iter().zip(levels.iter().zip(&fills).skip(1)) {
            check(frame, file, fills, files, &mut problems);
        }
        Self { levels, fills, problems }
    }

    /// The headers of all files. Of several with one name, the one nearest to the page counts.
    pub(super) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut all = HeaderMap::new();
        for (name, value) in self.levels.iter().flat_map(|file| &file.front.headers) {
            all.insert(name.clone(), value.clone());
        }
        all.into_iter().filter_map(|(name, value)| Some((name?, value))).collect()
    }

    /// The title that is nearest to the page.
    pub(super) fn title(&self) -> Option<&'a Title> {
        self.levels.iter().rev().find_map(|file| file.front.title.as_ref())
    }
}

fn next<'a>(
    named: &Located<String>,
    levels: &[&'a LayoutFile],
    files: &'a BTreeMap<String, LayoutFile>,
) -> Result<&'a LayoutFile, Diagnostic> {
    let problem = |code, message: String| Diagnostic::new(code, named.at.clone(), message);
    let frame = files.get(&named.value).ok_or_else(|| missing_file(named, files))?;
    if levels.iter().any(|level| std::ptr::eq(*level, frame)) || levels.len() > MAX_FRAMES {
        let mut cycle: Vec<&str> = levels.iter().rev().map(|file| file.path()).collect();
        cycle.push(frame.path());
        let problem = problem(Code::IncludeCycle, format!("`{}` is a frame around itself", named.value));
        return Err(problem.help(format!("the cycle: {}", cycle.join(" → "))));
    }
    if frame.is_page() {
        let message = format!("`{}` is a page, not a frame: it has a `route` or a `status`", named.value);
        return Err(problem(Code::BadValue, message).help("remove that, or name another file"));
    }
    Ok(frame)
}

fn fills(file: &LayoutFile) -> Fills<'_> {
    let mut fills = Fills::default();
    for node in &file.nodes {
        let slot = match node {
            Node::Head(inside) => {
                fills.heads.push(inside);
                continue;
            }
            Node::Fill { slot, .. } => slot.value.as_str(),
            Node::Fragment(element) => element.slot.as_ref().map_or("", |slot| slot.value.as_str()),
            _ => "",
        };
        fills.slots.entry(slot).or_default().push(node);
    }
    fills
}

/// Checks what a file fills against the slots of its frame.
fn check(
    frame: &LayoutFile,
    file: &LayoutFile,
    fills: &Fills<'_>,
    files: &BTreeMap<String, LayoutFile>,
    problems: &mut Vec<Diagnostic>,
) {
    let names = slot_names(frame, files, problems);
    for (name, nodes) in fills.slots.iter().filter(|(name, _)| !names.contains(*name)) {
        let at = nodes.iter().find_map(|node| match node {
            Node::Fill { slot, .. } => Some(slot.at.clone()),
            Node::Fragment(element) => Some(element.slot.as_ref().map_or(&element.at, |slot| &slot.at).clone()),
            Node::Text(span) if !file.source.slice(span.clone()).trim().is_empty() => {
                Some(SourceSpan::new(&file.source, first_line(file, span.clone())))
            }
            _ => None,
        });
        // Whitespace between elements is not on the page, and needs no slot.
        let Some(at) = at else { continue };
        let (message, help) = if name.is_empty() {
            let message = format!("the frame {} has no slot without a name, so this is not on the page", frame.path());
            (message, Some("put `slot=\"…\"` on the elements, or `<slot></slot>` into the frame".to_owned()))
        } else {
            let known = names.iter().copied().filter(|name| !name.is_empty());
            (format!("the frame {} has no slot `{name}`", frame.path()), names::did_you_mean(name, known))
        };
        problems.push(Diagnostic::new(Code::UnknownSlot, at, message).maybe_help(help));
    }
}

/// The names of a frame's slots, sorted, so that the same error is always reported in the same words. Two slots of one name
/// are an error.
pub(super) fn slot_names<'a>(
    frame: &'a LayoutFile,
    files: &'a BTreeMap<String, LayoutFile>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for slot in slots(frame, files) {
        if !names.insert(slot.value.as_str()) {
            let name = if slot.value.is_empty() { "without a name".to_owned() } else { format!("`{}`", slot.value) };
            let problem =
                Diagnostic::new(Code::DuplicateSlot, slot.at.clone(), format!("there is another slot {name}"));
            problems.push(problem.help("give one of them another name"));
        }
    }
    names
}

fn first_line(file: &LayoutFile, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let text = file.source.slice(span.clone());
    let start = span.start + (text.len() - text.trim_start().len());
    let length = file.source.slice(start..span.end).lines().next().map_or(0, str::len);
    start..start + length
}

/// The slots of a frame and of its partials, by their place in their file.
fn slots<'a>(frame: &'a LayoutFile, files: &'a BTreeMap<String, LayoutFile>) -> Vec<&'a Located<String>> {
    let mut found = Vec::new();
    let mut visited = HashSet::from([frame.path()]);
    let mut open: Vec<&[Node]> = vec![&frame.nodes];
    while let Some(nodes) = open.pop() {
        for node in nodes {
            match node {
                Node::Slot { name, inside, .. } => {
                    found.push(name);
                    open.push(inside);
                }
                Node::Include(named) if visited.insert(&named.value) => {
                    open.extend(files.get(&named.value).map(|file| file.nodes.as_slice()));
                }
                Node::Fragment(element) => open.extend(element.all_inside()),
                other => open.extend(other.inside()),
            }
        }
    }
    found.sort_by_key(|slot| slot.at.span.start);
    found
}
