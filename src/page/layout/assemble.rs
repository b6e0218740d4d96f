//! Joins a layout with its partials and with the catalogue into what pages are planned from.
//! A file that is not there, a circle, or a fragment that nobody provides is a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::page::catalogue::Catalogue;
use crate::page::context::{Conditions, Dimension};
use crate::page::diagnostic::{Code, Diagnostic, Located};
use crate::page::manifest::{Lifecycle, Manifest};
use crate::page::names::{self, Name};
use crate::page::route::Pattern;
use crate::page::units;
use crate::page::upstreams::Allowed;

use super::file::LayoutFile;
use super::frames::Frames;
use super::ids::{self, Wish};
use super::markup::MAX_DEPTH;
use super::needs::Needs;
use super::node::{FragmentElement, Node, Parameter, Piece, Target};
use super::template::{FragmentUse, Part, Service, Takeover, Template};
use super::title::Title;

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
        let problem = |code, message: String| Diagnostic::new(code, named.at.clone(), message);
        let Some(other) = surroundings.files.get(&named.value) else {
            let help = names::did_you_mean(&named.value, surroundings.files.keys().map(String::as_str));
            let message = format!("there is no file `{}` below layouts/", named.value);
            problems.push(problem(Code::MissingFile, message).maybe_help(help));
            continue;
        };
        if std::ptr::eq(other, file) {
            problems.push(problem(Code::IncludeCycle, format!("`{}` takes its own place", named.value)));
            continue;
        }
        let (other, more) = assemble_for(other, &file.front.routes, surroundings);
        problems.extend(more);
        template.takeovers.push(Takeover { from: takeover.from, until: takeover.until, template: Arc::new(other) });
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
    let title = Title::new(frames.title(), &frames.levels, surroundings.files);
    let needs = Needs::new(&frames.levels, surroundings.files);
    let outermost = frames.levels[0];
    let mut assembler = Assembler {
        surroundings,
        page: file,
        routes,
        problems: file.problems.iter().chain(&frames.problems).cloned().collect(),
        frames,
        level: 0,
        fragments: Vec::new(),
        conditions: Vec::new(),
        files: vec![outermost],
        includes: 0,
        depth: 0,
        fallbacks: 0,
        wishes: Vec::new(),
        title,
        needs,
    };
    let mut parts = Parts::default();
    assembler.nodes(&outermost.nodes, &mut parts);
    if let Some(title) = assembler.title.left_over() {
        parts.prepend(Part::Text(Bytes::from(title)));
    }
    if assembler.needs.left_over() {
        let mut heads = Parts::default();
        assembler.heads(&mut heads);
        heads.push(Part::Assets);
        parts.prepend_all(heads);
    }
    let front = &file.front;
    let (ids, same) = ids::give(&assembler.wishes);
    assembler.problems.extend(same);
    let mut fragments: Vec<FragmentUse> = assembler.fragments.into_iter().flatten().collect();
    for (fragment, id) in fragments.iter_mut().zip(ids) {
        fragment.id = id;
    }
    let dimensions = dimensions(&fragments, &assembler.conditions);
    let parts = parts.finish();
    let template = Template {
        file: file.source.file.clone(),
        routes: routes.to_vec(),
        title: front.title.clone(),
        owner: front.owner.clone(),
        budget: front.budget,
        query: front.query.clone(),
        max_age: front.max_age,
        headers: front.headers.clone(),
        digest: digest(&parts),
        parts,
        fragments,
        conditions: assembler.conditions,
        dimensions,
        experiments: front.experiments.clone(),
        takeovers: Vec::new(),
    };
    (template, assembler.problems)
}

/// What the page varies on, be it by a condition or by what a nanoservice is told.
fn dimensions(fragments: &[FragmentUse], conditions: &[Conditions]) -> Vec<Dimension> {
    let declared = fragments.iter().filter_map(|fragment| match &fragment.service {
        Service::Named(manifest) => Some(manifest.context.iter().cloned()),
        Service::Source(_) => None,
    });
    let asked = conditions.iter().chain(fragments.iter().map(|fragment| &fragment.conditions));
    let all = declared.flatten().chain(asked.flat_map(Conditions::dimensions));
    let all: BTreeSet<Dimension> = all.filter(|dimension| *dimension != Dimension::Page).collect();
    all.into_iter().collect()
}

