//! Names what clients waited for: for each page and part, what the page would have taken had this part taken no time.
//! A part that waited for another one would have begun earlier.

use crate::page::output::waterfall::{Bar, Waterfall};

use super::recorder::{PageReport, RunReport};

/// The quantile that blame is about.
const TAIL: f64 = 0.99;
/// What saves less than this is not worth a line, in milliseconds.
const LEAST: f64 = 0.001;

/// What is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The nanoservice took its time.
    Service,
    /// Its requests waited for a free slot of its endpoint.
    Lane,
    /// Its requests were sent again.
    Retry,
    /// The compositor itself.
    Compositor,
    /// Everything between the client and the compositor.
    Network,
}

impl Kind {
    /// Its name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Lane => "lane",
            Self::Retry => "retry",
            Self::Compositor => "compositor",
            Self::Network => "network",
        }
    }
}

/// What a page would have taken without something.
#[derive(Debug, Clone, PartialEq)]
pub struct Blame {
    /// The path as it was given.
    pub path: String,
    /// The nanoservice, and the part that it fills; `None` if no part is to blame.
    pub part: Option<BlamedPart>,
    /// What took the time.
    pub kind: Kind,
    /// The page's p99.
    pub p99_ms: f64,
    /// Its p99 without this.
    pub without_ms: f64,
    /// How much shorter the page would have been on average.
    pub mean_saved_ms: f64,
}

/// A part that is to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlamedPart {
    /// The nanoservice.
    pub fragment: String,
    /// The part's id.
    pub id: String,
    /// Where it is in its layout.
    pub at: String,
}

impl Blame {
    /// How much shorter the page's p99 would have been.
    #[must_use]
    pub fn saved_ms(&self) -> f64 {
        self.p99_ms - self.without_ms
    }
}

/// A page as its clients saw it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Path and query as they were sent.
    pub target: &'a str,
    /// The path as it was given.
    pub path: &'a str,
    /// Its p99, from the moment at which a request was to leave.
    pub p99_ms: f64,
    /// Its mean.
    pub mean_ms: f64,
}

/// The requests of a page with their weights: each of the slowest counts as one, and those of the sample for all others.
struct Requests<'a> {
    all: Vec<(&'a Waterfall, f64)>,
    p99: f64,
    mean: f64,
}

