//! Resolves the fragments of a layout: which nanoservice fills each, and whether it accepts the given parameters.
//! An unknown name, an unknown parameter and a value that the manifest does not allow are errors.

use std::sync::Arc;

use crate::page::layout::syntax::node::{ConditionSpans, FragmentElement, FragmentTarget, Load, Node, ParameterPiece};
use crate::page::layout::template::fragment::{Candidates, FragmentSource, FragmentUse};
use crate::page::layout::template::segment::Segment;
use crate::page::manifest::Manifest;
use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};
use crate::page::source::names::{self, Name};
use crate::page::source::units;
use crate::page::visit::context::Conditions;

use super::assembler::Assembler;
use super::esi;
use super::ids::IdSource;
use super::segments::SegmentBuilder;

impl<'a> Assembler<'a> {
    /// Checks conditions against the page and the site.
    pub(super) fn check_conditions(&mut self, conditions: &Conditions, at: &ConditionSpans) {
        self.variants(conditions, at.variant.as_ref());
        let (Some(choice), Some(at)) = (&conditions.locale, &at.locale) else { return };
        let locales = self.context.locales;
        let is_known = |token: &String| locales.iter().any(|locale| locale.eq_ignore_ascii_case(token));
        for token in choice.tokens.iter().filter(|token| !is_known(token)) {
            let message = format!("`locale`: no reader has the locale `{token}`");
            let help = names::did_you_mean(token, locales.iter().map(String::as_str));
            let help =
                help.map(|help| format!("{help}; the locales of the site are in pasteup.toml: `context.locales`"));
            self.problems.push(Diagnostic::new(Code::NeverShown, at.clone(), message).maybe_help(help));
        }
    }

    /// Reports variants that no experiment of the page has.
    fn variants(&mut self, conditions: &Conditions, at: Option<&SourceSpan>) {
        let known: Vec<String> = self
            .page
            .front
            .experiments
            .iter()
            .flat_map(|experiment| {
                experiment.variants.iter().map(|(variant, _)| format!("{}:{variant}", experiment.name))
            })
            .collect();
        let (Some(choice), Some(at)) = (&conditions.variant, at) else { return };
        // A token without a colon was reported when the file was read.
        let unknown = choice.tokens.iter().filter(|token| !known.contains(token));
        for (token, (experiment, variant)) in unknown.filter_map(|token| Some((token, token.split_once(':')?))) {
            let message = if self.page.front.experiments.iter().any(|known| known.name == experiment) {
                format!("experiment `{experiment}` has no variant `{variant}`")
            } else {
                format!("`{token}`: the page has no experiment `{experiment}`")
            };
            let help = names::did_you_mean(token, known.iter().map(String::as_str))
                .unwrap_or_else(|| "add it to the front matter: `experiment.lead = { big = 1, small = 1 }`".to_owned());
            self.problems.push(Diagnostic::new(Code::BadValue, at.clone(), message).help(help));
        }
    }

    /// Reports a fragment's slot on a page without a frame.
    fn check_slot(&mut self, slot: &Located<String>) {
        // Inside a fragment it is a slot of that fragment's HTML, which is not known yet.
        if self.fallbacks == 0 && self.frames.levels.len() == 1 {
            let message = format!("the page has no frame, and so no slot `{}`", slot.value);
            let problem = Diagnostic::new(Code::UnknownSlot, slot.at.clone(), message);
            self.problems.push(problem.help("name one in the front matter: `frame = \"frames/site.html\"`"));
        }
    }

    /// The index for another fragment. `None`: the page has as many as are allowed.
    pub(super) fn next_index(&mut self, at: &SourceSpan) -> Option<usize> {
        let index = self.fragments.len();
        if index == self.context.max_fragments {
            let message = format!("the page has more than {index} fragments");
            let problem = Diagnostic::new(Code::BadValue, at.clone(), message);
            self.problems.push(problem.help("`page.max_fragments` in pasteup.toml is the limit"));
        }
        if index >= self.context.max_fragments {
            return None;
        }
        self.fragments.push(None);
        Some(index)
    }

