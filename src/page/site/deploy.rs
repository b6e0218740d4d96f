//! Whether a version of a nanoservice can go live: what each place that uses it would say to it.
//! What cannot be found out is unknown, and never a yes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::page::layout::syntax::node::ParameterPiece;
use crate::page::layout::{Composition, FragmentSource, FragmentUse, Segment, Template};
use crate::page::manifest::Manifest;
use crate::page::request::defaults::Defaults;
use crate::page::source::units;
use crate::page::visit::context::{Device, Dimension};
use crate::page::visit::experiment::Experiment;

use super::build::Site;

/// Whether a version can go live. The order is from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It can.
    Yes,
    /// That could not be found out.
    Unknown,
    /// It cannot.
    No,
}

impl Answer {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Unknown => "unknown",
            Self::No => "no",
        }
    }

    /// The worst of what some places say; without any place, nothing speaks against it.
    #[must_use]
    pub fn of(places: &[PlaceAnswer]) -> Self {
        places.iter().map(|place| place.verdict).max().unwrap_or(Self::Yes)
    }
}

/// What one place says to a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceAnswer {
    /// The file of the place.
    pub file: String,
    /// The line in the file.
    pub line: usize,
    /// The route of the page; empty where it is not on a page.
    pub route: String,
    /// What it says.
    pub verdict: Answer,
    /// Why, and what would change, in words.
    pub says: String,
}

/// What was found out by asking nanoservices. `None` in it: that one could not be asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The slots in the HTML of the version's examples.
    pub slots: Option<BTreeSet<String>>,
    /// The HTML of the examples of nanoservices that compose it, by name and version.
    pub combiners: BTreeMap<(String, String), Option<Vec<Composition>>>,
}

/// What is collected of one place.
#[derive(Default)]
struct Says {
    refused: Vec<String>,
    unknown: Vec<String>,
    reported: Vec<String>,
}

impl Says {
    fn answer(self, otherwise: &str) -> (Answer, String) {
        let verdict = if !self.refused.is_empty() {
            Answer::No
        } else if !self.unknown.is_empty() {
            Answer::Unknown
        } else {
            Answer::Yes
        };
        let all: Vec<String> = self.refused.into_iter().chain(self.unknown).chain(self.reported).collect();
        (verdict, if all.is_empty() { otherwise.to_owned() } else { all.join("; ") })
    }
}

