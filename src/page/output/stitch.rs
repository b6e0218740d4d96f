//! Stitches a plan and its outcomes into the chunks of a page. Chunks are shared, not copied; only small ones are merged.
//! A part whose outcome is not known holds up what follows it on the page, unless it is deferred.

use std::sync::Arc;

use bytes::Bytes;

use crate::page::browser::late::Names;
use crate::page::browser::scripts::Script;
use crate::page::html::text::{Text, concat};
use crate::page::layout::Segment;
use crate::page::layout::syntax::node::Load;
use crate::page::manifest::assets::Asset;
use crate::page::plan::{Outcomes, Plan, Scope};
use crate::page::response::outcome::{Outcome, Shown};
use crate::page::response::parsed::Content;
use crate::page::source::map::Set;

/// Stitches a page whose outcomes are all known, and returns its chunks in order.
#[must_use]
pub fn stitch(plan: &Plan, outcomes: &Outcomes) -> Vec<Text> {
    Stitcher::new(plan).advance(plan, outcomes)
}

/// Stitches a page like [`stitch`], with comments around the content of each part: `<!--MARK 3-->` and `<!--/MARK 3-->`.
#[must_use]
pub fn stitch_marked(plan: &Plan, outcomes: &Outcomes, mark: &str) -> Vec<Text> {
    Stitcher { mark: Some(mark.to_owned()), ..Stitcher::new(plan) }.advance(plan, outcomes)
}

/// Stitches a page like [`stitch`], and also returns which chunk is the content of which part: the numbers of both. Parts
/// whose content has segments of its own are not listed.
#[must_use]
pub fn stitch_skeleton(plan: &Plan, outcomes: &Outcomes) -> (Vec<Text>, Vec<(usize, usize)>) {
    let mut stitcher = Stitcher { part_chunks: Some(Vec::new()), ..Stitcher::new(plan) };
    let chunks = stitcher.advance(plan, outcomes);
    (chunks, stitcher.part_chunks.unwrap_or_default())
}

/// Chunks of at least this many bytes are shared; smaller ones are merged.
const LARGE: usize = 8 << 10;

/// A page's chunks after small ones were merged.
#[derive(Debug)]
pub struct MergedChunks {
    /// The merged chunks, with the same bytes in the same order.
    pub chunks: Vec<Text>,
    /// The number of bytes that were copied. The others are shared with the responses and the layout.
    pub copied: usize,
}

/// Copies adjacent small chunks into one. Otherwise each would be a frame of its own, a page would take many writes, and
/// each write would wake its receiver.
#[must_use]
pub fn merge_small_chunks(chunks: &[Text]) -> MergedChunks {
    let (mut merged, mut copied) = (Vec::new(), 0);
    for run in chunks.chunk_by(|a, b| a.len() < LARGE && b.len() < LARGE) {
        match run {
            [large] if large.len() >= LARGE => merged.push(large.clone()),
            small => {
                let chunk = concat(small);
                copied += chunk.len();
                merged.push(Bytes::from(chunk).into());
            }
        }
    }
    MergedChunks { chunks: merged, copied }
}

/// Stitches a page in document order, as far as its outcomes are known.
pub struct Stitcher {
    /// The position in the page: the lists of segments that are not finished, outermost first.
    open: Vec<Level>,
    /// The `rel` and `href` of the assets that the page contains already.
    linked: Set<(String, String)>,
    /// How late parts are named; `None` if all parts are sent in document order.
    names: Option<Names>,
    /// Deferred parts, whose content is still to be sent.
    waiting: Vec<usize>,
    /// Whether the content of a deferred part has been sent.
    has_sent_late: bool,
    /// The name in the comments around parts; `None` if there are no such comments.
    mark: Option<String>,
    /// The numbers of a chunk and of the part that it fills; `None` if they are not recorded.
    part_chunks: Option<Vec<(usize, usize)>>,
}

/// A list of segments that is not finished.
struct Level {
    segments: Arc<[Segment]>,
    scope: Scope,
    /// The index of the next segment.
    next: usize,
}

impl Level {
    fn start((segments, scope): (&Arc<[Segment]>, Scope)) -> Self {
        Self { segments: Arc::clone(segments), scope, next: 0 }
    }
}

