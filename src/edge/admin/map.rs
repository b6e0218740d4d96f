//! The map: what hangs on what, from pages to nanoservices, to where those answer, to the teams that are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::console::{SCREENS, class};
use super::seen::{self, Fragment, Page};
use super::{Admin, Params};

/// The map, or what of it is linked to something.
#[derive(Template)]
#[template(path = "console/map.html")]
pub(super) struct Map {
    of: String,
    columns: [Column; 4],
}

/// Pages, nanoservices, where those answer, or teams.
#[derive(Serialize)]
struct Column {
    title: &'static str,
    items: Vec<Item>,
}

/// One of them.
#[derive(Serialize)]
struct Item {
    name: String,
    words: String,
    /// Requests for the page, parts that the nanoservice fills, or requests to an endpoint or to a team's nanoservices.
    per_second: f64,
    #[serde(skip)]
    class: &'static str,
    /// Names of what is linked to it.
    links: Vec<String>,
}

/// Nanoservices that answer at one place, or are one team's.
#[derive(Default)]
struct Group<'a> {
    /// Each with the requests to it a second.
    of: BTreeMap<&'a str, f64>,
    /// The state of their endpoint's breaker, which they share.
    circuit: &'static str,
}

/// What is linked to each.
struct Links<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

pub(super) async fn as_json(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    Json(Map::new(&admin, query.value("of")).columns).into_response()
}

impl Map {
    /// What is linked to something, or everything.
    pub(super) fn new(admin: &Admin, of: &str) -> Self {
        let (pages, fragments) = (seen::pages(admin), seen::fragments(admin));
        let links = Links::among(&fragments);
        let is_shown = |name: &str| of.is_empty() || name == of || links.of(of).contains(name);
        // Versions of one nanoservice are one.
        let mut services: BTreeMap<&str, &Fragment> = BTreeMap::new();
        let (mut endpoints, mut teams) = (BTreeMap::<&str, Group<'_>>::new(), BTreeMap::<&str, Group<'_>>::new());
        for one in &fragments {
            services.entry(&one.name).or_insert(one);
            for endpoint in &one.endpoints {
                let group = endpoints.entry(&endpoint.origin).or_default();
                group.of.insert(&one.name, one.seen.fetches_per_second);
                group.circuit = endpoint.circuit;
            }
            if let Some(owner) = one.owner.as_deref() {
                teams.entry(owner).or_default().of.insert(&one.name, one.seen.fetches_per_second);
            }
        }
        let pages = pages.iter().map(|page| (page.route.as_str(), page_item(page)));
        let services = services.into_iter().map(|(name, one)| (name, service_item(one)));
        let endpoints = endpoints.into_iter().map(|(origin, group)| (origin, group.item()));
        let teams = teams.into_iter().map(|(owner, group)| (owner, group.item()));
        let column = |title, items: &mut dyn Iterator<Item = (&str, Item)>| {
            let shown = items.filter(|(name, _)| is_shown(name));
            let linked = |name| links.of(name).iter().map(ToString::to_string).collect();
            let items = shown.map(|(name, item)| Item { name: name.to_owned(), links: linked(name), ..item });
            Column { title, items: items.collect() }
        };
        Self {
            of: of.to_owned(),
            columns: [
                column("Pages", &mut { pages }),
                column("Nanoservices", &mut { services }),
                column("Endpoints", &mut { endpoints }),
                column("Teams", &mut { teams }),
            ],
        }
    }

    fn screen(&self) -> &'static str {
        "/map"
    }
}

impl<'a> Links<'a> {
    fn among(fragments: &'a [Fragment]) -> Self {
        let mut links = Self(BTreeMap::new());
        for one in fragments {
            let origins: Vec<&str> = one.endpoints.iter().map(|endpoint| endpoint.origin.as_str()).collect();
            let behind = || origins.iter().copied().chain(one.owner.as_deref());
            // A page hangs on whatever its nanoservices hang on.
            for page in &one.pages {
                behind().chain([one.name.as_str()]).for_each(|name| links.link(page, name));
            }
            behind().chain(one.composes.iter().map(String::as_str)).for_each(|name| links.link(&one.name, name));
            if let Some(owner) = one.owner.as_deref() {
                origins.iter().for_each(|origin| links.link(origin, owner));
            }
        }
        links
    }

    fn link(&mut self, a: &'a str, b: &'a str) {
        self.0.entry(a).or_default().insert(b);
        self.0.entry(b).or_default().insert(a);
    }

    fn of(&self, name: &str) -> &BTreeSet<&'a str> {
        const NONE: &BTreeSet<&str> = &BTreeSet::new();
        self.0.get(name).unwrap_or(NONE)
    }
}

impl Item {
    fn new(words: String, per_second: f64, class: &'static str) -> Self {
        Self { name: String::new(), words, per_second, class, links: Vec::new() }
    }
}

fn page_item(page: &Page) -> Item {
    let per_second = page.seen.per_second;
    let class = match page.seen.degraded {
        _ if per_second == 0.0 => "",
        degraded if degraded > 0.0 => "warn",
        _ => "good",
    };
    Item::new(format!("{per_second}/s"), per_second, class)
}

fn service_item(one: &Fragment) -> Item {
    let per_second = one.seen.per_second;
    Item::new(format!("{per_second}/s, {}", one.seen.health), per_second, class(one.seen.health))
}

impl Group<'_> {
    fn item(&self) -> Item {
        let count = match self.of.len() {
            1 => "1 nanoservice".to_owned(),
            count => format!("{count} nanoservices"),
        };
        let (state, class) = match self.circuit {
            "open" => (", shut out", "bad"),
            "probing" => (", being probed", "warn"),
            "closed" => ("", "good"),
            _ => ("", ""),
        };
        Item::new(format!("{count}{state}"), self.of.values().sum(), class)
    }
}
