//! The scenarios that `page` (time) and `counts` (instructions) measure. The preparation of a scenario is not measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use pasteup::page::esi::{self, expr::Expr, request::Values, text::EsiText, variables::Value};
use pasteup::page::html::balance::balanced;
use pasteup::page::http::http1::{Bodies, Framed, Framer};
use pasteup::page::layout::LayoutFile;
use pasteup::page::output::headers::Headers;
use pasteup::page::output::stitch::stitch;
use pasteup::page::plan::{Outcomes, Plan, plan};
use pasteup::page::policy::cache::directives::{Arrival, CacheDirectives};
use pasteup::page::policy::cache::freshness::{
    EntryTimes, FreshnessRules, ResponseTraits, freshness, is_refresh_due, lifetime, refresh_lead,
};
use pasteup::page::request::bound::BoundTemplate;
use pasteup::page::request::defaults::Defaults;
use pasteup::page::request::fetch::{Fetch, Origin};
use pasteup::page::request::key::Key;
use pasteup::page::response::outcome::Outcome;
use pasteup::page::response::parsed::{Content, ParsedResponse};
use pasteup::page::site::{Files, Site, SiteLimits};
use pasteup::page::source::diagnostic::Source;
use pasteup::page::visit::context::{Device, Reader, Visit};
use pasteup::page::visit::route::{Pattern, Routes, normalise};

mod engine;

/// A measured operation.
pub(crate) struct Scenario {
    /// The operation, and its amount if there are several.
    pub(crate) name: String,
    /// The amount; `None` if there is only one size.
    pub(crate) amount: Option<Amount>,
    ready: Box<dyn FnOnce() -> Work>,
}

/// The amount of work of one run.
#[derive(Clone, Copy)]
pub(crate) enum Amount {
    Bytes(u64),
    Parts(u64),
}

/// One run of the operation.
pub(crate) type Work = Box<dyn FnMut()>;

impl Scenario {
    /// Prepares the operation.
    pub(crate) fn ready(self) -> Work {
        (self.ready)()
    }
}

/// An operation whose result is dropped.
fn over<T>(mut act: impl FnMut() -> T + 'static) -> Work {
    Box::new(move || drop(std::hint::black_box(act())))
}

fn scenario(name: &str, ready: impl FnOnce() -> Work + 'static) -> Scenario {
    Scenario { name: name.to_owned(), amount: None, ready: Box::new(ready) }
}

/// A scenario with this many parts.
fn of_parts(name: &str, parts: usize, ready: impl FnOnce(usize) -> Work + 'static) -> Scenario {
    let amount = Some(Amount::Parts(parts as u64));
    Scenario { name: format!("{name}/{parts}"), amount, ready: Box::new(move || ready(parts)) }
}

/// A scenario with this many KiB of text.
fn of_text(name: &str, kib: usize, ready: impl FnOnce(usize) -> Work + 'static) -> Scenario {
    let amount = Some(Amount::Bytes(kib as u64 * 1024));
    Scenario { name: format!("{name}/{kib}k"), amount, ready: Box::new(move || ready(kib * 1024)) }
}

/// All scenarios, in the order of a request's way through the compositor.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = vec![scenario("wire/head", wire_head), scenario("route/find", route_find)];
    for parts in [1, 10, 100, 1000] {
        all.push(of_parts("read", parts, read));
        all.push(of_parts("plan", parts, |parts| {
            let template = template(parts);
            over(move || plan(&template, Visit::default(), Timestamp::UNIX_EPOCH))
        }));
        all.push(of_parts("stitch", parts, |parts| {
            let (plan, outcomes, _) = filled(parts);
            over(move || stitch(&plan, &outcomes))
        }));
        all.push(of_parts("headers", parts, |parts| {
            let (plan, outcomes, now) = filled(parts);
            over(move || Headers::of(&plan, &outcomes, true, now).at(now))
        }));
    }
    all.extend([scenario("key/new", key), scenario("key/fetch", fetch)]);
    all.extend([scenario("freshness/stated", stated), scenario("freshness/kept", stored_freshness)]);
    for kib in [1, 10, 100] {
        all.push(of_text("balance/clean", kib, |bytes| balance(CLEAN, bytes)));
        all.push(of_text("balance/broken", kib, |bytes| balance(BROKEN, bytes)));
    }
    all.extend([
        scenario("esi/read a test", || over(|| Expr::parse(TEST))),
        scenario("esi/read a text", || over(|| EsiText::parse(TEXT))),
        scenario("esi/judge a test", || {
            let (test, values) = (Expr::parse(TEST).expect("a test"), values());
            over(move || test.holds(&values))
        }),
        scenario("esi/render a text", || {
            let (text, values) = (EsiText::parse(TEXT).expect("a text"), values());
            over(move || text.render(&values, esi::escape))
        }),
        of_parts("esi/read", 10, |parts| {
            let source = esi_layout(parts);
            over(move || LayoutFile::parse(&source))
        }),
        of_parts("esi/plan", 10, |parts| {
            let template = built(esi_layout(parts), MANIFEST);
            let visit = Visit { parameters: vec![("q".to_owned(), "a<b".to_owned())], ..Visit::default() };
            over(move || plan(&template, visit.clone(), Timestamp::UNIX_EPOCH))
        }),
    ]);
    for parts in [10, 100] {
        all.push(of_parts("memory", parts, engine::memory));
        all.push(of_parts("hot", parts, engine::hot));
    }
    all
}

