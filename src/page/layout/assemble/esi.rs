//! ESI's elements as parts of a composition: tests become conditions, texts values, includes fragments.
//! A layout and an answer do it alike; only what they may include differs.

use std::sync::Arc;

use url::Url;

use crate::page::esi::agent;
use crate::page::esi::expr::Expr;
use crate::page::esi::text::{EsiText, Piece};
use crate::page::esi::variables::NAMES;
use crate::page::layout::syntax::node::{Esi, Include, Node};
use crate::page::layout::template::composition::{Condition, FragmentSource, FragmentUse, Segment};
use crate::page::manifest::upstreams;
use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};
use crate::page::source::names::{self, Name};

use super::Assembler;
use super::ids::Wish;
use super::parts::Parts;

/// What includes are called.
pub(crate) const ID: &str = "esi";

/// What parts of a composition mean by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What decides whether parts are shown.
    pub(crate) conditions: Vec<Condition>,
    /// Texts with variables.
    pub(crate) values: Vec<Arc<EsiText>>,
    /// Something is tried somewhere.
    pub(crate) has_tries: bool,
}

/// Who makes parts of nodes.
pub(crate) trait Builder<'n> {
    /// What was found so far.
    fn found(&mut self) -> &mut Found;

    /// The parts of what stands inside an element.
    fn inside(&mut self, nodes: &'n [Node]) -> Arc<[Segment]>;

    /// Takes up an include. `None` where it cannot be one.
    fn include(&mut self, include: &'n Include) -> Option<Segment>;

    /// Takes up what names variables.
    fn uses(&mut self, variables: &mut dyn Iterator<Item = (&str, Option<&str>)>, at: &SourceSpan);

    /// The parts of an element, in order.
    fn esi(&mut self, esi: &'n Esi) -> Vec<Segment> {
        match esi {
            Esi::Include(include) => self.include(include).into_iter().collect(),
            Esi::Value(Located { value, at }) => {
                self.uses(&mut value.used(), at);
                let values = &mut self.found().values;
                let index = values.len();
                values.push(Arc::clone(value));
                vec![Segment::Value(index)]
            }
            Esi::Vars(inside) => self.inside(inside).to_vec(),
            Esi::Choose(tests, branches) => {
                for test in tests {
                    self.uses(&mut test.value.used(), &test.at);
                }
                let tests: Arc<[Expr]> = tests.iter().map(|test| test.value.clone()).collect();
                let conditions = &mut self.found().conditions;
                let first = conditions.len();
                conditions.extend((0..branches.len()).map(|which| Condition::First(Arc::clone(&tests), which)));
                let branches = branches.iter().enumerate();
                branches.map(|(which, inside)| Segment::When(first + which, self.inside(inside))).collect()
            }
            Esi::Try(attempt, except) => {
                self.found().has_tries = true;
                vec![Segment::Try(self.inside(attempt), self.inside(except))]
            }
            // One that stands in nothing was told.
            Esi::Branch(..) => Vec::new(),
        }
    }
}

/// The fragment of an include. `fallback`: what stands for it if it fails.
pub(crate) fn fragment(include: &Include, src: &Arc<EsiText>, at: SourceSpan, fallback: Arc<[Segment]>) -> FragmentUse {
    let service = FragmentSource::Included { src: Arc::clone(src), goes_on: include.goes_on };
    FragmentUse { fallback, ..FragmentUse::new(Name::from(ID), service, at) }
}

impl<'a> Builder<'a> for Assembler<'a> {
    fn found(&mut self) -> &mut Found {
        &mut self.found
    }

    fn inside(&mut self, nodes: &'a [Node]) -> Arc<[Segment]> {
        let mut parts = Parts::default();
        Assembler::inside(self, nodes, &mut parts);
        parts.finish()
    }

    fn include(&mut self, include: &'a Include) -> Option<Segment> {
        let index = self.room(&include.at)?;
        self.wishes.push(Wish::Named(ID.to_owned()));
        let alt = include.alt.as_ref().and_then(|alt| Some((alt, self.room(&include.at)?)));
        let mut fallback = Arc::default();
        if let Some((alt, index)) = alt {
            self.wishes.push(Wish::Named(ID.to_owned()));
            self.upstream(alt);
            self.fragments[index] = Some(fragment(include, &alt.value, include.at.clone(), Arc::default()));
            fallback = Arc::from([Segment::Fragment(index)]);
        }
        self.upstream(&include.src);
        self.fragments[index] = Some(fragment(include, &include.src.value, include.at.clone(), fallback));
        Some(Segment::Fragment(index))
    }

    /// Tells of variables that there are not.
    fn uses(&mut self, variables: &mut dyn Iterator<Item = (&str, Option<&str>)>, at: &SourceSpan) {
        for (name, key) in variables {
            let query = &self.page.front.query;
            let problem = match (name, key) {
                (name, _) if !NAMES.contains(&name) => {
                    let help =
                        names::did_you_mean(name, NAMES).unwrap_or_else(|| format!("there are {}", NAMES.join(", ")));
                    (format!("nothing is called `$({name})`"), help)
                }
                ("HTTP_COOKIE", None) => {
                    let help = "name the one that is meant: `$(HTTP_COOKIE{NAME})`".to_owned();
                    ("a page depends on no cookie but those that it names".to_owned(), help)
                }
                ("QUERY_STRING", Some(key))
                    if self.routes.iter().any(|r| r.value.parameters().iter().any(|p| p == key)) =>
                {
                    let help = format!("use `<fragment … data-{key}=\"{{{key}}}\">`");
                    (format!("`{key}` is a part of the path, which ESI knows nothing of"), help)
                }
                ("QUERY_STRING", Some(key)) if !query.iter().any(|known| known == key) => {
                    let help = names::did_you_mean(key, query.iter().map(String::as_str))
                        .unwrap_or_else(|| format!("add `query = [\"{key}\"]` to the front matter"));
                    (format!("`{key}` is no declared query parameter"), help)
                }
                ("HTTP_HOST" | "HTTP_REFERER", Some(key)) => {
                    (format!("`{name}` has no `{{{key}}}`"), format!("write `$({name})`"))
                }
                ("HTTP_USER_AGENT", Some(key)) if !agent::KEYS.contains(&key) => {
                    (format!("`{name}` has no `{{{key}}}`"), format!("there are {}", agent::KEYS.join(", ")))
                }
                _ => continue,
            };
            let (message, help) = problem;
            self.problems.push(Diagnostic::new(Code::UnknownPlaceholder, at.clone(), message).help(help));
        }
    }
}

