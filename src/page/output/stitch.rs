//! Joins a plan and its outcomes to the chunks of a page. Chunks are shared; small ones are copied together to be sent.
//! What is not known yet holds up what stands behind it, and nothing before it.

use std::sync::Arc;

use bytes::Bytes;

use crate::page::browser::late::Names;
use crate::page::browser::lazy;
use crate::page::html::text::{Text, concat};
use crate::page::layout::Segment;
use crate::page::layout::syntax::node::Load;
use crate::page::manifest::assets::Asset;
use crate::page::plan::{Outcomes, Plan, Scope};
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::response::parsed::Content;
use crate::page::source::map::Set;

/// The page's chunks, in order. All outcomes that it needs are known.
#[must_use]
pub fn stitch(plan: &Plan, outcomes: &Outcomes) -> Vec<Text> {
    Stitcher::new(plan).advance(plan, outcomes)
}

/// The same, with a comment before and behind what each hole holds: `<!--MARK 3-->` and `<!--/MARK 3-->`.
#[must_use]
pub fn stitch_marked(plan: &Plan, outcomes: &Outcomes, mark: &str) -> Vec<Text> {
    Stitcher { mark: Some(mark.to_owned()), ..Stitcher::new(plan) }.advance(plan, outcomes)
}

/// The same, and where the bytes of which hole stand that is filled with bytes alone: the chunk's number and the hole's.
#[must_use]
pub fn stitch_open(plan: &Plan, outcomes: &Outcomes) -> (Vec<Text>, Vec<(usize, usize)>) {
    let mut stitcher = Stitcher { filled: Some(Vec::new()), ..Stitcher::new(plan) };
    let chunks = stitcher.advance(plan, outcomes);
    (chunks, stitcher.filled.unwrap_or_default())
}

/// Chunks of fewer bytes are gathered; larger ones stay where they are.
const LARGE: usize = 8 << 10;

/// Chunks in few pieces.
#[derive(Debug)]
pub struct Gathered {
    /// The same bytes.
    pub pieces: Vec<Text>,
    /// How many of them were copied. The others are shared with the answers that they came in.
    pub copied: usize,
}

/// Copies small chunks together: each would be a frame of its own, of which the socket takes sixteen at once, and each
/// time it takes some, whoever reads them is woken.
#[must_use]
pub fn gathered(chunks: &[Text]) -> Gathered {
    let (mut pieces, mut copied) = (Vec::new(), 0);
    for run in chunks.chunk_by(|a, b| a.len() < LARGE && b.len() < LARGE) {
        match run {
            [large] if large.len() >= LARGE => pieces.push(large.clone()),
            small => {
                let piece = concat(small);
                copied += piece.len();
                pieces.push(Bytes::from(piece).into());
            }
        }
    }
    Gathered { pieces, copied }
}

/// A page that is stitched in document order, as far as its outcomes are known.
pub struct Stitcher {
    /// Where it is: in parts, inside parts.
    open: Vec<Place>,
    /// Assets that are in the page already.
    met: Set<(String, String)>,
    /// How late parts are named; `None` where all stand in their places.
    names: Option<Names>,
    /// Holes that were passed by, and are still to be sent.
    waiting: Vec<usize>,
    /// Something was sent late already.
    has_sent: bool,
    /// What comments around holes are called; `None`: there are none.
    mark: Option<String>,
    /// Which chunk fills which hole, where that is noted.
    filled: Option<Vec<(usize, usize)>>,
}

/// A place among parts.
struct Place {
    parts: Arc<[Segment]>,
    scope: Scope,
    /// What comes next.
    at: usize,
}

impl Place {
    fn start((parts, scope): (&Arc<[Segment]>, Scope)) -> Self {
        Self { parts: Arc::clone(parts), scope, at: 0 }
    }
}