/// What is to blame for each page, the worst first.
#[must_use]
pub fn blame(report: &RunReport, seen: &[Seen<'_>]) -> Vec<Blame> {
    let mut all: Vec<Blame> = seen
        .iter()
        .filter_map(|page| {
            let index = report.pages.iter().position(|recorded| recorded.path == page.target)?;
            Some(blame_page(report, index, page))
        })
        .flatten()
        .collect();
    all.sort_by(|a, b| {
        let by_tail = b.saved_ms().total_cmp(&a.saved_ms());
        by_tail.then(b.mean_saved_ms.total_cmp(&a.mean_saved_ms))
    });
    all
}

fn blame_page(report: &RunReport, index: usize, seen: &Seen<'_>) -> Vec<Blame> {
    let page = &report.pages[index];
    let requests = Requests::of(report, index, page);
    let row = |part, kind, saved: f64, mean_saved_ms: f64| Blame {
        path: seen.path.to_owned(),
        part,
        kind,
        p99_ms: seen.p99_ms,
        without_ms: (seen.p99_ms - saved.max(0.0)).max(0.0),
        mean_saved_ms,
    };
    let mut rows = Vec::new();
    for (part, known) in page.parts.iter().enumerate() {
        let (p99_saved, mean_saved) = requests.saved(|request| without_part(request, part));
        let name = &known.name;
        let blamed = BlamedPart {
            fragment: name.fragment.clone(),
            id: name.id.clone(),
            at: format!("{}:{}", name.file, name.line),
        };
        rows.push(row(Some(blamed), requests.kind(part), p99_saved, mean_saved));
    }
    let (p99_saved, mean_saved) = requests.saved(without_compositor);
    rows.push(row(None, Kind::Compositor, p99_saved, mean_saved));
    if !requests.all.is_empty() {
        let (p99_saved, mean_saved) = (seen.p99_ms - requests.p99, seen.mean_ms - requests.mean);
        rows.push(row(None, Kind::Network, p99_saved, mean_saved));
    }
    rows.retain(|row| row.saved_ms() > LEAST || row.mean_saved_ms > LEAST);
    rows
}

impl<'a> Requests<'a> {
    fn of(report: &'a RunReport, index: usize, page: &'a PageReport) -> Self {
        let slowest = page.slowest.iter();
        let threshold = page.slowest.last().map_or(f32::INFINITY, |fastest| fastest.took_ms);
        let is_slow =
            |one: &Waterfall| one.took_ms >= threshold && page.slowest.iter().any(|slow| slow.trace == one.trace);
        let sampled = report.sample.iter().filter(|one| one.page == index).map(|one| &one.waterfall);
        let others: Vec<&Waterfall> = sampled.filter(|one| !is_slow(one)).collect();
        let left = page.requests.saturating_sub(page.slowest.len() as u64);
        #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
        let weight = left as f64 / others.len().max(1) as f64;
        let all: Vec<_> = slowest.map(|one| (one, 1.0)).chain(others.into_iter().map(|one| (one, weight))).collect();
        let mut took: Vec<(f64, f64)> = all.iter().map(|(one, weight)| (f64::from(one.took_ms), *weight)).collect();
        let (p99, mean) = (quantile(&mut took, TAIL), mean(&took));
        Self { all, p99, mean }
    }

    /// How much shorter the p99 and the mean would be, if each request took so long.
    fn saved(&self, without: impl Fn(&Waterfall) -> f64) -> (f64, f64) {
        let mut shorter: Vec<(f64, f64)> = self.all.iter().map(|(one, weight)| (without(one), *weight)).collect();
        (self.p99 - quantile(&mut shorter, TAIL), self.mean - mean(&shorter))
    }

    /// What took the most time of a part: in the slow requests, or in all if it was fast in these.
    fn kind(&self, part: usize) -> Kind {
        let of = |is_slow: fn(f64, f64) -> bool| {
            let slow = self.all.iter().filter(|(one, _)| is_slow(f64::from(one.took_ms), self.p99));
            let bars = slow.flat_map(|(one, weight)| one.bars.iter().map(move |bar| (bar, *weight)));
            bars.filter(|(bar, _)| bar.part == part).fold([0.0; 3], |sums, (bar, weight)| {
                let phases = phases(bar).map(f64::from);
                std::array::from_fn(|phase| sums[phase] + phases[phase] * weight)
            })
        };
        let slow = of(|took, p99| took >= p99);
        let sums = if slow.iter().sum::<f64>() > LEAST { slow } else { of(|_, _| true) };
        let [lane, retry, service] = sums;
        if lane > retry && lane > service {
            Kind::Lane
        } else if retry > service {
            Kind::Retry
        } else {
            Kind::Service
        }
    }
}

/// How long a part waited for a free slot, was sent in vain, and was served.
#[must_use]
pub fn phases(bar: &Bar) -> [f32; 3] {
    let took = bar.end_ms - bar.start_ms;
    let Some(sent) = bar.sent_ms else {
        let is_lane = bar.reason.as_deref() == Some("overloaded");
        return if is_lane { [took, 0.0, 0.0] } else { [0.0, 0.0, took] };
    };
    let last = bar.last_sent_ms.unwrap_or(sent);
    // A program that starts is the service's business.
    let lane = (sent - bar.start_ms - bar.starting_ms).max(0.0);
    [lane, last - sent, bar.end_ms - last + bar.starting_ms]
}

/// What a page would have taken had a part taken no time: until the latest end of the others. Those that waited for it would
/// have begun earlier.
fn without_part(request: &Waterfall, part: usize) -> f64 {
    let bars = &request.bars;
    let end = |index: usize| new_end(bars, index, part, bars.len());
    let before = bars.iter().map(|bar| f64::from(bar.end_ms)).fold(0.0, f64::max);
    let after = (0..bars.len()).map(end).fold(0.0, f64::max);
    f64::from(request.took_ms) - (before - after)
}

/// When a bar would have ended without a part. `depth`: the maximum number of bars that it can have waited for.
fn new_end(bars: &[Bar], index: usize, part: usize, depth: usize) -> f64 {
    let bar = &bars[index];
    let shift = match bar.after.filter(|after| depth > 0 && *after < bars.len()) {
        Some(after) => f64::from(bars[after].end_ms) - new_end(bars, after, part, depth - 1),
        None => 0.0,
    };
    let own_end = if bar.part == part { bar.start_ms } else { bar.end_ms };
    f64::from(own_end) - shift
}

/// What a page would have taken had the compositor taken no time: from the first look-up to the last part.
fn without_compositor(request: &Waterfall) -> f64 {
    let first = request.bars.iter().map(|bar| f64::from(bar.start_ms)).fold(f64::INFINITY, f64::min);
    let last = request.bars.iter().map(|bar| f64::from(bar.end_ms)).fold(0.0, f64::max);
    (last - first).max(0.0)
}

/// The value below or at which so large a share of the weight lies. Zero if there are no values.
fn quantile(values: &mut [(f64, f64)], share: f64) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    let mut below = 0.0;
    for (value, weight) in values.iter() {
        below += weight;
        // Sums of weights are not exact.
        if below >= share * total * (1.0 - 1e-9) {
            return *value;
        }
    }
    values.last().map_or(0.0, |(value, _)| *value)
}