/// A hash over all bytes and the order of a page's parts.
fn digest(parts: &[Part]) -> u128 {
    fn feed(parts: &[Part], hash: &mut Xxh3) {
        for part in parts {
            match part {
                Part::Text(text) => {
                    hash.update(&text.len().to_le_bytes());
                    hash.update(text);
                }
                Part::Fragment(index) => hash.update(&index.to_be_bytes()),
                Part::When(index, inside) => {
                    hash.update(&index.to_be_bytes());
                    feed(inside, hash);
                }
                Part::Assets => hash.update(b"assets"),
            }
        }
    }
    let mut hash = Xxh3::new();
    feed(parts, &mut hash);
    hash.digest128()
}

struct Assembler<'a> {
    surroundings: &'a Surroundings<'a>,
    page: &'a LayoutFile,
    /// The routes that it is served on.
    routes: &'a [Located<Pattern>],
    /// The page and the frames around it,
    frames: Frames<'a>,
    /// and which of them is being read.
    level: usize,
    problems: Vec<Diagnostic>,
    /// In document order; `None` while what is inside one is being read.
    fragments: Vec<Option<FragmentUse>>,
    conditions: Vec<Conditions>,
    /// The files that are open: the page, a partial of it, a partial of that.
    files: Vec<&'a LayoutFile>,
    includes: usize,
    /// Our elements that are open.
    depth: usize,
    /// Fragments that are open: what is inside one is shown in its stead, and is no part of the head.
    fallbacks: usize,
    /// What the fragments that have a service would be called, in document order.
    wishes: Vec<Wish>,
    title: Title,
    needs: Needs,
}

impl<'a> Assembler<'a> {
    fn nodes(&mut self, nodes: &'a [Node], parts: &mut Parts) {
        for node in nodes {
            self.node(node, parts);
        }
    }

    fn node(&mut self, node: &'a Node, parts: &mut Parts) {
        match node {
            Node::Text(span) => parts.text(self.bytes(span.clone())),
            Node::Fragment(element) => {
                if let Some(index) = self.fragment(element) {
                    parts.push(Part::Fragment(index));
                }
            }
            Node::When { conditions, inside } => {
                let index = self.conditions.len();
                self.conditions.push(conditions.clone());
                let mut inner = Parts::default();
                self.inside(inside, &mut inner);
                parts.push(Part::When(index, inner.finish()));
            }
            Node::Include(file) => self.include(file, parts),
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
            Node::Mark(_) if self.fallbacks > 0 => {}
            Node::Mark(mark) => {
                if let Some(element) = self.title.at(*mark) {
                    parts.text(element.as_bytes());
                }
                if self.needs.at(*mark) {
                    self.heads(parts);
                    parts.push(Part::Assets);
                }
            }
        }
    }

    /// Puts what the next file inside fills a slot with.
    fn filled(&mut self, nodes: Vec<&'a Node>, parts: &mut Parts) {
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

    fn inside(&mut self, nodes: &'a [Node], parts: &mut Parts) {
        self.depth += 1;
        self.nodes(nodes, parts);
        self.depth -= 1;
    }

    fn bytes(&self, span: Range<usize>) -> &'a [u8] {
        let file: &'a LayoutFile = self.files.last().expect("the page's own file is never closed");
        file.source.slice(span).as_bytes()
    }

