//! The map: what depends on what, from pages to nanoservices, endpoints and teams.
//! A name that nothing is linked to gives a map of only that name, or an empty one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::super::api::{self, Fragment, Page};
use super::super::{Admin, Params};
use super::format::class;

/// The whole map, or the part of it that is linked to one name.
#[derive(Template)]
#[template(path = "console/map.html")]
struct Map {
    of: String,
    columns: [Column; 4],
    /// The same for a narrow screen: the nanoservices of each page, with what they depend on.
    tree: Vec<Branch>,
}

/// A page, and its nanoservices; or those that are on no page.
struct Branch {
    page: Option<Leaf>,
    nanoservices: Vec<(Leaf, Vec<Leaf>)>,
}

impl Branch {
    /// Whether one of its nanoservices needs attention, so that it is open at first.
    fn has_trouble(&self) -> bool {
        self.nanoservices.iter().any(|(leaf, _)| matches!(leaf.class, "warn" | "bad"))
    }
}

/// A name in the tree, with its state in words.
#[derive(Clone)]
struct Leaf {
    name: String,
    summary: String,
    class: &'static str,
}

/// All pages, nanoservices, endpoints or teams.
#[derive(Serialize)]
struct Column {
    title: &'static str,
    items: Vec<Item>,
}

/// A page, nanoservice, endpoint or team.
#[derive(Serialize)]
struct Item {
    name: String,
    /// Its figures and state, in words.
    #[serde(rename = "words")]
    summary: String,
    /// Per second: requests for the page, parts that the nanoservice fills, or requests to the endpoint or to the team's
    /// nanoservices.
    per_second: f64,
    #[serde(skip)]
    class: &'static str,
    /// The names that it is linked to.
    links: Vec<String>,
}

/// The nanoservices of one endpoint, or of one team.
#[derive(Default)]
struct Group<'a> {
    /// The requests per second to each nanoservice.
    rates: BTreeMap<&'a str, f64>,
    /// The worst state among the circuits of an endpoint; empty for a team.
    circuit: &'static str,
}

/// The names that each name is linked to.
struct Links<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

pub(super) fn render(admin: &Admin, query: &Params) -> askama::Result<String> {
    Map::new(admin, query.value("of")).render()
}

pub(super) async fn as_json(State(admin): State<Arc<Admin>>, Query(query): Query<Params>) -> Response {
    Json(Map::new(&admin, query.value("of")).columns).into_response()
}

impl Map {
    /// The part of the map that is linked to `of`, or the whole map if that is empty.
    fn new(admin: &Admin, of: &str) -> Self {
        let (pages, fragments) = (api::pages(admin), api::fragments(admin));
        let links = Links::among(&fragments);
        let is_shown = |name: &str| of.is_empty() || name == of || links.of(of).contains(name);
        // All versions of a nanoservice are one item.
        let mut nanoservices: BTreeMap<&str, &Fragment> = BTreeMap::new();
        let (mut endpoints, mut teams) = (BTreeMap::<&str, Group<'_>>::new(), BTreeMap::<&str, Group<'_>>::new());
        for one in &fragments {
            nanoservices.entry(&one.name).or_insert(one);
            for endpoint in &one.endpoints {
                let group = endpoints.entry(&endpoint.origin).or_default();
                group.rates.insert(&one.name, one.statistics.fetches_per_second);
                // Each nanoservice has circuits of its own; the worst one is shown.
                let rank = |circuit| ["", "closed", "probing", "open"].iter().position(|state| *state == circuit);
                if rank(endpoint.circuit) > rank(group.circuit) {
                    group.circuit = endpoint.circuit;
                }
            }
            if let Some(owner) = one.owner.as_deref() {
                teams.entry(owner).or_default().rates.insert(&one.name, one.statistics.fetches_per_second);
            }
        }
        let pages = pages.iter().map(|page| (page.route.as_str(), page_item(page)));
        let nanoservices = nanoservices.into_iter().map(|(name, one)| (name, nanoservice_item(one)));
        let endpoints = endpoints.into_iter().map(|(origin, group)| (origin, group.item()));
        let teams = teams.into_iter().map(|(owner, group)| (owner, group.item()));
        let column = |title, items: &mut dyn Iterator<Item = (&str, Item)>| {
            let shown = items.filter(|(name, _)| is_shown(name));
            let linked = |name| links.of(name).iter().map(ToString::to_string).collect();
            let items = shown.map(|(name, item)| Item { name: name.to_owned(), links: linked(name), ..item });
            Column { title, items: items.collect() }
        };
        let columns = [
            column("Pages", &mut { pages }),
            column("Nanoservices", &mut { nanoservices }),
            column("Endpoints", &mut { endpoints }),
            column("Teams", &mut { teams }),
        ];
        let tree = tree(&columns);
        Self { of: of.to_owned(), columns, tree }
    }
}

