//! Assembles a layout with its frames, its partials and the catalogue into the template that pages are planned from.
//! A missing file, a cycle, and a fragment that no nanoservice provides are errors.

mod segments;

mod frames;
mod ids;

mod esi;

mod assembler;
mod places;

mod esi_checks;
mod fragments;
mod walk;

mod nested;

mod dimensions;
mod paragraph;

pub mod standalone;
pub mod unused;

use std::sync::Arc;

use crate::page::browser::csp;
use crate::page::source::diagnostic::{Code, Diagnostic, Located};
use crate::page::visit::route::Pattern;

use super::syntax::file::{LayoutFile, missing_file};
use super::syntax::node::Load;
use super::template::composition::Composition;
use super::template::fragment::FragmentUse;
use super::template::segment::Segment;
use super::template::{Takeover, Template};

use self::assembler::Assembler;
use self::dimensions::Dimensions;
use self::frames::Frames;
use self::segments::SegmentBuilder;

pub use self::assembler::AssemblyContext;

/// Assembles the layout of a page, and the layouts that replace it at some time. Returns the diagnostics of the layout
/// itself, and one error of each partial and frame that has any; if there is an error, the template must not go live.
#[must_use]
pub fn assemble(file: &LayoutFile, context: &AssemblyContext<'_>) -> (Template, Vec<Diagnostic>) {
    let (mut template, mut problems) = assemble_for(file, &file.front.routes, context);
    for takeover in &file.front.schedule {
        let named = &takeover.file;
        let Some(other) = context.files.get(&named.value) else {
            problems.push(missing_file(named, context.files));
            continue;
        };
        if std::ptr::eq(other, file) {
            let message = format!("`{}` is scheduled to replace itself", named.value);
            problems.push(Diagnostic::new(Code::IncludeCycle, named.at.clone(), message));
            continue;
        }
        let (mut other, more) = assemble_for(other, &file.front.routes, context);
        problems.extend(more);
        other.status = template.status;
        template.takeovers.push(Takeover { window: takeover.window, template: Arc::new(other) });
    }
    (template, problems)
}

/// Assembles a layout for the routes of a page.
fn assemble_for(
    file: &LayoutFile,
    routes: &[Located<Pattern>],
    context: &AssemblyContext<'_>,
) -> (Template, Vec<Diagnostic>) {
    let frames = Frames::around(file, context.files);
    let outermost = frames.levels[0];
    let mut assembler = Assembler::new(file, routes, frames, context);
    if let Some(title) = assembler.title {
        assembler.check_placeholders(&title.pieces, &title.at);
    }
    let mut segments = SegmentBuilder::default();
    assembler.nodes(&outermost.nodes, &mut segments);
    let mut beginning = SegmentBuilder::default();
    if assembler.places.head.is_none() {
        assembler.heads(&mut beginning);
        beginning.push(Segment::Assets);
    }
    if assembler.places.title.is_none() {
        assembler.add_title(&mut beginning);
    }
    segments.prepend_all(beginning);
    let front = &file.front;
    let (ids, same) = ids::assign(&assembler.ids);
    assembler.problems.extend(same);
    let mut fragments: Vec<FragmentUse> = assembler.fragments.into_iter().flatten().collect();
    for (fragment, id) in fragments.iter_mut().zip(ids) {
        fragment.id = id;
    }
    let mut headers = assembler.frames.headers();
    let nested = context.catalogue.reachable(fragments.iter().flat_map(FragmentUse::candidates));
    let loaded = |load| fragments.iter().any(|fragment| fragment.load == load);
    // Whether nested fragments are late is known only once their HTML has arrived.
    let has_late = loaded(Load::Defer) || !nested.manifests().is_empty();
    let scripts = csp::adapt(&mut headers, has_late, loaded(Load::Lazy));
    let segments = segments.finish();
    let html = Composition {
        leaves_paragraph_open: has_late && paragraph::is_left_open(&segments),
        segments,
        fragments: fragments.into_iter().map(Arc::new).collect(),
        conditions: assembler.tables.conditions,
        values: assembler.tables.values,
        has_tries: assembler.tables.has_tries,
        ..Composition::default()
    }
    .with_digest();
    let Dimensions { all, shared, reads, reads_host } = Dimensions::of(&html, &nested, &front.experiments);
    let rollouts = dimensions::rollouts(&html, &nested);
    let template = Template {
        file: file.source.file.clone(),
        routes: routes.to_vec(),
        status: front.status.as_ref().map(|status| status.value),
        title: front.title.as_ref().map(|title| title.text.clone()),
        owner: front.owner.clone(),
        budget: front.budget,
        query: front.query.clone(),
        max_age: front.max_age,
        headers,
        html,
        allowed: context.allowed.to_vec(),
        scripts,
        is_standalone: false,
        nested,
        dimensions: all,
        shared,
        reads,
        reads_host,
        experiments: front.experiments.clone(),
        rollouts,
        takeovers: Vec::new(),
    };
    (template, assembler.problems)
}