    fn include(&mut self, named: &Located<String>, parts: &mut Parts) {
        let Some(file) = self.surroundings.files.get(&named.value) else {
            let files = self.surroundings.files.keys().map(String::as_str);
            let help = names::did_you_mean(&named.value, files);
            let message = format!("there is no file `{}` below layouts/", named.value);
            self.problems.push(Diagnostic::new(Code::MissingFile, named.at.clone(), message).maybe_help(help));
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
        self.files.push(file);
        self.nodes(&file.nodes, parts);
        self.files.pop();
    }

    /// Tells of a fragment's slot that is none.
    fn slot_of(&mut self, slot: &Located<String>) {
        if self.fallbacks > 0 {
            let message = "`slot` inside a fragment is understood, but not acted on by this version";
            let problem = Diagnostic::new(Code::NotYet, slot.at.clone(), message);
            self.problems.push(problem.help("the fragment stands where it is written"));
        } else if self.frames.levels.len() == 1 {
            let message = format!("there is no frame that could have a slot `{}`", slot.value);
            let problem = Diagnostic::new(Code::UnknownSlot, slot.at.clone(), message);
            self.problems.push(problem.help("name one in the front matter: `frame = \"frames/site.html\"`"));
        }
    }

    fn fragment(&mut self, element: &'a FragmentElement) -> Option<usize> {
        let index = self.fragments.len();
        if index == self.surroundings.max_fragments {
            let message = format!("the page has more than {index} fragments");
            let problem = Diagnostic::new(Code::BadValue, element.at.clone(), message);
            self.problems.push(problem.help("`page.max_fragments` in pasteup.toml is the limit"));
        }
        if index >= self.surroundings.max_fragments {
            return None;
        }
        self.fragments.push(None);
        if let Some(slot) = &element.slot {
            self.slot_of(slot);
        }
        let service = self.service(element);
        for parameter in &element.parameters {
            self.placeholders(parameter);
        }
        if let Some(Service::Named(manifest)) = &service {
            self.declared(element, manifest);
        }
        let wish = service.as_ref().map(|service| wish(element, service));
        self.wishes.extend(wish);
        let mut fallback = Parts::default();
        self.fallbacks += 1;
        self.inside(&element.inside, &mut fallback);
        self.fallbacks -= 1;
        let fallback = fallback.finish();
        if element.required && fallback.is_empty() {
            let problem =
                Diagnostic::new(Code::NoFallback, element.at.clone(), "a `required` fragment without a fallback");
            self.problems.push(
                problem.help("when it fails, readers see an error page; put what they should see instead inside it"),
            );
        }
        let service = service?;
        self.fragments[index] = Some(FragmentUse {
            // Until all of the page are known.
            id: Name::from(""),
            service,
            ttl: element.ttl.as_ref().map(|ttl| ttl.value),
            stale: element.stale,
            timeout: element.timeout,
            required: element.required,
            conditions: element.conditions.clone(),
            parameters: element.parameters.iter().map(|p| (p.name.value.clone(), p.value.clone())).collect(),
            fallback,
            at: element.at.clone(),
        });
        Some(index)
    }

    fn service(&mut self, element: &FragmentElement) -> Option<Service> {
        match &element.target {
            Target::Missing => None,
            Target::Source(url) => {
                if self.surroundings.allowed.iter().any(|allowed| allowed.covers(&url.value)) {
                    return Some(Service::Source(url.value.clone()));
                }
                let origin = url.value.origin().ascii_serialization();
                let message = format!("`{origin}` is no allowed upstream");
                let problem = Diagnostic::new(Code::UpstreamNotAllowed, url.at.clone(), message);
                self.problems.push(
                    problem.help(format!("an operator allows it in pasteup.toml: [upstreams] allow = [\"{origin}\"]")),
                );
                None
            }
            Target::Named { name, version } => {
                let catalogue = self.surroundings.catalogue;
                if let Some(manifest) = catalogue.select(&name.value, &version.value) {
                    if manifest.lifecycle == Lifecycle::Deprecated {
                        let message = format!("`{}` {} is deprecated", manifest.name, manifest.version);
                        let owner = manifest.owner.as_deref().map(|owner| format!("ask {owner} what takes its place"));
                        self.problems
                            .push(Diagnostic::new(Code::Deprecated, name.at.clone(), message).maybe_help(owner));
                    }
                    return Some(Service::Named(Arc::clone(manifest)));
                }
                let versions: Vec<String> = catalogue.versions(&name.value).map(|m| m.version.to_string()).collect();
                let problem = if versions.is_empty() {
                    let message = format!("no nanoservice is called `{}`", name.value);
                    let help = match self.surroundings.broken_manifests.get(&name.value) {
                        Some(file) => Some(format!("its manifest has a mistake: see {file}")),
                        None => names::did_you_mean(&name.value, catalogue.names()),
                    };
                    Diagnostic::new(Code::UnknownFragment, name.at.clone(), message).maybe_help(help)
                } else {
                    let message = format!("no version of `{}` satisfies `{}`", name.value, version.value);
                    let mut help = format!("there is {}", versions.join(", "));
                    if versions.iter().all(|version| version.contains('-')) {
                        let newest = &versions[0];
                        help.push_str(&format!(
                            "; a version that is not finished is chosen only by its own name: `={newest}`"
                        ));
                    }
                    Diagnostic::new(Code::NoSuchVersion, version.at.clone(), message).help(help)
                };
                self.problems.push(problem);
                None
            }
        }
    }

    fn placeholders(&mut self, parameter: &Parameter) {
        let front = &self.page.front;
        let known = || {
            let routes = self.routes.iter().flat_map(|route| route.value.parameters());
            routes.chain(&front.query).map(String::as_str)
        };
        for piece in &parameter.value {
            if let Piece::Placeholder(name) = piece
                && !known().any(|known| known == name)
            {
                let message =
                    format!("`{{{name}}}` is neither a parameter of the route nor a declared query parameter");
                let help = names::did_you_mean(name, known())
                    .unwrap_or_else(|| format!("put `{{{name}}}` into the route, or add `query = [\"{name}\"]`"));
                let problem = Diagnostic::new(Code::UnknownPlaceholder, parameter.value_at.clone(), message);
                self.problems.push(problem.help(help));
            }
        }
    }

    /// Holds a fragment against what its nanoservice declares.
    fn declared(&mut self, element: &FragmentElement, manifest: &Manifest) {
        if let (Some(ttl), Some(max)) = (&element.ttl, manifest.cache.max_ttl)
            && ttl.value > max
        {
            let message = format!("`{}` allows at most {}", manifest.name, units::show(max));
            let problem = Diagnostic::new(Code::TtlTooLong, ttl.at.clone(), message);
            self.problems.push(problem.help("that is what will be used"));
        }
        // A nanoservice that declares none takes any.
        let checked = if manifest.params.is_empty() { &[][..] } else { &element.parameters };
        for parameter in checked {
            let name = &parameter.name.value;
            let Some(declared) = manifest.params.iter().find(|param| param.name == *name) else {
                let help = names::did_you_mean(name, manifest.params.iter().map(|param| param.name.as_str()));
                let message = format!("`{}` has no parameter `{name}`", manifest.name);
                self.problems
                    .push(Diagnostic::new(Code::UnknownParameter, parameter.name.at.clone(), message).maybe_help(help));
                continue;
            };
            let literal = match parameter.value.as_slice() {
                [Piece::Literal(text)] => text,
                _ => continue,
            };
            if let Err(wrong) = declared.check(literal) {
                let message = format!("`{name}` of `{}` cannot be `{literal}`", manifest.name);
                let problem = Diagnostic::new(Code::BadParameter, parameter.value_at.clone(), message);
                self.problems.push(problem.help(format!("it {wrong}")));
            }
        }
        for name in manifest.required() {
            if !element.parameters.iter().any(|given| given.name.value == name) {
                let message = format!("`{}` needs the parameter `{name}`", manifest.name);
                let problem = Diagnostic::new(Code::MissingParameter, element.at.clone(), message);
                self.problems.push(problem.help(format!("add `data-{name}=\"…\"`")));
            }
        }
    }
}

fn wish(element: &FragmentElement, service: &Service) -> Wish {
    match (&element.id, service) {
        (Some(id), _) => Wish::Written(id.clone()),
        (None, Service::Named(manifest)) => Wish::Named(manifest.name.to_string()),
        (None, Service::Source(url)) => {
            let host = url.host_str().unwrap_or("src");
            Wish::Named(host.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-"))
        }
    }
}

/// Joins neighbouring bytes.
#[derive(Default)]
struct Parts {
    done: Vec<Part>,
    text: Vec<u8>,
}

impl Parts {
    fn text(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn push(&mut self, part: Part) {
        self.flush();
        self.done.push(part);
    }

    fn prepend(&mut self, part: Part) {
        self.flush();
        self.done.insert(0, part);
    }

    fn prepend_all(&mut self, other: Self) {
        self.flush();
        self.done.splice(0..0, other.finish());
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.done.push(Part::Text(Bytes::from(std::mem::take(&mut self.text))));
        }
    }

    fn finish(mut self) -> Vec<Part> {
        self.flush();
        self.done
    }
}