impl Assembler<'_> {
    /// Tells of an include that leads to no allowed upstream, whatever its variables are.
    fn upstream(&mut self, src: &Located<Arc<EsiText>>) {
        self.uses(&mut src.value.used(), &src.at);
        let start = match src.value.pieces().first() {
            Some(Piece::Literal(text)) => text.as_str(),
            _ => "",
        };
        // With a variable in its first part, it would be the reader's choice whom to ask.
        let whole = src.value.pieces().len() == 1;
        let fixed = whole || start.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?']));
        let brace = src.value.pieces().iter().any(|piece| matches!(piece, Piece::Literal(text) if text.contains('{')));
        let problem = match upstreams::source(start) {
            _ if brace => {
                let help = "ESI knows the query: `$(QUERY_STRING{name})`; parts of the path are for `<fragment>`";
                Diagnostic::new(Code::BadValue, src.at.clone(), "`{` means nothing in a URL of ESI").help(help)
            }
            _ if start.is_empty() || (start.contains("://") && !fixed) => {
                let help = "write it like `https://fragments.example.org/$(…)`";
                Diagnostic::new(Code::BadValue, src.at.clone(), "a variable stands where the upstream should be")
                    .help(help)
            }
            Err(error) => {
                let help = "a layout is nobody's answer: write it like `https://fragments.example.org/weather`";
                Diagnostic::new(Code::BadValue, src.at.clone(), error.to_string()).help(help)
            }
            Ok(url) => match self.refused(&url, &src.at) {
                Some(problem) => problem,
                None => return,
            },
        };
        self.problems.push(problem);
    }

    /// That a URL is on no allowed upstream.
    pub(crate) fn refused(&self, url: &Url, at: &SourceSpan) -> Option<Diagnostic> {
        if self.surroundings.allowed.iter().any(|allowed| allowed.covers(url)) {
            return None;
        }
        let origin = url.origin().ascii_serialization();
        let message = format!("`{origin}` is no allowed upstream");
        let problem = Diagnostic::new(Code::UpstreamNotAllowed, at.clone(), message);
        Some(problem.help(format!("an operator allows it in pasteup.toml: [upstreams] allow = [\"{origin}\"]")))
    }
}