/// The tree of what the columns show.
fn tree([pages, nanoservices, endpoints, teams]: &[Column; 4]) -> Vec<Branch> {
    let leaf = |item: &Item| Leaf { name: item.name.clone(), summary: item.summary.clone(), class: item.class };
    let linked = |to: &Item, item: &&Item| to.links.contains(&item.name);
    let with_dependencies = |item: &Item| {
        let dependencies = endpoints.items.iter().chain(&teams.items).filter(|one| linked(item, one));
        (leaf(item), dependencies.map(leaf).collect())
    };
    let branch = |page: &Item| Branch {
        page: Some(leaf(page)),
        nanoservices: nanoservices.items.iter().filter(|one| linked(page, one)).map(with_dependencies).collect(),
    };
    let is_used = |item: &&Item| pages.items.iter().any(|page| page.links.contains(&item.name));
    let unused: Vec<_> = nanoservices.items.iter().filter(|item| !is_used(item)).map(with_dependencies).collect();
    let on_no_page = (!unused.is_empty()).then_some(Branch { page: None, nanoservices: unused });
    pages.items.iter().map(branch).chain(on_no_page).collect()
}

impl<'a> Links<'a> {
    fn among(fragments: &'a [Fragment]) -> Self {
        let mut links = Self(BTreeMap::new());
        for one in fragments {
            let origins: Vec<&str> = one.endpoints.iter().map(|endpoint| endpoint.origin.as_str()).collect();
            let dependencies = || origins.iter().copied().chain(one.owner.as_deref());
            // A page depends on everything that its nanoservices depend on.
            for page in &one.pages {
                dependencies().chain([one.name.as_str()]).for_each(|name| links.link(page, name));
            }
            dependencies().chain(one.composes.iter().map(String::as_str)).for_each(|name| links.link(&one.name, name));
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

    /// The names that a name is linked to.
    fn of(&self, name: &str) -> &BTreeSet<&'a str> {
        const NONE: &BTreeSet<&str> = &BTreeSet::new();
        self.0.get(name).unwrap_or(NONE)
    }
}

impl Item {
    fn new(summary: String, per_second: f64, class: &'static str) -> Self {
        Self { name: String::new(), summary, per_second, class, links: Vec::new() }
    }
}

fn page_item(page: &Page) -> Item {
    let per_second = page.statistics.per_second;
    let class = match page.statistics.degraded {
        _ if per_second == 0.0 => "",
        degraded if degraded > 0.0 => "warn",
        _ => "good",
    };
    Item::new(format!("{per_second}/s"), per_second, class)
}

fn nanoservice_item(one: &Fragment) -> Item {
    let per_second = one.statistics.per_second;
    Item::new(format!("{per_second}/s, {}", one.statistics.health), per_second, class(&one.statistics.health))
}

impl Group<'_> {
    fn item(&self) -> Item {
        let count = match self.rates.len() {
            1 => "1 nanoservice".to_owned(),
            count => format!("{count} nanoservices"),
        };
        let (state, class) = match self.circuit {
            "open" => (", circuit open", "bad"),
            "probing" => (", probing", "warn"),
            "closed" => ("", "good"),
            _ => ("", ""),
        };
        Item::new(format!("{count}{state}"), self.rates.values().sum(), class)
    }
}
