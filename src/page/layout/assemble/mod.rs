//! Joins a layout with its partials and with the catalogue into what pages are planned from.
//! A file that is not there, a circle, or a fragment that nobody provides is a mistake.

mod esi;
mod frames;
mod ids;
mod needs;
mod nested;
mod parts;
mod place;
pub mod standalone;
mod title;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::page::browser::csp;
use crate::page::manifest::catalogue::Catalogue;
use crate::page::manifest::upstreams::Allowed;
use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};
use crate::page::source::names::Name;
use crate::page::visit::context::Dimension;
use crate::page::visit::experiment::Experiment;
use crate::page::visit::route::Pattern;

use super::syntax::file::{LayoutFile, missing, without_effect};
use super::syntax::markup::MAX_DEPTH;
use super::syntax::node::{InsertionPoint, Load, Node};
use super::template::composition::{Composition, Condition, FragmentUse, Segment};
use super::template::{Takeover, Template};

use self::esi::{Builder as _, Found};
use self::frames::Frames;
use self::ids::Wish;
use self::needs::Needs;
use self::parts::Parts;
use self::title::Title;

/// Partials inside each other, at most.
const MAX_INCLUDES_DEEP: usize = 32;

/// What layouts are assembled against.
pub struct Surroundings<'a> {
    /// All files below `layouts/`, by their path there.
    pub files: &'a BTreeMap<String, LayoutFile>,
    /// The nanoservices.
    pub catalogue: &'a Catalogue,
    /// Names whose manifests have mistakes, each with its file.
    pub broken_manifests: &'a BTreeMap<String, String>,
    /// Upstreams that `src` may name.
    pub allowed: &'a [Allowed],
    /// Most partials a page.
    pub max_includes: usize,
    /// Most fragments a page.
    pub max_fragments: usize,
}

/// Assembles a page's layout. The mistakes are its own, and one of each partial that has an error; with
/// an error among them the template is not to go live.
#[must_use]
pub fn assemble(file: &LayoutFile, surroundings: &Surroundings<'_>) -> (Template, Vec<Diagnostic>) {
    let (mut template, mut problems) = assemble_for(file, &file.front.routes, surroundings);
    for takeover in &file.front.schedule {
        let named = &takeover.file;
        let Some(other) = surroundings.files.get(&named.value) else {
            problems.push(missing(named, surroundings.files));
            continue;
        };
        if std::ptr::eq(other, file) {
            let message = format!("`{}` takes its own place", named.value);
            problems.push(Diagnostic::new(Code::IncludeCycle, named.at.clone(), message));
            continue;
        }
        let (other, more) = assemble_for(other, &file.front.routes, surroundings);
        problems.extend(more);
        template.takeovers.push(Takeover { window: takeover.window, template: Arc::new(other) });
    }
    (template, problems)
}

/// Assembles a layout for the routes of a page.
fn assemble_for(
    file: &LayoutFile,
    routes: &[Located<Pattern>],
    surroundings: &Surroundings<'_>,
) -> (Template, Vec<Diagnostic>) {
    let frames = Frames::around(file, surroundings.files);
    let title = Title::new(frames.title(), &frames, surroundings.files);
    let needs = Needs::new(&frames, surroundings.files);
    let outermost = frames.levels[0];
    let mut assembler = Assembler {
        surroundings,
        page: file,
        routes,
        problems: file.problems.iter().chain(&frames.problems).cloned().collect(),
        frames,
        level: 0,
        fragments: Vec::new(),
        found: Found::default(),
        files: vec![outermost],
        includes: 0,
        depth: 0,
        fallbacks: 0,
        slots: BTreeMap::new(),
        wishes: Vec::new(),
        title,
        needs,
    };
    let mut parts = Parts::default();
    assembler.nodes(&outermost.nodes, &mut parts);
    if let Some(title) = assembler.title.left_over() {
        parts.prepend(Segment::Text(Bytes::from(title)));
    }
    if assembler.needs.left_over() {
        let mut heads = Parts::default();
        assembler.heads(&mut heads);
        heads.push(Segment::Assets);
        parts.prepend_all(heads);
    }
    let front = &file.front;
    let (ids, same) = ids::give(&assembler.wishes);
    assembler.problems.extend(same);
    let mut fragments: Vec<FragmentUse> = assembler.fragments.into_iter().flatten().collect();
    for (fragment, id) in fragments.iter_mut().zip(ids) {
        fragment.id = id;
    }
    let mut headers = assembler.frames.headers();
    let nested = surroundings.catalogue.reachable(fragments.iter().filter_map(FragmentUse::manifest));
    let loaded = |load| fragments.iter().any(|fragment| fragment.load == load);
    // What nested fragments ask for is not known yet.
    let has_late = loaded(Load::Defer) || !nested.manifests().is_empty();
    let scripts = csp::adapt(&mut headers, has_late, loaded(Load::Lazy));
    let parts = parts.finish();
    let html = Composition {
        parts,
        fragments: fragments.into_iter().map(Arc::new).collect(),
        conditions: assembler.found.conditions,
        values: assembler.found.values,
        has_tries: assembler.found.has_tries,
        ..Composition::default()
    }
    .digested();
    let dimensions: Vec<Dimension> = html.dimensions().into_iter().collect();
    let shared = html.shared().into_iter().collect();
    let reads_host = html.reads_host(&nested);
    let reads = reads(&dimensions, &nested, &front.experiments);
    let template = Template {
        file: file.source.file.clone(),
        routes: routes.to_vec(),
        title: front.title.clone(),
        owner: front.owner.clone(),
        budget: front.budget,
        query: front.query.clone(),
        max_age: front.max_age,
        headers,
        html,
        allowed: surroundings.allowed.to_vec(),
        scripts,
        alone: None,
        nested,
        dimensions,
        shared,
        reads,
        reads_host,
        experiments: front.experiments.clone(),
        takeovers: Vec::new(),
    };
    (template, assembler.problems)
}