const MANIFEST: &str = "name = \"part\"\nversion = \"1.0.0\"\nendpoint = \"http://127.0.0.1:1/part\"\n";

fn layout(parts: usize) -> Arc<Source> {
    let part = "<section class=\"card\"><h2>A heading</h2>\n<fragment name=\"part\" ttl=\"20s\" data-n=\"7\"><p>Soon.</p></fragment></section>\n";
    Source::new(
        "layouts/page.html",
        format!("+++\nroute = \"/\"\n+++\n<!doctype html><main>{}</main>", part.repeat(parts)),
    )
}

/// The bound template of a site with one layout and one nanoservice.
fn built(layout: Arc<Source>, manifest: &str) -> Arc<BoundTemplate> {
    let files = Files {
        layouts: vec![layout],
        manifests: vec![Source::new("fragments/part/fragment.toml", manifest)],
        ..Files::default()
    };
    let site = Site::build(&files, &SiteLimits::default(), None);
    assert!(!site.has_errors(), "{:?}", site.problems);
    BoundTemplate::bind(&site.templates[0], &Arc::default())
}

fn template(parts: usize) -> Arc<BoundTemplate> {
    built(layout(parts), MANIFEST)
}

fn read(parts: usize) -> Work {
    let source = layout(parts);
    over(move || LayoutFile::parse(&source))
}

/// A plan, and a response for each of its parts.
fn filled(parts: usize) -> (Plan, Outcomes, Instant) {
    let plan = plan(&template(parts), Visit::default(), Timestamp::UNIX_EPOCH);
    let now = Instant::now();
    let response = Arc::new(response(&plan.fetches[0], &HeaderMap::new()));
    let outcomes = vec![Some(Outcome::fresh(response, now + Duration::from_secs(1))); parts];
    (plan, outcomes, now)
}

fn response(fetch: &Fetch, headers: &HeaderMap) -> ParsedResponse {
    let content = Content::Fragment(Bytes::from_static(b"<p>a part</p>").into());
    ParsedResponse::new(content, headers, fetch, ARRIVAL)
}

const ARRIVAL: Arrival = Arrival { at: Timestamp::UNIX_EPOCH, delay: Duration::ZERO };

/// Parses a request head as browsers send it.
const HEAD: &[u8] = b"GET /news/uk/7?page=2 HTTP/1.1\r\nHost: www.example.org\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: group=a; session=0123456789abcdef0123456789abcdef\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nUpgrade-Insecure-Requests: 1\r\n\r\n";

fn wire_head() -> Work {
    let mut framer = Framer::new(16 * 1024, Bodies::Dropped);
    over(move || {
        framer.push(HEAD);
        let read = framer.next_request();
        assert!(matches!(read, Ok(Framed::Request(_))));
        read
    })
}

/// Finds the route of a path among two hundred patterns.
fn route_find() -> Work {
    let mut routes = Routes::default();
    for section in 0..100 {
        for pattern in [format!("/news/s{section}"), format!("/news/s{section}/{{article}}/{{*rest}}")] {
            assert!(routes.insert(&pattern.parse::<Pattern>().expect("a pattern"), section));
        }
    }
    over(move || {
        let path = normalise("/news/s42/a%20title/2026/11").expect("a path");
        routes.find(&path).map(|(section, values)| (*section, values))
    })
}

fn key() -> Work {
    let resource = ["name", "part", "1.0.0", "http://127.0.0.1:1/part?article=7&page=2"];
    let context = ["accept-language", "en-GB", "fragment-device", "mobile", "cookie", "group=a"];
    over(move || Key::new(resource, context))
}

/// Builds the request and the key for a nanoservice that declares context.
fn fetch() -> Work {
    let more = "context = [\"device\", \"locale\", \"page\", \"cookie:group\"]\n";
    let text = "+++\nroute = \"/news/{article}\"\n+++\n<fragment name=part data-article=\"{article}\" data-n=7 />";
    let template = built(Source::new("layouts/page.html", text), &format!("{MANIFEST}{more}"));
    let reader = Reader {
        device: Some(Device::Mobile),
        locale: Some("en-GB".to_owned()),
        cookies: vec![("group".to_owned(), "a".to_owned())],
        ..Reader::default()
    };
    let parameters = vec![("article".to_owned(), "a title".to_owned())];
    let visit = Visit { pattern: "/news/{article}".to_owned(), parameters, reader, host: "www.example.org".to_owned() };
    let (fragment, defaults) = (Arc::clone(&template.html.fragments[0]), Defaults::default());
    over(move || {
        let manifest = fragment.manifest().expect("the fragment has a name");
        Fetch::new(&fragment, Origin::Named(manifest), &visit, &defaults)
    })
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let header = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    lines.iter().copied().map(header).collect()
}