    pub(super) fn fragment(&mut self, element: &'a FragmentElement) -> Option<usize> {
        let index = self.next_index(&element.at)?;
        if let Some(slot) = &element.slot {
            self.check_slot(slot);
            self.slots.insert(index, Name::from(slot.value.as_str()));
        }
        self.check_conditions(&element.conditions, &element.conditions_at);
        self.check_timeout(element);
        let source = self.source(element);
        for parameter in &element.parameters {
            self.check_placeholders(&parameter.value, &parameter.value_at);
        }
        if let Some(FragmentSource::Named(candidates)) = &source {
            self.check_declared(element, candidates.newest());
        }
        if element.load == Load::Lazy {
            self.check_lazy(element);
        }
        let id = source.as_ref().map(|source| id_source(element, source));
        self.ids.extend(id);
        let fallback = self.fallback(&element.inside);
        let reason_fallbacks = element.fallbacks.iter().map(|fallback| self.fallback(&fallback.inside)).collect();
        if element.required && fallback.is_empty() {
            let problem =
                Diagnostic::new(Code::NoFallback, element.at.clone(), "a `required` fragment without a fallback");
            self.problems.push(problem.help("if it fails, readers see an error page; put a fallback inside it"));
        }
        let source = source?;
        // Its id is assigned once all fragments of the page are known.
        let fallbacks = (fallback, reason_fallbacks);
        self.fragments[index] =
            Some(FragmentUse::from_element(element, Name::from(""), source, fallbacks, &self.slots));
        Some(index)
    }

    /// The segments of a fallback.
    fn fallback(&mut self, inside: &'a [Node]) -> Arc<[Segment]> {
        let mut segments = SegmentBuilder::default();
        self.fallbacks += 1;
        self.inside(inside, &mut segments);
        self.fallbacks -= 1;
        segments.finish()
    }

    /// Warns of a time limit that the page's cuts short.
    fn check_timeout(&mut self, element: &FragmentElement) {
        let budget = self.page.front.budget.unwrap_or(self.context.budget);
        let Some(timeout) = &element.timeout else { return };
        if timeout.value > budget {
            let message = format!("`timeout`: the page's `budget` is shorter: {}", units::show(budget));
            let problem = Diagnostic::new(Code::OverBudget, timeout.at.clone(), message);
            self.problems.push(problem.help("the part falls back once the budget has run out; change one of the two"));
        }
    }

    /// Reports a fragment that cannot be loaded lazily.
    fn check_lazy(&mut self, element: &FragmentElement) {
        let (message, help) = if element.required {
            ("a `required` fragment cannot be lazy: the page waits for it", "remove one of the two")
        } else if element.inside.iter().any(|node| matches!(node, Node::Fragment(inner) if inner.slot.is_some())) {
            ("a fragment whose slots are filled cannot be lazy: it is loaded without them", "remove `load`, or `slot`")
        } else if matches!(element.target, FragmentTarget::Source(_)) {
            (
                "a fragment named by `src` cannot be lazy: browsers request it by its name",
                "declare it by a manifest in fragments/",
            )
        } else {
            return;
        };
        self.problems.push(Diagnostic::new(Code::BadValue, element.at.clone(), message).help(help));
    }