impl Stitcher {
    /// Begins a page whose parts are all sent in document order.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let (segments, scope) = plan.root();
        Self {
            open: vec![Level { segments, scope, next: 0 }],
            linked: Set::default(),
            names: None,
            waiting: Vec::new(),
            has_sent_late: false,
            mark: None,
            part_chunks: None,
        }
    }

    /// Begins a page whose deferred parts are sent after all others. `salt`: an unpredictable number.
    #[must_use]
    pub fn streaming(plan: &Plan, salt: u64) -> Self {
        Self { names: plan.template.scripts.late.map(|script| Names::new(salt, script)), ..Self::new(plan) }
    }

    /// Whether all chunks of the page were returned.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// The next chunks, up to the first part that is not deferred and whose outcome is not known.
    pub fn advance(&mut self, plan: &Plan, outcomes: &Outcomes) -> Vec<Text> {
        let mut chunks = Vec::new();
        self.stitch_until(plan, outcomes, 0, &mut chunks);
        if self.open.is_empty() {
            self.send_late(plan, outcomes, &mut chunks);
        }
        chunks
    }

    /// Appends chunks until only `depth` levels are open, or until an outcome is needed that is not known.
    fn stitch_until(&mut self, plan: &Plan, outcomes: &Outcomes, depth: usize, chunks: &mut Vec<Text>) {
        while self.open.len() > depth {
            let level = self.open.last_mut().expect("more levels are open than `depth`");
            let scope = level.scope;
            let Some(segment) = level.segments.get(level.next).cloned() else {
                self.open.pop();
                continue;
            };
            let mut close = None;
            let inside = match segment {
                Segment::Text(text) => {
                    chunks.push(text.into());
                    None
                }
                Segment::When(condition, inside) => {
                    plan.is_shown(scope, condition).then(|| Level::start((&inside, scope)))
                }
                Segment::Value(value) => {
                    chunks.push(plan.value(scope, value).into());
                    None
                }
                Segment::Try(attempt, except) => match plan.has_failed(&attempt, scope, outcomes) {
                    Some(failed) => Some(Level::start((if failed { &except } else { &attempt }, scope))),
                    None => break,
                },
                Segment::Slot(name, default) => Some(Level::start(plan.slot_content(scope, &name, &default))),
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
                    Err(fallback) => Some(Level::start((fallback, scope))),
                    Ok(part) if plan.lazy_address(part).is_some() => {
                        let (start_tag, end_tag) = plan.lazy_tags(part).unwrap_or_default();
                        let (mark, end) = self.marks(part).unzip();
                        chunks.extend(mark.map(Text::from));
                        chunks.push(start_tag.into());
                        let after = [end_tag].into_iter().chain(end).map(Segment::Text).collect();
                        close = Some(Level::start((&after, scope)));
                        Some(Level::start(plan.fallback(part)))
                    }
                    Ok(part) => match (&outcomes[part], self.names) {
                        (Some(outcome), _) => {
                            if let Some((mark, end)) = self.marks(part) {
                                chunks.push(mark.into());
                                close = Some(Level::start((&Arc::from([Segment::Text(end)]), scope)));
                            }
                            self.shown(plan, part, outcome, chunks)
                        }
                        (None, Some(names)) if plan.parts[part].fragment.load == Load::Defer => {
                            chunks.push(names.begin(part).into());
                            plan.write_placeholder(part, chunks);
                            chunks.push(Names::end().into());
                            self.waiting.push(part);
                            None
                        }
                        (None, _) => break,
                    },
                },
            };
            self.open.last_mut().expect("the level of this segment is open").next += 1;
            self.open.extend(close.into_iter().chain(inside));
        }
    }

    /// The comments around a part.
    fn marks(&self, part: usize) -> Option<(Bytes, Bytes)> {
        let mark = self.mark.as_ref()?;
        Some((Bytes::from(format!("<!--{mark} {part}-->")), Bytes::from(format!("<!--/{mark} {part}-->"))))
    }

    /// Appends the content of deferred parts whose outcomes are known by now.
    fn send_late(&mut self, plan: &Plan, outcomes: &Outcomes, chunks: &mut Vec<Text>) {
        let Some(names) = self.names else { return };
        for part in std::mem::take(&mut self.waiting) {
            let Some(outcome) = outcomes[part].as_ref().filter(|_| plan.is_known(part, outcomes)) else {
                self.waiting.push(part);
                continue;
            };
            if plan.shows_placeholder(part, outcome) {
                continue;
            }
            if !std::mem::replace(&mut self.has_sent_late, true) && plan.template.html.leaves_paragraph_open {
                chunks.push(Names::end_paragraph().into());
            }
            chunks.push(names.open(part).into());
            // Parts nested in a late part are sent in place.
            let (names_of_page, open) = (self.names.take(), self.open.len());
            let inside = self.shown(plan, part, outcome, chunks);
            self.open.extend(inside);
            self.stitch_until(plan, outcomes, open, chunks);
            self.names = names_of_page;
            chunks.push(names.close().into());
        }
    }

    /// Appends the content of a part, preceded by assets that the page does not contain yet. Returns the content instead if
    /// it has segments.
    fn shown(&mut self, plan: &Plan, part: usize, outcome: &Outcome, chunks: &mut Vec<Text>) -> Option<Level> {
        let shown = matches!(outcome.shown, Shown::Fresh | Shown::Stale);
        if let Some(response) = outcome.response.as_ref().filter(|_| shown) {
            let late = self.new_assets(response.assets.iter());
            chunks.extend((!late.is_empty()).then(|| Bytes::from(late).into()));
            if let (Content::Fragment(html), None) = (&response.content, plan.content(part, outcome)) {
                if let Some(part_chunks) = &mut self.part_chunks {
                    part_chunks.push((chunks.len(), part));
                }
                chunks.push(html.clone());
            }
        }
        plan.content(part, outcome).map(Level::start)
    }

    /// The assets for the page's head, in document order: those in the responses and manifests of shown parts, and those
    /// in the manifests of parts whose outcomes are not known.
    fn all_assets(&mut self, plan: &Plan, outcomes: &Outcomes) -> String {
        let lazy =
            plan.template.scripts.lazy.filter(|_| (0..plan.parts.len()).any(|part| plan.lazy_address(part).is_some()));
        let mut html = lazy.map(Script::element).unwrap_or_default();
        for part in plan.in_order(outcomes) {
            let outcome = outcomes[part].as_ref();
            let shown = outcome.is_none_or(|outcome| matches!(outcome.shown, Shown::Fresh | Shown::Stale));
            if let (true, Some(manifest)) = (shown, plan.manifest_of(part)) {
                html.push_str(&self.new_assets(manifest.assets.iter()));
            }
            let response = outcome.filter(|_| shown).and_then(|outcome| outcome.response.as_ref());
            html.push_str(&self.new_assets(response.into_iter().flat_map(|response| &response.assets)));
        }
        html
    }

    /// The elements of those assets that the page does not contain yet.
    fn new_assets<'a>(&mut self, assets: impl Iterator<Item = &'a Asset>) -> String {
        assets.filter(|asset| self.linked.insert((asset.rel.clone(), asset.href.clone()))).map(Asset::html).collect()
    }
}