/// What has to be known of a reader, whatever its fragments ask for: what is declared by these, and what
/// they can put conditions on.
pub(super) fn reads(dimensions: &[Dimension], nested: &Catalogue, experiments: &[Experiment]) -> Vec<Dimension> {
    let mut all: BTreeSet<Dimension> = dimensions.iter().cloned().collect();
    if !nested.manifests().is_empty() {
        all.extend([Dimension::Device, Dimension::Region, Dimension::Locale]);
        all.extend((!experiments.is_empty()).then_some(Dimension::Variant));
        let declared = nested.manifests().iter().flat_map(|manifest| manifest.context.iter().cloned());
        all.extend(declared.filter(|dimension| *dimension != Dimension::Page));
    }
    all.into_iter().collect()
}

pub(super) struct Assembler<'a> {
    pub(super) surroundings: &'a Surroundings<'a>,
    pub(super) page: &'a LayoutFile,
    /// The routes that it is served on.
    pub(super) routes: &'a [Located<Pattern>],
    /// The page and the frames around it,
    pub(super) frames: Frames<'a>,
    /// and which of them is being read.
    pub(super) level: usize,
    pub(super) problems: Vec<Diagnostic>,
    /// In document order; `None` while what is inside one is being read.
    pub(super) fragments: Vec<Option<FragmentUse>>,
    pub(super) found: Found,
    /// The files that are open: the page, a partial of it, a partial of that.
    pub(super) files: Vec<&'a LayoutFile>,
    pub(super) includes: usize,
    /// Our elements that are open.
    pub(super) depth: usize,
    /// Fragments that are open: what is inside one is shown in its stead, and is no part of the head.
    pub(super) fallbacks: usize,
    /// Which slot a fragment fills, by its index.
    pub(super) slots: BTreeMap<usize, Name>,
    /// What the fragments that have a service would be called, in document order.
    pub(super) wishes: Vec<Wish>,
    pub(super) title: Title,
    pub(super) needs: Needs,
}

impl<'a> Assembler<'a> {
    pub(super) fn nodes(&mut self, nodes: &'a [Node], parts: &mut Parts) {
        for node in nodes {
            self.node(node, parts);
        }
    }

    fn node(&mut self, node: &'a Node, parts: &mut Parts) {
        match node {
            Node::Text(span) => parts.text(self.bytes(span.clone())),
            Node::Fragment(element) => {
                if let Some(index) = self.fragment(element) {
                    parts.push(Segment::Fragment(index));
                }
            }
            Node::When { conditions, variants_at, inside } => {
                self.variants(conditions, variants_at.as_ref());
                let index = self.found.conditions.len();
                self.found.conditions.push(Condition::When(conditions.clone()));
                let mut inner = Parts::default();
                self.inside(inside, &mut inner);
                parts.push(Segment::When(index, inner.finish()));
            }
            Node::Esi(esi) => {
                for part in self.esi(esi) {
                    parts.push(part);
                }
            }
            Node::Include(file) => self.include_file(file, parts),
            Node::Slot { name, inside, .. } if self.level + 1 < self.frames.levels.len() => {
                match self.frames.fills[self.level + 1].slots.get(name.value.as_str()).cloned() {
                    Some(nodes) => self.filled(nodes, parts),
                    None => self.inside(inside, parts),
                }
            }
            Node::Slot { start, inside, end, .. } => {
                parts.text(self.bytes(start.clone()));
                self.inside(inside, parts);
                parts.text(self.bytes(end.clone()));
            }
            Node::Fill { inside, .. } | Node::Head(inside) => self.inside(inside, parts),
            Node::Title(span) => match self.title.replacement().filter(|_| self.fallbacks == 0) {
                Some(text) => parts.text(text.as_bytes()),
                None => parts.text(self.bytes(span.clone())),
            },
            Node::InsertionPoint(_) if self.fallbacks > 0 => {}
            // Behind all that a reader sees, and no deeper than the body.
            Node::InsertionPoint(InsertionPoint::BodyEnd) => parts.push(Segment::Late),
            Node::InsertionPoint(point) => {
                if let Some(element) = self.title.at(*point) {
                    parts.text(element.as_bytes());
                }
                if self.needs.at(*point) {
                    self.heads(parts);
                    parts.push(Segment::Assets);
                }
            }
        }
    }