    /// The nanoservice or URL that fills a fragment. `None`: there is none, which is reported.
    fn source(&mut self, element: &FragmentElement) -> Option<FragmentSource> {
        match &element.target {
            FragmentTarget::Missing => None,
            FragmentTarget::Source(url) => {
                let refused = self.refused(&url.value, &url.at);
                let source = refused.is_none().then(|| FragmentSource::Source(url.value.clone()));
                self.problems.extend(refused);
                source
            }
            FragmentTarget::Named { name, version } => {
                let catalogue = self.context.catalogue;
                if let Some(chosen) = catalogue.choose(&name.value, &version.value) {
                    let candidates = Candidates::of(&version.value, chosen);
                    self.problems.extend(candidates.newest().is_going_away(&name.at));
                    return Some(FragmentSource::Named(candidates));
                }
                if let Some(manifest) = catalogue.highest(&name.value, &version.value) {
                    let message = format!("no locked version of `{}` satisfies `{}`", name.value, version.value);
                    let help = format!(
                        "`pasteup update {}` locks {}, the highest version that satisfies it",
                        name.value, manifest.version
                    );
                    self.problems.push(Diagnostic::new(Code::NotLocked, version.at.clone(), message).help(help));
                    return None;
                }
                let versions: Vec<String> = catalogue.versions(&name.value).map(|m| m.version.to_string()).collect();
                let problem = if versions.is_empty() {
                    let message = format!("no nanoservice is called `{}`", name.value);
                    let help = match self.context.broken_manifests.get(&name.value) {
                        Some(file) => Some(format!("its manifest has an error: see {file}")),
                        None => names::did_you_mean(&name.value, catalogue.names()),
                    };
                    Diagnostic::new(Code::UnknownFragment, name.at.clone(), message).maybe_help(help)
                } else {
                    let message = format!("no version of `{}` satisfies `{}`", name.value, version.value);
                    let mut help = format!("available: {}", versions.join(", "));
                    if versions.iter().all(|version| version.contains('-')) {
                        let newest = &versions[0];
                        help.push_str(&format!("; a pre-release is chosen only by its exact version: `={newest}`"));
                    }
                    Diagnostic::new(Code::NoSuchVersion, version.at.clone(), message).help(help)
                };
                self.problems.push(problem);
                None
            }
        }
    }

    /// Reports placeholders that are neither parameters of the route nor of the query.
    pub(super) fn check_placeholders(&mut self, pieces: &[ParameterPiece], at: &SourceSpan) {
        let front = &self.page.front;
        let known = || {
            let routes = self.routes.iter().flat_map(|route| route.value.parameters());
            routes.chain(&front.query).map(String::as_str)
        };
        for piece in pieces {
            if let ParameterPiece::Placeholder(name) = piece
                && !known().any(|known| known == name)
            {
                let message =
                    format!("`{{{name}}}` is neither a parameter of the route nor a declared query parameter");
                let help = names::did_you_mean(name, known())
                    .unwrap_or_else(|| format!("put `{{{name}}}` into the route, or add `query = [\"{name}\"]`"));
                self.problems.push(Diagnostic::new(Code::UnknownPlaceholder, at.clone(), message).help(help));
            }
        }
    }

    /// Checks a fragment against what its nanoservice declares.
    fn check_declared(&mut self, element: &FragmentElement, manifest: &Manifest) {
        if let (Some(ttl), Some(max)) = (&element.ttl, manifest.cache.max_ttl)
            && ttl.value > max
        {
            let message = format!("`{}` allows at most {}", manifest.name, units::show(max));
            let problem = Diagnostic::new(Code::TtlTooLong, ttl.at.clone(), message);
            self.problems.push(problem.help("the page uses that limit"));
        }
        // A nanoservice that declares no parameters accepts any.
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
                [ParameterPiece::Literal(text)] => text,
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

fn id_source(element: &FragmentElement, source: &FragmentSource) -> IdSource {
    match (&element.id, source) {
        (Some(id), _) => IdSource::Written(id.clone()),
        (None, FragmentSource::Named(candidates)) => IdSource::Name(candidates.preferred().name.to_string()),
        (None, FragmentSource::Nested(name, _)) => IdSource::Name(name.to_string()),
        (None, FragmentSource::Included { .. }) => IdSource::Name(esi::ID.to_owned()),
        (None, FragmentSource::Source(url)) => {
            let host = url.host_str().unwrap_or("src");
            IdSource::Name(host.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-"))
        }
    }
}
