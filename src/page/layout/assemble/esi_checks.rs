//! Checks ESI in layouts: what it may include, and which variables it may use.
//! A variable that does not exist, and an include that leads to no allowed upstream, are errors.

use std::sync::Arc;

use url::Url;

use crate::page::esi::agent;
use crate::page::esi::text::{EsiText, Piece};
use crate::page::esi::variables::NAMES;
use crate::page::layout::syntax::node::{Include, Node};
use crate::page::layout::template::segment::Segment;
use crate::page::manifest::upstreams;
use crate::page::source::diagnostic::{Code, Diagnostic, Located, SourceSpan};
use crate::page::source::names;

use super::assembler::Assembler;
use super::esi::{EsiBuilder, ID, SegmentTables, fragment};
use super::ids::IdSource;
use super::segments::SegmentBuilder;

impl<'a> EsiBuilder<'a> for Assembler<'a> {
    fn tables(&mut self) -> &mut SegmentTables {
        &mut self.tables
    }

    fn inside(&mut self, nodes: &'a [Node]) -> Arc<[Segment]> {
        let mut segments = SegmentBuilder::default();
        Assembler::inside(self, nodes, &mut segments);
        segments.finish()
    }

    fn include(&mut self, include: &'a Include) -> Option<Segment> {
        let index = self.next_index(&include.at)?;
        self.ids.push(IdSource::Name(ID.to_owned()));
        let alt = include.alt.as_ref().and_then(|alt| Some((alt, self.next_index(&include.at)?)));
        let mut fallback = Arc::default();
        if let Some((alt, index)) = alt {
            self.ids.push(IdSource::Name(ID.to_owned()));
            self.check_upstream(alt);
            self.fragments[index] = Some(fragment(include, &alt.value, include.at.clone(), Arc::default()));
            fallback = Arc::from([Segment::Fragment(index)]);
        }
        self.check_upstream(&include.src);
        self.fragments[index] = Some(fragment(include, &include.src.value, include.at.clone(), fallback));
        Some(Segment::Fragment(index))
    }

    /// Reports variables that do not exist.
    fn use_variables(&mut self, variables: &mut dyn Iterator<Item = (&str, Option<&str>)>, at: &SourceSpan) {
        for (name, key) in variables {
            let query = &self.page.front.query;
            let problem = match (name, key) {
                (name, _) if !NAMES.contains(&name) => {
                    let help =
                        names::did_you_mean(name, NAMES).unwrap_or_else(|| format!("available: {}", NAMES.join(", ")));
                    (format!("there is no variable `$({name})`"), help)
                }
                ("HTTP_COOKIE", None) => {
                    let help = "name the cookie: `$(HTTP_COOKIE{NAME})`".to_owned();
                    ("a page can depend only on cookies that it names".to_owned(), help)
                }
                ("QUERY_STRING", Some(key))
                    if self.routes.iter().any(|r| r.value.parameters().iter().any(|p| p == key)) =>
                {
                    let help = format!("use `<fragment … data-{key}=\"{{{key}}}\">`");
                    (format!("`{key}` is part of the path, which ESI cannot read"), help)
                }
                ("QUERY_STRING", Some(key)) if !query.iter().any(|known| known == key) => {
                    let help = names::did_you_mean(key, query.iter().map(String::as_str))
                        .unwrap_or_else(|| format!("add `query = [\"{key}\"]` to the front matter"));
                    (format!("`{key}` is not a declared query parameter"), help)
                }
                ("HTTP_HOST" | "HTTP_REFERER", Some(key)) => {
                    (format!("`{name}` has no `{{{key}}}`"), format!("write `$({name})`"))
                }
                ("HTTP_USER_AGENT", Some(key)) if !agent::KEYS.contains(&key) => {
                    (format!("`{name}` has no `{{{key}}}`"), format!("available: {}", agent::KEYS.join(", ")))
                }
                _ => continue,
            };
            let (message, help) = problem;
            self.problems.push(Diagnostic::new(Code::UnknownPlaceholder, at.clone(), message).help(help));
        }
    }
}

impl Assembler<'_> {
    /// Reports an include that leads to no allowed upstream, whatever the values of its variables.
    fn check_upstream(&mut self, src: &Located<Arc<EsiText>>) {
        self.use_variables(&mut src.value.used(), &src.at);
        let start = match src.value.pieces().first() {
            Some(Piece::Literal(text)) => text.as_str(),
            _ => "",
        };
        // With a variable in its host, the client would choose the upstream.
        let whole = src.value.pieces().len() == 1;
        let fixed = whole || start.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?']));
        let brace = src.value.pieces().iter().any(|piece| matches!(piece, Piece::Literal(text) if text.contains('{')));
        let problem = match upstreams::source(start) {
            _ if brace => {
                let help =
                    "ESI can read the query: `$(QUERY_STRING{name})`; parameters of the path work only in `<fragment>`";
                Diagnostic::new(Code::BadValue, src.at.clone(), "`{` has no meaning in a URL of ESI").help(help)
            }
            _ if start.is_empty() || (start.contains("://") && !fixed) => {
                let help = "write it like `https://fragments.example.org/$(…)`";
                Diagnostic::new(Code::BadValue, src.at.clone(), "there is a variable where the upstream should be")
                    .help(help)
            }
            Err(error) => {
                let help = "a layout has no upstream to which a URL could be relative: write it like `https://fragments.example.org/weather`";
                Diagnostic::new(Code::BadValue, src.at.clone(), error.to_string()).help(help)
            }
            Ok(url) => match self.refused(&url, &src.at) {
                Some(problem) => problem,
                None => return,
            },
        };
        self.problems.push(problem);
    }

    /// The error that a URL is on no allowed upstream. `None`: it is on one.
    pub(super) fn refused(&self, url: &Url, at: &SourceSpan) -> Option<Diagnostic> {
        if self.context.allowed.iter().any(|allowed| allowed.covers(url)) {
            return None;
        }
        let origin = url.origin().ascii_serialization();
        let message = format!("`{origin}` is not an allowed upstream");
        let problem = Diagnostic::new(Code::UpstreamNotAllowed, at.clone(), message);
        Some(problem.help(format!("an operator can allow it in pasteup.toml: [upstreams] allow = [\"{origin}\"]")))
    }
}