    /// Puts what the next file inside fills a slot with.
    fn filled(&mut self, nodes: Vec<&'a Node>, parts: &mut Parts) {
        let file = self.frames.levels[self.level + 1];
        if self.depth + 1 + file.depth > MAX_DEPTH {
            let at = SourceSpan::new(&file.source, 0..0);
            let message = format!("in its frames, more than {MAX_DEPTH} elements stand inside each other");
            let problem = Diagnostic::new(Code::BadValue, at, message);
            self.problems.push(problem.help("no more may stand inside each other: take some apart"));
            return;
        }
        self.level += 1;
        self.files.push(self.frames.levels[self.level]);
        self.depth += 1;
        for node in nodes {
            self.node(node, parts);
        }
        self.depth -= 1;
        self.files.pop();
        self.level -= 1;
    }

    /// Puts what all files inside add to the head of the outermost frame.
    fn heads(&mut self, parts: &mut Parts) {
        let level = self.level;
        for inside in 1..self.frames.levels.len() {
            self.level = inside;
            self.files.push(self.frames.levels[inside]);
            for nodes in self.frames.fills[inside].heads.clone() {
                self.nodes(nodes, parts);
            }
            self.files.pop();
        }
        self.level = level;
    }

    pub(super) fn inside(&mut self, nodes: &'a [Node], parts: &mut Parts) {
        self.depth += 1;
        self.nodes(nodes, parts);
        self.depth -= 1;
    }

    fn bytes(&self, span: Range<usize>) -> &'a [u8] {
        let file: &'a LayoutFile = self.files.last().expect("the page's own file is never closed");
        file.source.slice(span).as_bytes()
    }

    fn include_file(&mut self, named: &Located<String>, parts: &mut Parts) {
        let Some(file) = self.surroundings.files.get(&named.value) else {
            self.problems.push(missing(named, self.surroundings.files));
            return;
        };
        if let Some(start) = self.files.iter().position(|open| std::ptr::eq(*open, file)) {
            let mut circle: Vec<&str> = self.files[start..].iter().map(|file| file.path()).collect();
            circle.push(file.path());
            let problem =
                Diagnostic::new(Code::IncludeCycle, named.at.clone(), format!("`{}` includes itself", named.value));
            self.problems.push(problem.help(format!("it goes {}", circle.join(" → "))));
            return;
        }
        self.includes += 1;
        if self.includes > self.surroundings.max_includes {
            if self.includes == self.surroundings.max_includes + 1 {
                let message = format!("the page includes more than {} partials", self.surroundings.max_includes);
                let problem = Diagnostic::new(Code::IncludeCycle, named.at.clone(), message);
                self.problems.push(problem.help("`page.max_includes` in pasteup.toml is the limit"));
            }
            return;
        }
        let too_deep = if self.files.len() > MAX_INCLUDES_DEEP {
            let message = format!("`{}` is a partial inside {MAX_INCLUDES_DEEP} others", named.value);
            Some(Diagnostic::new(Code::IncludeCycle, named.at.clone(), message))
        } else if self.depth + file.depth > MAX_DEPTH {
            let message = format!("with `{}`, more than {MAX_DEPTH} elements stand inside each other", named.value);
            Some(Diagnostic::new(Code::BadValue, named.at.clone(), message))
        } else {
            None
        };
        if let Some(problem) = too_deep {
            self.problems.push(problem.help("no more may stand inside each other: take some apart"));
            return;
        }
        // One keeps the page from going live, and the file tells all of them itself.
        self.problems.extend(file.problems.iter().find(|problem| problem.is_error()).cloned());
        self.problems.extend(without_effect(file));
        self.files.push(file);
        self.nodes(&file.nodes, parts);
        self.files.pop();
    }
}
