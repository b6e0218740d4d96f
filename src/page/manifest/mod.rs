//! What a nanoservice declares about itself: `fragments/NAME/fragment.toml`.
//! Every error in a manifest is a diagnostic; a manifest with an error is not used.

pub(crate) mod schema;

pub mod assets;
pub mod discovered;
pub mod grants;
pub mod upstreams;

mod auth;
mod checksum;
mod endpoint;
mod example;
pub mod on_demand;
mod param;
mod pattern;
mod read;
mod rollout;

pub mod lock;

pub mod catalogue;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::civil::Date;
use semver::Version;
use url::Url;

use crate::page::policy::rollout::RolloutRules;
use crate::page::source::diagnostic::{Code, Diagnostic, SourceSpan};
use crate::page::source::names::Name;
use crate::page::source::schema::Kind;
use crate::page::source::table::{self, Data, Table, Value, ValueError};
use crate::page::visit::context::Dimension;

use self::assets::Asset;

pub use auth::{Algorithm, Auth};
pub use endpoint::Endpoint;
pub use example::{Example, Refusal};
pub use on_demand::{Component, OnDemand, Program};
pub use param::Param;

/// A nanoservice at one version.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The name that layouts use.
    pub name: Name,
    /// The version; layouts name a range.
    pub version: Version,
    /// The team to notify when it breaks.
    pub owner: Option<String>,
    /// Its endpoints. Empty if it runs on demand, by `command` or `component`.
    pub endpoints: Vec<Endpoint>,
    /// What runs on demand. `None`: it is reached at its endpoints.
    pub on_demand: Option<OnDemand>,
    /// What it shows, for people.
    pub description: Option<String>,
    /// The stage of its lifecycle.
    pub lifecycle: Lifecycle,
    /// The day from which on it may be gone.
    pub sunset: Option<Date>,
    /// The nanoservice that replaces it.
    pub successor: Option<Name>,
    /// How it takes over from the version before. `None`: at once.
    pub rollout: Option<RolloutRules>,
    /// The URL of what to read when it is broken.
    pub runbook: Option<String>,
    /// What it may know of the client, which is a part of its cache key.
    pub context: Vec<Dimension>,
    /// Fragments that its HTML may include.
    pub composes: Vec<String>,
    /// Cookies that it may set.
    pub cookies: Vec<String>,
    /// Whether `<esi:…>` in its responses is processed.
    pub esi: bool,
    /// What its HTML may do to the page.
    pub html: Boundary,
    /// Its parameters; empty if it declares none.
    pub params: Vec<Param>,
    /// Example requests, whose responses have something to show.
    pub examples: Vec<Example>,
    /// How long its responses are cached.
    pub cache: CacheRules,
    /// Limits of one fetch.
    pub limits: Limits,
    /// What its fragments always need in the page's head.
    pub assets: Vec<Asset>,
    /// How requests to it are authenticated.
    pub auth: Option<Auth>,
    /// Whether it was published by a service at an address other than its own, so that the address its host resolves to
    /// is checked when connecting.
    pub guarded: bool,
    /// The manifest as it was written.
    declared: Table,
    /// The position of its declaration.
    pub at: SourceSpan,
}

/// The stage of a nanoservice's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifecycle {
    /// On trial.
    Experimental,
    /// In use.
    #[default]
    Production,
    /// Going away.
    Deprecated,
}

impl Lifecycle {
    /// All stages.
    pub const ALL: [Self; 3] = [Self::Experimental, Self::Production, Self::Deprecated];

    /// The names of all stages.
    pub const KIND: Kind =
        Kind::Word(&[Self::Experimental.as_str(), Self::Production.as_str(), Self::Deprecated.as_str()]);

    /// Its name in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Experimental => "experimental",
            Self::Production => "production",
            Self::Deprecated => "deprecated",
        }
    }
}

/// What a fragment's HTML may do to the page around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// Nothing: unclosed tags are closed, and stray end tags are dropped.
    #[default]
    Balanced,
    /// Anything: its bytes are passed on unchanged.
    Raw,
}

impl Boundary {
    /// Both boundaries.
    pub const ALL: [Self; 2] = [Self::Balanced, Self::Raw];

    /// The names of all boundaries.
    pub const KIND: Kind = Kind::Word(&[Self::Balanced.as_str(), Self::Raw.as_str()]);

    /// Its name in manifests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Raw => "raw",
        }
    }

    /// Reads its name.
    ///
    /// # Errors
    /// The value is neither name.
    pub fn read(value: &Value) -> Result<Self, ValueError> {
        table::word_for(&Self::KIND, &Self::ALL, Self::as_str)(value)
    }
}

/// How long responses are cached if they do not state it, and the maximum for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheRules {
    /// Freshness of a response that states none.
    pub ttl: Option<Duration>,
    /// How long a stale response may be shown while it is refreshed.
    pub stale_while_revalidate: Option<Duration>,
    /// How long a stale response may be shown when the refresh fails.
    pub stale_if_error: Option<Duration>,
    /// The maximum freshness of every response.
    pub max_ttl: Option<Duration>,
}

