//! Fragments in their places: who fills each, and whether he takes what he is asked for.
//! A name that nobody has, or a parameter that nobody takes, is a mistake.

use std::sync::Arc;

use crate::page::layout::syntax::node::{FragmentElement, FragmentTarget, Load, Node, Parameter, ParameterPiece};
use crate::page::layout::template::composition::{FragmentSource, FragmentUse};
use crate::page::manifest::{Lifecycle, Manifest};
use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};
use crate::page::source::names::{self, Name};
use crate::page::source::units;
use crate::page::visit::context::Conditions;

use super::Assembler;
use super::ids::Wish;
use super::parts::Parts;

impl<'a> Assembler<'a> {
    /// Tells of variants that no experiment of the page has.
    pub(crate) fn variants(&mut self, conditions: &Conditions, at: Option<&SourceSpan>) {
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
        // What has another form was told when the file was read.
        for token in choice.tokens.iter().filter(|token| token.contains(':') && !known.contains(token)) {
            let message = format!("no experiment of {} has `{token}`", self.page.source.file);
            let help = names::did_you_mean(token, known.iter().map(String::as_str))
                .unwrap_or_else(|| "add it to the front matter: `experiment.lead = { big = 1, small = 1 }`".to_owned());
            self.problems.push(Diagnostic::new(Code::BadValue, at.clone(), message).help(help));
        }
    }

    /// Tells of a fragment's slot that is none.
    fn slot_of(&mut self, slot: &Located<String>) {
        // Inside a fragment it is for that one's HTML, which nobody has seen yet.
        if self.fallbacks == 0 && self.frames.levels.len() == 1 {
            let message = format!("there is no frame that could have a slot `{}`", slot.value);
            let problem = Diagnostic::new(Code::UnknownSlot, slot.at.clone(), message);
            self.problems.push(problem.help("name one in the front matter: `frame = \"frames/site.html\"`"));
        }
    }

    /// The index of one more fragment. `None`: the page has as many as it may have.
    pub(crate) fn room(&mut self, at: &SourceSpan) -> Option<usize> {
        let index = self.fragments.len();
        if index == self.surroundings.max_fragments {
            let message = format!("the page has more than {index} fragments");
            let problem = Diagnostic::new(Code::BadValue, at.clone(), message);
            self.problems.push(problem.help("`page.max_fragments` in pasteup.toml is the limit"));
        }
        if index >= self.surroundings.max_fragments {
            return None;
        }
        self.fragments.push(None);
        Some(index)
    }

    pub(crate) fn fragment(&mut self, element: &'a FragmentElement) -> Option<usize> {
        let index = self.room(&element.at)?;
        if let Some(slot) = &element.slot {
            self.slot_of(slot);
            self.slots.insert(index, Name::from(slot.value.as_str()));
        }
        self.variants(&element.conditions, element.variants_at.as_ref());
        let service = self.service(element);
        for parameter in &element.parameters {
            self.placeholders(parameter);
        }
        if let Some(FragmentSource::Named(manifest)) = &service {
            self.declared(element, manifest);
        }
        if element.load == Load::Lazy {
            self.lazy(element);
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
        // Without a name until all of the page are known.
        self.fragments[index] = Some(FragmentUse::of(element, Name::from(""), service, fallback, &self.slots));
        Some(index)
    }

    /// Tells what cannot be loaded lazily.
    fn lazy(&mut self, element: &FragmentElement) {
        let (message, help) = if element.required {
            ("a `required` fragment cannot be lazy: the page waits for it", "remove one of the two")
        } else if element.inside.iter().any(|node| matches!(node, Node::Fragment(inner) if inner.slot.is_some())) {
            ("a fragment that is given parts cannot be lazy: it is loaded without them", "remove `load`, or `slot`")
        } else if matches!(element.target, FragmentTarget::Source(_)) {
            (
                "a fragment named by `src` cannot be lazy: readers ask for it by its name",
                "give it a manifest in fragments/",
            )
        } else {
            return;
        };
        self.problems.push(Diagnostic::new(Code::BadValue, element.at.clone(), message).help(help));
    }

    fn service(&mut self, element: &FragmentElement) -> Option<FragmentSource> {
        match &element.target {
            FragmentTarget::Missing => None,
            FragmentTarget::Source(url) => {
                let refused = self.refused(&url.value, &url.at);
                let service = refused.is_none().then(|| FragmentSource::Source(url.value.clone()));
                self.problems.extend(refused);
                service
            }
            FragmentTarget::Named { name, version } => {
                let catalogue = self.surroundings.catalogue;
                if let Some(manifest) = catalogue.select(&name.value, &version.value) {
                    if manifest.lifecycle == Lifecycle::Deprecated {
                        let message = format!("`{}` {} is deprecated", manifest.name, manifest.version);
                        let owner = manifest.owner.as_deref().map(|owner| format!("ask {owner} what takes its place"));
                        self.problems
                            .push(Diagnostic::new(Code::Deprecated, name.at.clone(), message).maybe_help(owner));
                    }
                    return Some(FragmentSource::Named(Arc::clone(manifest)));
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
                    let mut help = format!("available: {}", versions.join(", "));
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
            if let ParameterPiece::Placeholder(name) = piece
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

fn wish(element: &FragmentElement, service: &FragmentSource) -> Wish {
    match (&element.id, service) {
        (Some(id), _) => Wish::Written(id.clone()),
        (None, FragmentSource::Named(manifest)) => Wish::Named(manifest.name.to_string()),
        (None, FragmentSource::Wanted(name, _)) => Wish::Named(name.to_string()),
        (None, FragmentSource::Included { .. }) => Wish::Named(super::esi::ID.to_owned()),
        (None, FragmentSource::Source(url)) => {
            let host = url.host_str().unwrap_or("src");
            Wish::Named(host.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-"))
        }
    }
}