impl Stitcher {
    /// Begins a page whose parts all stand in their places.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let (parts, scope) = plan.root();
        Self {
            open: vec![Place { parts, scope, at: 0 }],
            met: Set::default(),
            names: None,
            waiting: Vec::new(),
            has_sent: false,
            mark: None,
            filled: None,
        }
    }

    /// Begins a page that passes by what is loaded late. `salt`: a number that nobody can guess.
    #[must_use]
    pub fn streaming(plan: &Plan, salt: u64) -> Self {
        Self { names: plan.template.scripts.late.map(|script| Names::new(salt, script)), ..Self::new(plan) }
    }

    /// Whether the page has come to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// The chunks up to the first fragment whose outcome is not known, and that must not be passed by.
    pub fn advance(&mut self, plan: &Plan, outcomes: &Outcomes) -> Vec<Text> {
        let mut chunks = Vec::new();
        self.go_on(plan, outcomes, 0, &mut chunks);
        if self.open.is_empty() {
            self.send_late(plan, outcomes, &mut chunks);
        }
        chunks
    }

    /// Goes on until so many places are open.
    fn go_on(&mut self, plan: &Plan, outcomes: &Outcomes, until: usize, chunks: &mut Vec<Text>) {
        while self.open.len() > until {
            let place = self.open.last_mut().expect("one is open");
            let scope = place.scope;
            let Some(part) = place.parts.get(place.at).cloned() else {
                self.open.pop();
                continue;
            };
            let mut close = None;
            let inside = match part {
                Segment::Text(text) => {
                    chunks.push(text.into());
                    None
                }
                Segment::When(condition, inside) => {
                    plan.is_shown(scope, condition).then(|| Place::start((&inside, scope)))
                }
                Segment::Value(value) => {
                    chunks.push(plan.value(scope, value).into());
                    None
                }
                Segment::Try(attempt, except) => match plan.has_failed(&attempt, scope, outcomes) {
                    Some(failed) => Some(Place::start((if failed { &except } else { &attempt }, scope))),
                    None => break,
                },
                Segment::Slot(name, default) => Some(Place::start(plan.slot_content(scope, &name, &default))),
                Segment::Assets => {
                    let assets = self.all_assets(plan, outcomes);
                    chunks.extend((!assets.is_empty()).then(|| Bytes::from(assets).into()));
                    None
                }
                Segment::Late => {
                    self.send_late(plan, outcomes, chunks);
                    if !self.waiting.is_empty() {
                        break;
                    }
                    None
                }
                Segment::Fragment(fragment) => match plan.part(scope, fragment) {
                    Err(fallback) => Some(Place::start((fallback, scope))),
                    Ok(hole) if plan.lazy_address(hole).is_some() => {
                        let (open, behind) = plan.lazy_tags(hole).unwrap_or_default();
                        let (mark, end) = self.marks(hole).unzip();
                        chunks.extend(mark.map(Text::from));
                        chunks.push(open.into());
                        let behind = [behind].into_iter().chain(end).map(Segment::Text).collect();
                        close = Some(Place::start((&behind, scope)));
                        Some(Place::start(plan.fallback(hole)))
                    }
                    Ok(hole) => match (&outcomes[hole], self.names) {
                        (Some(outcome), _) => {
                            if let Some((mark, end)) = self.marks(hole) {
                                chunks.push(mark.into());
                                close = Some(Place::start((&Arc::from([Segment::Text(end)]), scope)));
                            }
                            self.shown(plan, hole, outcome, chunks)
                        }
                        (None, Some(names)) if plan.parts[hole].fragment.load == Load::Defer => {
                            chunks.push(names.begin(hole).into());
                            plan.write_placeholder(hole, chunks);
                            chunks.push(Names::end().into());
                            self.waiting.push(hole);
                            None
                        }
                        (None, _) => break,
                    },
                },
            };
            self.open.last_mut().expect("one is open").at += 1;
            self.open.extend(close.into_iter().chain(inside));
        }
    }

    /// The comments around a hole.
    fn marks(&self, hole: usize) -> Option<(Bytes, Bytes)> {
        let mark = self.mark.as_ref()?;
        Some((Bytes::from(format!("<!--{mark} {hole}-->")), Bytes::from(format!("<!--/{mark} {hole}-->"))))
    }

    /// Sends what was passed by and has come since, in whatever order.
    fn send_late(&mut self, plan: &Plan, outcomes: &Outcomes, chunks: &mut Vec<Text>) {
        let Some(names) = self.names else { return };
        for hole in std::mem::take(&mut self.waiting) {
            let Some(outcome) = outcomes[hole].as_ref().filter(|_| plan.is_known(hole, outcomes)) else {
                self.waiting.push(hole);
                continue;
            };
            // A fallback of bytes alone stands there already, and so does nothing in place of nothing.
            let stays = match outcome.shown {
                Shown::Fallback => plan.has_plain_fallback(hole),
                Shown::Omitted => plan.parts[hole].fragment.fallback.is_empty(),
                Shown::Fresh | Shown::Stale => false,
            };
            if stays {
                continue;
            }
            if !std::mem::replace(&mut self.has_sent, true) {
                chunks.push(Names::end_paragraph().into());
            }
            chunks.push(names.open(hole).into());
            // Whatever stands inside is in its place there.
            let (names_of_page, open) = (self.names.take(), self.open.len());
            let inside = self.shown(plan, hole, outcome, chunks);
            self.open.extend(inside);
            self.go_on(plan, outcomes, open, chunks);
            self.names = names_of_page;
            chunks.push(names.close().into());
        }
    }

    /// What stands in a hole, led by what the head did not hold yet when it left.
    fn shown(&mut self, plan: &Plan, hole: usize, outcome: &Outcome, chunks: &mut Vec<Text>) -> Option<Place> {
        let shown = matches!(outcome.shown, Shown::Fresh | Shown::Stale);
        if let Some(answer) = outcome.response.as_ref().filter(|_| shown) {
            let late = self.new_assets(answer.assets.iter());
            chunks.extend((!late.is_empty()).then(|| Bytes::from(late).into()));
            if let (Content::Fragment(html), None) = (&answer.content, plan.content(hole, outcome)) {
                if let Some(filled) = &mut self.filled {
                    filled.push((chunks.len(), hole));
                }
                chunks.push(html.clone());
            }
        }
        plan.content(hole, outcome).map(Place::start)
    }

    /// What the page needs in its head, as far as it is known, in document order: of shown fragments what
    /// they name, and of those that are still to come what their manifests do.
    fn all_assets(&mut self, plan: &Plan, outcomes: &Outcomes) -> String {
        let lazy =
            plan.template.scripts.lazy.filter(|_| (0..plan.parts.len()).any(|hole| plan.lazy_address(hole).is_some()));
        let mut html = lazy.map(lazy::loads).unwrap_or_default();
        for hole in plan.in_order(outcomes) {
            let outcome = outcomes[hole].as_ref();
            let shown = outcome.is_none_or(|outcome| matches!(outcome.shown, Shown::Fresh | Shown::Stale));
            if let (true, Some(manifest)) = (shown, plan.manifest_of(hole)) {
                html.push_str(&self.new_assets(manifest.assets.iter()));
            }
            let answer = outcome.filter(|_| shown).and_then(|outcome| outcome.response.as_ref());
            html.push_str(&self.new_assets(answer.into_iter().flat_map(|answer| &answer.assets)));
        }
        html
    }

    /// The elements of assets that the page does not hold yet.
    fn new_assets<'a>(&mut self, assets: impl Iterator<Item = &'a Asset>) -> String {
        assets.filter(|asset| self.met.insert((asset.rel.clone(), asset.href.clone()))).map(Asset::html).collect()
    }
}