/// Limits of one fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Time limit, from sending the request to the last byte of the body.
    pub timeout: Option<Duration>,
    /// Maximum size of the decoded body, in bytes.
    pub max_bytes: Option<u64>,
    /// Maximum number of fetches in progress. Further ones wait until their deadline.
    pub concurrency: Option<u32>,
}

impl Manifest {
    /// The manifest as others may read it: without `auth`, and without what a program is started with.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = self.declared.to_json();
        if let Some(members) = json.as_object_mut() {
            use schema::file::{AUTH, COMMAND, COMPONENT, PATH, RUN};
            for private in [&AUTH, &COMMAND, &COMPONENT, &PATH, &RUN] {
                members.remove(private.name);
            }
        }
        json
    }

    /// A warning at a place that uses it, if it is going away.
    #[must_use]
    pub fn is_going_away(&self, at: &SourceSpan) -> Option<Diagnostic> {
        if self.lifecycle != Lifecycle::Deprecated && self.sunset.is_none() {
            return None;
        }
        let until = self.sunset.map(|day| format!(", and may be gone from {day} on")).unwrap_or_default();
        let message = format!("`{}` {} is deprecated{until}", self.name, self.version);
        let problem = Diagnostic::new(Code::Deprecated, at.clone(), message).sunset(self.sunset);
        Some(problem.maybe_help(self.what_replaces_it()))
    }

    /// What to do about its going away, in words.
    #[must_use]
    pub fn what_replaces_it(&self) -> Option<String> {
        let ask = |owner: &String| format!("ask {owner} what replaces it");
        let successor = self.successor.as_ref().map(|name| format!("`{name}` replaces it"));
        successor.or_else(|| self.owner.as_ref().map(ask))
    }

    /// The parameters that a request must have, each once.
    #[must_use]
    pub fn required(&self) -> Vec<&str> {
        let declared = self.params.iter().filter(|param| param.required).map(|param| param.name.as_str());
        let named = self.addresses().flat_map(Endpoint::parameters).map(String::as_str);
        let mut all = Vec::new();
        for name in declared.chain(named) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// The templates of the URLs that it is requested with. The host of one that runs on demand only stands for it.
    pub fn addresses(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().chain(self.on_demand.as_ref().map(OnDemand::path))
    }

    /// The URL that relative references are resolved against, with an empty path. `None`: it has no address.
    #[must_use]
    pub fn base(&self) -> Option<Url> {
        self.addresses().next().and_then(Endpoint::base)
    }

    /// Its program, if it is one.
    #[must_use]
    pub const fn program(&self) -> Option<&Program> {
        match &self.on_demand {
            Some(OnDemand::Program(program)) => Some(program),
            _ => None,
        }
    }

    /// Its component, if it is one.
    #[must_use]
    pub const fn component(&self) -> Option<&Component> {
        match &self.on_demand {
            Some(OnDemand::Component(component)) => Some(component),
            _ => None,
        }
    }

    /// Its component, if it is one, to add what its file contains.
    pub(super) const fn component_mut(&mut self) -> Option<&mut Component> {
        match &mut self.on_demand {
            Some(OnDemand::Component(component)) => Some(component),
            _ => None,
        }
    }

    /// Whether two manifests declare the same, wherever they were written.
    #[must_use]
    pub fn declares_the_same(&self, other: &Self) -> bool {
        self.declared.to_json() == other.declared.to_json()
    }

    /// The first key that two manifests declare differently. Their endpoints may differ, but not in the parameters that they
    /// need. `None`: they describe one nanoservice at several addresses.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let endpoint = schema::file::ENDPOINT.name;
        let differs = |key: &str| {
            let value = |manifest: &Self| manifest.declared.get(key).map(|value| value.data.to_json());
            key != endpoint && value(self) != value(other)
        };
        let mut keys = self.declared.entries.iter().chain(&other.declared.entries).map(|entry| &entry.key);
        let key = keys.find(|key| differs(key)).cloned();
        key.or_else(|| (self.required() != other.required()).then(|| endpoint.to_owned()))
    }

    /// The manifest with the endpoints of another one of the same nanoservice in addition.
    #[must_use]
    pub fn with_endpoints_of(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for endpoint in &other.endpoints {
            if !both.endpoints.contains(endpoint) {
                both.endpoints.push(endpoint.clone());
            }
        }
        both.guarded |= other.guarded;
        let value = |data| Value { data, at: self.at.clone() };
        let endpoints = both.endpoints.iter().map(|endpoint| value(Data::Text(endpoint.as_str().to_owned())));
        let endpoints = endpoints.collect();
        both.declared.set(&[schema::file::ENDPOINT.name], value(Data::List(endpoints)));
        both
    }
}