/// The lifetime that a response states, for the compositor and for downstream caches.
fn stated() -> Work {
    let headers = headers(&[
        ("cache-control", "public, max-age=60, s-maxage=600, stale-while-revalidate=30"),
        ("fragment-cache-control", "max-age=300, stale-if-error=3600"),
        ("date", "Sat, 21 Nov 2026 12:00:00 GMT"),
        ("expires", "Sat, 21 Nov 2026 12:01:00 GMT"),
        ("age", "7"),
    ]);
    over(move || CacheDirectives::read(&headers, ARRIVAL))
}

/// The freshness of a stored response, as each lookup computes it.
fn stored_freshness() -> Work {
    let directives = CacheDirectives::read(&headers(&[("cache-control", "max-age=60")]), ARRIVAL).compositor;
    let rules = FreshnessRules { ttl: Some(Duration::from_secs(20)), ..FreshnessRules::default() };
    let times = EntryTimes::new(Instant::now(), 0.5);
    let now = times.arrived + Duration::from_secs(5);
    over(move || {
        let nature = ResponseTraits { is_fragment: true, has_validator: true };
        let lifetime = lifetime(std::hint::black_box(&directives), &rules, nature);
        let left = Duration::from_secs(15);
        (freshness(&times, &lifetime, now), is_refresh_due(&times, &lifetime, left), refresh_lead(&times, &lifetime))
    })
}

/// HTML as nanoservices send it.
const CLEAN: &str = "<article class=\"teaser\"><h3 id=t7><a href=\"/news/uk/7\">A headline of some words</a></h3>\n\
    <p>Some text of a <em>usual</em> length, with a &amp; in it.<p>And more.\n<ul><li>One<li>Two</ul><img src=\"/7.webp\" alt=\"\">\
    <!-- a note --><script>if (1 < 2) { track(\"<b>\") }</script></article>\n";
/// HTML with one fault of each frequent kind.
const BROKEN: &str = "<article class=\"teaser\"><h3><a href=\"/news/uk/7\">A headline</h3></div>\n<p>EsiText</span> of a <em>usual\
    </p><ul><li>One</table><li>Two</ul></article></section><b>bold<i>both</b></i>\n";

fn balance(text: &str, bytes: usize) -> Work {
    let text = text.repeat(bytes.div_ceil(text.len()));
    over(move || balanced(&text).len())
}

const TEST: &str = "!($(HTTP_COOKIE{group}) == 'a') & $(QUERY_STRING{n}|'0') >= 5 | $(HTTP_ACCEPT_LANGUAGE{de})";
const TEXT: &str = "/parts/$(QUERY_STRING{n})/list?host=$(HTTP_HOST)&group=$(HTTP_COOKIE{group}|'none')&end=1";

fn values() -> Values {
    let dictionary = |name: &str, value: &str| Value::Dictionary {
        whole: format!("{name}={value}"),
        entries: vec![(name.to_owned(), value.to_owned())],
    };
    Values::from([
        ("HTTP_HOST", Value::Text("www.example.org".to_owned())),
        ("HTTP_COOKIE", dictionary("group", "b & c")),
        ("QUERY_STRING", dictionary("n", "7")),
        ("HTTP_ACCEPT_LANGUAGE", Value::List(vec!["en".to_owned()])),
    ])
}

/// A layout with this many repetitions of a choice, a text and an attempt.
fn esi_layout(parts: usize) -> Arc<Source> {
    let part = "<section><esi:choose><esi:when test=\"$(QUERY_STRING{q}) == 'a'\"><fragment name=part data-n=1 /></esi:when>\
        <esi:when test=\"$(QUERY_STRING{q}) &lt; 5 | $(HTTP_COOKIE{group})\"><p>B</p></esi:when>\
        <esi:otherwise><p>C</p></esi:otherwise></esi:choose><esi:vars><a title=\"$(QUERY_STRING{q}|'none')\">$(HTTP_HOST)</a></esi:vars>\
        <esi:try><esi:attempt><fragment name=part data-n=2 /></esi:attempt><esi:except><p>None.</p></esi:except></esi:try>\
        <esi:remove><p>Not seen.</p></esi:remove></section>\n";
    let text = format!("+++\nroute = \"/\"\nquery = [\"q\"]\nesi = true\n+++\n<main>{}</main>", part.repeat(parts));
    Source::new("layouts/page.html", text)
}