/// The slots in the HTML of responses.
#[must_use]
pub fn slots(compositions: &[Composition]) -> BTreeSet<String> {
    fn of(segments: &[Segment], found: &mut BTreeSet<String>) {
        for segment in segments {
            match segment {
                Segment::Slot(name, inside) => {
                    found.insert(name.to_string());
                    of(inside, found);
                }
                Segment::When(_, inside) => of(inside, found),
                Segment::Try(attempt, except) => {
                    of(attempt, found);
                    of(except, found);
                }
                Segment::Text(_) | Segment::Fragment(_) | Segment::Value(_) | Segment::Assets | Segment::Late => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    compositions.iter().for_each(|composition| of(&composition.segments, &mut found));
    found
}

impl Site {
    /// The nanoservices on its pages whose HTML may include one, each version once.
    #[must_use]
    pub fn combiners_of(&self, name: &str) -> Vec<Arc<Manifest>> {
        let mut found: Vec<Arc<Manifest>> = Vec::new();
        let used = self.templates.iter().flat_map(|template| template.with_takeovers());
        for manifest in used.flat_map(Template::manifests) {
            let composes = manifest.composes.iter().any(|composed| composed == name);
            if composes && !found.iter().any(|known| Arc::ptr_eq(known, manifest)) {
                found.push(Arc::clone(manifest));
            }
        }
        found
    }

    /// Whether any page fills a slot of a nanoservice.
    #[must_use]
    pub fn fills_slots_of(&self, name: &str) -> bool {
        let used = self.templates.iter().flat_map(|template| template.with_takeovers());
        let mut uses = used.flat_map(|template| &template.html.fragments);
        uses.any(|fragment| fragment.nanoservice() == name && !fragment.fills.is_empty())
    }

    /// What each place that uses a nanoservice says to a version of it.
    #[must_use]
    pub fn deploy(
        &self,
        version: &Arc<Manifest>,
        asked: &Asked,
        defaults: &Defaults,
        locales: usize,
    ) -> Vec<PlaceAnswer> {
        let mut places = Vec::new();
        for template in &self.templates {
            let route = template.labels().next().unwrap_or_default();
            for part in template.with_takeovers() {
                for fragment in &part.html.fragments {
                    let FragmentSource::Named(candidates) = &fragment.source else { continue };
                    if candidates.chosen().name != version.name {
                        continue;
                    }
                    let mut says = Says::default();
                    let today = candidates.chosen();
                    if candidates.range().matches(&version.version) {
                        parameters(fragment, Some(today), version, &mut says);
                        slots_of(fragment, asked, &mut says);
                        context(today, version, locales, part.routes.len(), &part.experiments, &mut says);
                        limits(fragment, today, version, part.budget.unwrap_or(defaults.budget), defaults, &mut says);
                    } else {
                        says.reported.push(format!(
                            "`{}` does not take {}: the page stays with {}",
                            candidates.range(),
                            version.version,
                            today.version
                        ));
                    }
                    let (verdict, says) =
                        says.answer(&format!("takes {} instead of {}", version.version, today.version));
                    let line = fragment.at.source.position(fragment.at.span.start).0;
                    let file = fragment.at.source.file.clone();
                    places.push(PlaceAnswer { file, line, route: route.clone(), verdict, says });
                }
            }
        }
        places.extend(self.combiners_of(&version.name).iter().map(|combiner| self.combined(combiner, version, asked)));
        places
    }

    /// What a nanoservice that composes it says to a version.
    fn combined(&self, combiner: &Arc<Manifest>, version: &Arc<Manifest>, asked: &Asked) -> PlaceAnswer {
        let mut says = Says::default();
        let title = format!("{} {}", combiner.name, combiner.version);
        match asked.combiners.get(&(combiner.name.to_string(), combiner.version.to_string())) {
            Some(Some(compositions)) => {
                let mut is_asked_for = false;
                for fragment in compositions.iter().flat_map(|composition| &composition.fragments) {
                    let FragmentSource::Nested(name, range) = &fragment.source else { continue };
                    if *name != version.name {
                        continue;
                    }
                    is_asked_for = true;
                    if range.matches(&version.version) {
                        let today = self.catalogue.choose(name, range).map(|chosen| chosen.manifest);
                        parameters(fragment, today, version, &mut says);
                    } else {
                        says.reported.push(format!("in {title}, `{range}` does not take {}", version.version));
                    }
                }
                if !is_asked_for {
                    says.unknown.push(format!("the examples of {title} do not ask for it"));
                }
            }
            Some(None) | None => says.unknown.push(format!("{title} composes it, and was not asked how")),
        }
        says.refused.iter_mut().for_each(|text| *text = format!("in {title}, {text}"));
        let (verdict, says) = says.answer(&format!("{title} asks for it in a way that it takes"));
        let (line, _) = combiner.at.source.position(combiner.at.span.start);
        PlaceAnswer { file: combiner.at.source.file.clone(), line, route: String::new(), verdict, says }
    }
}

/// Checks the parameters of a use.
fn parameters(fragment: &FragmentUse, today: Option<&Arc<Manifest>>, version: &Manifest, says: &mut Says) {
    for (name, pieces) in &fragment.parameters {
        let Some(param) = version.params.iter().find(|param| param.name == *name) else {
            if !version.params.is_empty() {
                says.refused.push(format!("it has no parameter `{name}`"));
            }
            continue;
        };
        match pieces.as_slice() {
            [] => {}
            [ParameterPiece::Literal(text)] => {
                if let Err(rule) = param.check(text) {
                    says.refused.push(format!("`{name}` {rule}, and is `{text}`"));
                }
            }
            _ => {
                // The value is the reader's, so it is known only that today's version takes the same ones.
                let same = today.and_then(|today| today.params.iter().find(|known| known.name == *name));
                let is_free = param.refused().is_empty() && param.check("").is_ok();
                if same.is_none_or(|same| !same.takes_the_same(param)) && !is_free {
                    says.unknown.push(format!("`{name}` comes from the request, and it takes other values than today"));
                }
            }
        }
    }
    for name in version.required() {
        if !fragment.parameters.iter().any(|(given, _)| given == name) {
            says.refused.push(format!("it needs the parameter `{name}`"));
        }
    }
}

/// Checks the slots that a use fills.
fn slots_of(fragment: &FragmentUse, asked: &Asked, says: &mut Says) {
    for slot in fragment.fills.keys() {
        match &asked.slots {
            Some(slots) if slots.contains(&**slot) => {}
            Some(_) => says.refused.push(format!("its examples have no slot `{slot}`")),
            None => says.unknown.push(format!("whether it has the slot `{slot}` was not asked")),
        }
    }
}

/// Reports what it wants to know in addition.
fn context(
    today: &Manifest,
    version: &Manifest,
    locales: usize,
    routes: usize,
    experiments: &[Experiment],
    says: &mut Says,
) {
    let more: Vec<&Dimension> = version.context.iter().filter(|one| !today.context.contains(one)).collect();
    if more.is_empty() {
        return;
    }
    let mut times = Some(1_usize);
    for dimension in &more {
        let values = match dimension {
            Dimension::Locale => Some(locales),
            Dimension::Device => Some(Device::WORDS.len()),
            Dimension::Region => Some(249),
            Dimension::Page => Some(routes),
            Dimension::Variant => Some(experiments.iter().map(|one| one.variants.len()).product()),
            Dimension::Cookie(_) | Dimension::Header(_) => None,
        };
        times = times.zip(values).map(|(times, values)| times.saturating_mul(values.max(1)));
    }
    let names: Vec<String> = more.iter().map(|dimension| format!("`{dimension}`")).collect();
    let times = match times {
        Some(times) => format!("{times} times as many entries"),
        None => "an entry for each of its readers".to_owned(),
    };
    says.reported.push(format!("it declares {} as well: the cache may need {times}", names.join(", ")));
}

/// Reports what is cut short now and was not before.
fn limits(
    fragment: &FragmentUse,
    today: &Manifest,
    version: &Manifest,
    budget: Duration,
    defaults: &Defaults,
    says: &mut Says,
) {
    let is_capped = |manifest: &Manifest| fragment.ttl.zip(manifest.cache.max_ttl).filter(|(ttl, max)| ttl > max);
    if let (Some((ttl, max)), None) = (is_capped(version), is_capped(today)) {
        says.reported.push(format!("its `max_ttl` of {} caps the `ttl` of {}", units::show(max), units::show(ttl)));
    }
    let timeout = |manifest: &Manifest| fragment.timeout.or(manifest.limits.timeout).unwrap_or(defaults.timeout);
    if timeout(version) > budget && timeout(today) <= budget {
        let (timeout, budget) = (units::show(timeout(version)), units::show(budget));
        says.reported.push(format!("its `timeout` of {timeout} is longer than the page's budget of {budget}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::site::{Files, SiteLimits};
    use crate::page::source::diagnostic::Source;

    fn manifest(name: &str, version: &str, more: &str) -> Arc<Source> {
        let text = format!("name = \"{name}\"\nversion = \"{version}\"\nendpoint = \"http://a.test/\"\n{more}");
        Source::new(format!("fragments/{name}/fragment.toml"), text)
    }

    /// What a page with this HTML, on which 1.0.0 is live, says to a version with these declarations.
    #[track_caller]
    fn check(html: &str, (version, more): (&str, &str), asked: &Asked, expected: &str) {
        let layout = format!("+++\nroute = \"/{{city}}\"\n+++\n{html}");
        let today =
            "[params.city]\npattern = \"[a-z]+\"\n[params.days]\ntype = \"integer\"\n[cache]\nmax_ttl = \"1h\"\n";
        let files = Files {
            layouts: vec![Source::new("layouts/a.html", layout)],
            manifests: vec![manifest("w", "1.0.0", today), manifest("list", "1.0.0", "composes = [\"w\"]\n")],
            ..Files::default()
        };
        let site = Site::build(&files, &SiteLimits::default(), None);
        assert_eq!(site.problems, []);
        let version = Manifest::parse(&manifest("w", version, more)).0.expect("a manifest");
        let places = site.deploy(&Arc::new(version), asked, &Defaults::default(), 3);
        let said = places
            .iter()
            .map(|place| format!("{}:{} {} {}", place.file, place.line, place.verdict.as_str(), place.says));
        assert_eq!(said.collect::<Vec<_>>().join("\n"), expected);
    }

    #[test]
    fn each_place_says_what_it_would_say_to_a_version() {
        let asked = Asked::default();
        let w = "<fragment name=w version=^1 data-city={city} data-days=3 ttl=30m />";
        let same = "[params.city]\npattern = \"[a-z]+\"\n[params.days]\ntype = \"integer\"\n";
        check(w, ("1.1.0", same), &asked, "layouts/a.html:4 yes takes 1.1.0 instead of 1.0.0");
        check(w, ("2.0.0", ""), &asked, "layouts/a.html:4 yes `^1` does not take 2.0.0: the page stays with 1.0.0");
        check(
            w,
            ("1.1.0", "[params.city]\npattern = \"[a-z]+\"\n"),
            &asked,
            "layouts/a.html:4 no it has no parameter `days`",
        );
        let less = "[params.city]\npattern = \"[a-z]+\"\n[params.days]\ntype = \"integer\"\nmaximum = 2\n[params.x]\nrequired = true\n";
        check(
            w,
            ("1.1.0", less),
            &asked,
            "layouts/a.html:4 no `days` must be at most 2, and is `3`; it needs the parameter `x`",
        );
        let other = "[params.city]\npattern = \"[a-f]+\"\n[params.days]\n";
        check(
            w,
            ("1.1.0", other),
            &asked,
            "layouts/a.html:4 unknown `city` comes from the request, and it takes other values than today",
        );
        let more = format!(
            "context = [\"locale\", \"device\"]\n{same}[cache]\nmax_ttl = \"5m\"\n[limits]\ntimeout = \"9s\"\n"
        );
        check(
            w,
            ("1.1.0", &more),
            &asked,
            "layouts/a.html:4 yes it declares `locale`, `device` as well: the cache may need 9 times as many entries; \
             its `max_ttl` of 5m caps the `ttl` of 30m; its `timeout` of 9s is longer than the page's budget of 2s",
        );
    }

    #[test]
    fn slots_and_combiners_are_asked_and_otherwise_unknown() {
        let slot = "<fragment name=w><fragment slot=aside name=list /></fragment>";
        let unknown = "fragments/list/fragment.toml:1 unknown list 1.0.0 composes it, and was not asked how";
        let with = |slots: &[&str]| Asked {
            slots: Some(slots.iter().map(|one| (*one).to_owned()).collect()),
            ..Asked::default()
        };
        let says = |text: &str| format!("layouts/a.html:4 {text}\n{unknown}");
        check(slot, ("1.1.0", ""), &Asked::default(), &says("unknown whether it has the slot `aside` was not asked"));
        check(slot, ("1.1.0", ""), &with(&["aside"]), &says("yes takes 1.1.0 instead of 1.0.0"));
        check(slot, ("1.1.0", ""), &with(&["other"]), &says("no its examples have no slot `aside`"));
        let list = Manifest::parse(&manifest("list", "1.0.0", "composes = [\"w\"]\n")).0.expect("a manifest");
        let html = bytes::Bytes::from_static(b"<p><fragment name=w data-city=x></fragment>");
        let composition = Composition::of_response(&html, &list, false).expect("a composition");
        let key = ("list".to_owned(), "1.0.0".to_owned());
        let asked = Asked { combiners: BTreeMap::from([(key, Some(vec![composition]))]), ..Asked::default() };
        let page = "<fragment name=list />";
        let place = "fragments/list/fragment.toml:1";
        check(page, ("1.1.0", ""), &asked, &format!("{place} yes list 1.0.0 asks for it in a way that it takes"));
        let needs = "[params.city]\nenum = [\"y\"]\n";
        check(
            page,
            ("1.1.0", needs),
            &asked,
            &format!("{place} no in list 1.0.0, `city` must be one of y, and is `x`"),
        );
    }
}