/// The mean of weighted values. Zero if there are none.
fn mean(values: &[(f64, f64)]) -> f64 {
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    if total == 0.0 { 0.0 } else { values.iter().map(|(value, weight)| value * weight).sum::<f64>() / total }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{PartReport, SampledWaterfall};
    use super::*;
    use crate::page::output::waterfall::PartName;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn bar(part: usize, start_ms: f32, end_ms: f32) -> Bar {
        Bar {
            part,
            after: None,
            start_ms,
            sent_ms: Some(start_ms),
            last_sent_ms: Some(start_ms),
            first_byte_ms: None,
            end_ms,
            starting_ms: 0.0,
            outcome: "fresh".into(),
            reason: None,
            cache: "miss".into(),
        }
    }

    fn request(trace: u128, bars: Vec<Bar>) -> Waterfall {
        let took_ms = bars.iter().map(|bar| bar.end_ms).fold(0.0, f32::max);
        Waterfall { trace, took_ms, bars }
    }

    /// A report of one page with these requests, of which the slowest ten are kept, and the blame for it.
    fn blamed(requests: &[Waterfall]) -> Vec<Blame> {
        let mut slowest = requests.to_vec();
        slowest.sort_by(|a, b| b.took_ms.total_cmp(&a.took_ms));
        let mut took: Vec<(f64, f64)> = slowest.iter().map(|one| (f64::from(one.took_ms), 1.0)).collect();
        let (p99_ms, mean_ms) = (quantile(&mut took, TAIL), mean(&took));
        slowest.truncate(10);
        let name = |id: &str| PartName {
            id: id.to_owned(),
            fragment: id.to_owned(),
            file: "layouts/a.html".to_owned(),
            line: 4,
        };
        let part = |id| PartReport { name: name(id), lookups: 1, p50_ms: 0.0, p99_ms: 0.0, max_ms: 0.0 };
        let report = RunReport {
            run: "run".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            requests: requests.len() as u64,
            pages: vec![PageReport {
                path: "/".to_owned(),
                requests: requests.len() as u64,
                hits: 0,
                stale: 0,
                fallbacks: 0,
                parts: ["a", "b", "c"].map(part).into(),
                slowest,
            }],
            sample: requests.iter().map(|one| SampledWaterfall { page: 0, waterfall: one.clone() }).collect(),
        };
        blame(&report, &[Seen { target: "/", path: "/", p99_ms, mean_ms }])
    }

    fn id(blame: &Blame) -> &str {
        blame.part.as_ref().map_or("", |part| &part.id)
    }

    #[test]
    fn the_part_that_ends_last_is_to_blame_for_the_time_after_the_others() {
        let all = blamed(&[request(1, vec![bar(0, 0.0, 412.0), bar(1, 0.0, 238.0), bar(2, 0.0, 5.0)])]);
        assert_eq!((id(&all[0]), all[0].p99_ms, all[0].without_ms), ("a", 412.0, 238.0));
        assert_eq!(all[0].part.as_ref().map(|part| &*part.at), Some("layouts/a.html:4"));
        assert_eq!(all.len(), 1, "without any other the page takes as long: {all:?}");
    }

    #[test]
    fn a_part_that_another_one_waited_for_is_to_blame_for_both() {
        // `b` is in the response of `a`, `c` in the fallback of `b`.
        let bars = vec![
            bar(0, 0.0, 300.0),
            Bar { after: Some(0), ..bar(1, 300.0, 310.0) },
            Bar { after: Some(1), ..bar(2, 310.0, 330.0) },
        ];
        let all = blamed(&[request(1, bars)]);
        let saved: Vec<(&str, f64)> = all.iter().map(|one| (id(one), one.without_ms)).collect();
        assert_eq!(saved, [("a", 30.0), ("c", 310.0), ("b", 320.0)]);
    }

    #[test]
    fn a_part_that_is_slow_once_in_fifty_is_to_blame_for_the_tail() {
        let requests: Vec<Waterfall> = (0..1_000_u16)
            .map(|number| {
                let rare = if number % 50 == 0 { 200.0 } else { 2.0 };
                request(u128::from(number) + 1, vec![bar(0, 0.0, 20.0), bar(1, 0.0, rare), bar(2, 0.0, 19.0)])
            })
            .collect();
        let all = blamed(&requests);
        assert_eq!((id(&all[0]), all[0].p99_ms, all[0].without_ms), ("b", 200.0, 20.0));
    }

    #[test]
    fn the_kind_is_what_took_the_most_time() {
        let kind = |bar: Bar| blamed(&[request(1, vec![bar])])[0].kind;
        let base = || bar(0, 0.0, 100.0);
        assert_eq!(kind(base()), Kind::Service);
        assert_eq!(kind(Bar { sent_ms: Some(70.0), last_sent_ms: Some(70.0), ..base() }), Kind::Lane);
        assert_eq!(kind(Bar { last_sent_ms: Some(70.0), ..base() }), Kind::Retry);
        assert_eq!(
            kind(Bar { sent_ms: Some(70.0), last_sent_ms: Some(70.0), starting_ms: 70.0, ..base() }),
            Kind::Service
        );
        let unsent = || Bar { sent_ms: None, last_sent_ms: None, ..base() };
        assert_eq!(kind(unsent()), Kind::Service);
        assert_eq!(kind(Bar { reason: Some("overloaded".into()), ..unsent() }), Kind::Lane);
    }

    #[test]
    fn what_is_no_parts_time_is_the_compositors_or_the_networks() {
        let slow = Waterfall { took_ms: 150.0, ..request(1, vec![bar(0, 30.0, 100.0)]) };
        let all = blamed(&[slow]);
        assert_eq!(all.iter().map(|one| one.kind).collect::<Vec<_>>(), [Kind::Compositor, Kind::Service]);
        assert_eq!(all[0].without_ms, 70.0);
        let report = RunReport {
            run: String::new(),
            started: Timestamp::UNIX_EPOCH,
            requests: 1,
            pages: vec![PageReport {
                path: "/".to_owned(),
                requests: 1,
                hits: 1,
                stale: 0,
                fallbacks: 0,
                parts: Vec::new(),
                slowest: vec![Waterfall { trace: 1, took_ms: 1.0, bars: Vec::new() }],
            }],
            sample: Vec::new(),
        };
        let all = blame(&report, &[Seen { target: "/", path: "/", p99_ms: 50.0, mean_ms: 50.0 }]);
        assert_eq!((all[0].kind, all[0].without_ms), (Kind::Network, 1.0));
    }

    #[test]
    fn a_quantile_counts_weights() {
        let mut values: Vec<(f64, f64)> = (1..=100).rev().map(|value| (f64::from(value), 1.0)).collect();
        assert_eq!(
            (quantile(&mut values, 0.5), quantile(&mut values, 0.99), quantile(&mut values, 1.0)),
            (50.0, 99.0, 100.0)
        );
        let mut values = [(10.0, 1.0), (1.0, 98.0), (5.0, 1.0)];
        assert_eq!(
            (quantile(&mut values, 0.98), quantile(&mut values, 0.99), quantile(&mut values, 0.995)),
            (1.0, 5.0, 10.0)
        );
        assert_eq!((quantile(&mut [], 0.5), mean(&[])), (0.0, 0.0));
        assert!((mean(&values) - 1.13).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn no_part_is_to_blame_for_more_than_the_page_took(
            times in prop::collection::vec((0.0..100.0_f32, 0.0..100.0_f32, prop::option::of(0_usize..6)), 1..6),
        ) {
            let bars: Vec<Bar> = times.iter().enumerate().map(|(part, (start, took, after))| {
                Bar { after: *after, ..bar(part, *start, start + took) }
            }).collect();
            let request = request(1, bars);
            for part in 0..times.len() {
                let without = without_part(&request, part);
                prop_assert!(without <= f64::from(request.took_ms) + 1e-3, "{without} of {}", request.took_ms);
            }
        }
    }
}
