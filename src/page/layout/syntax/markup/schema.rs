//! Pasteup's elements as data: every element and attribute with its kind, its default and its effect.
//! `pasteup reference` writes `docs/reference/elements.md` from it.

use crate::page::layout::syntax::node::Load;
use crate::page::source::reason::Reason;
use crate::page::source::schema::{Field, Kind, Schema, schema};
use crate::page::visit::context::Device;

/// An element of Pasteup's.
#[derive(Debug)]
pub struct Element {
    /// Its name, in lower case.
    pub name: &'static str,
    /// Its attributes, and what it is for.
    pub schema: &'static Schema,
}

/// `<fragment>`
pub(crate) static FRAGMENT: Element = Element { name: names::FRAGMENT, schema: &fragment::SCHEMA };
/// `<when>`
pub(crate) static WHEN: Element = Element { name: names::WHEN, schema: &when::SCHEMA };
/// `<include>`
pub(crate) static INCLUDE: Element = Element { name: names::INCLUDE, schema: &include::SCHEMA };
/// `<slot>`
pub(crate) static SLOT: Element = Element { name: names::SLOT, schema: &slot::SCHEMA };
/// `<fallback>`
pub(crate) static FALLBACK: Element = Element { name: names::FALLBACK, schema: &fallback::SCHEMA };
/// `<esi:include>`
pub(crate) static ESI_INCLUDE: Element = Element { name: names::ESI_INCLUDE, schema: &esi_include::SCHEMA };
/// `<esi:when>`
pub(crate) static ESI_WHEN: Element = Element { name: names::ESI_WHEN, schema: &esi_when::SCHEMA };

/// Pasteup's own elements.
pub static ELEMENTS: [&Element; 5] = [&FRAGMENT, &FALLBACK, &WHEN, &INCLUDE, &SLOT];

/// The elements of ESI (W3C Note, ESI Language Specification 1.0).
pub static ESI_ELEMENTS: [&Element; 10] = [
    &ESI_INCLUDE,
    &Element { name: names::ESI_REMOVE, schema: &esi_remove::SCHEMA },
    &Element { name: names::ESI_COMMENT, schema: &esi_comment::SCHEMA },
    &Element { name: names::ESI_TRY, schema: &esi_try::SCHEMA },
    &Element { name: names::ESI_ATTEMPT, schema: &esi_attempt::SCHEMA },
    &Element { name: names::ESI_EXCEPT, schema: &esi_except::SCHEMA },
    &Element { name: names::ESI_CHOOSE, schema: &esi_choose::SCHEMA },
    &ESI_WHEN,
    &Element { name: names::ESI_OTHERWISE, schema: &esi_otherwise::SCHEMA },
    &Element { name: names::ESI_VARS, schema: &esi_vars::SCHEMA },
];

/// The names of the elements, to match tags with.
pub(super) mod names {
    pub(crate) const FRAGMENT: &str = "fragment";
    pub(crate) const FALLBACK: &str = "fallback";
    pub(crate) const WHEN: &str = "when";
    pub(crate) const INCLUDE: &str = "include";
    pub(crate) const SLOT: &str = "slot";
    pub(crate) const ESI_INCLUDE: &str = "esi:include";
    pub(crate) const ESI_REMOVE: &str = "esi:remove";
    pub(crate) const ESI_COMMENT: &str = "esi:comment";
    pub(crate) const ESI_TRY: &str = "esi:try";
    pub(crate) const ESI_ATTEMPT: &str = "esi:attempt";
    pub(crate) const ESI_EXCEPT: &str = "esi:except";
    pub(crate) const ESI_CHOOSE: &str = "esi:choose";
    pub(crate) const ESI_WHEN: &str = "esi:when";
    pub(crate) const ESI_OTHERWISE: &str = "esi:otherwise";
    pub(crate) const ESI_VARS: &str = "esi:vars";
}

// Conditions, which several elements have.
const FROM: Field = Field::new("from", Kind::Time).otherwise("no limit").example("2026-12-24T18:00:00Z");
const UNTIL: Field = Field::new("until", Kind::Time).otherwise("no limit").example("2026-12-27T00:00:00+01:00");
const DEVICE: Field = Field::new("device", Kind::Condition(&Device::WORDS)).otherwise("all devices").example("mobile");
const REGION: Field = Field::new("region", Kind::Condition(&[])).otherwise("all regions").example("not US");
const LOCALE: Field = Field::new("locale", Kind::Condition(&[])).otherwise("all locales").example("en cy");
const VARIANT: Field = Field::new("variant", Kind::Condition(&[])).otherwise("all variants").example("lead:big");

schema! {
    /// The place of a nanoservice's HTML. It may be anywhere that text or an element may be, `<head>` included. Its
    /// content is the fallback, which is shown when there is no response; without content the part disappears.
    pub(crate) mod fragment {
        /// The nanoservice, by its name in the catalogue. Exactly one of `name` and `src` must be given.
        NAME = Field::new("name", Kind::Name).example("weather");
        /// The versions that the page works with. The highest one that satisfies the range is used.
        VERSION = Field::new("version", Kind::VersionRange).default("*").example("^3.2");
        /// The URL of a fragment that is not in the catalogue. Its upstream must be in the setting `upstreams.allow`.
        SRC = Field::new("src", Kind::Url).example("https://fragments.example.org/weather");
        /// What `explain`, logs and the overlay call the part. It is unique on a page.
        ID = Field::new("id", Kind::Name).otherwise("the name, then `NAME-2`, `NAME-3` and so on").example("lead");
        /// How long a response is fresh if it does not state that itself; otherwise the shorter of the two. It never
        /// makes an uncacheable response cacheable.
        TTL = Field::new("ttl", Kind::Duration)
            .otherwise("the manifest's `ttl`, then the setting `fragment.ttl`")
            .example("30s");
        /// How long after that a stale response may be shown, while it is refreshed and when the refresh fails, if the
        /// response does not state that itself.
        STALE = Field::new("stale", Kind::Duration)
            .otherwise("the manifest's `stale_…`, then the setting `fragment.stale`")
            .example("1h");
        /// Time limit of the fetch, from its start to the last byte of the body. After it the page does not wait for the
        /// part any longer.
        TIMEOUT = Field::new("timeout", Kind::PositiveDuration)
            .otherwise("the manifest's `timeout`, then the setting `fragment.timeout`")
            .example("300ms");
        /// The page does not exist without this part. A `404` of the nanoservice makes the page a `404`. A failure makes
        /// it an error page, unless there is a fallback.
        REQUIRED = Field::new("required", Kind::Boolean).default("false");
        /// When the part is loaded: `auto` in its place; `defer` late, while what follows is sent; `lazy` once a client
        /// scrolls near it.
        LOAD = Field::new("load", Load::KIND).default(Load::Auto.as_str());
        /// The slot of the frame, or of the enclosing fragment, that it fills.
        SLOT = Field::new("slot", Kind::Text).otherwise("the slot without a name").example("alert");
        /// Shown only on these devices, or not on them.
        DEVICE = super::DEVICE;
        /// Shown only in these countries (ISO 3166-1), or not in them. An unknown country is on no list.
        REGION = super::REGION;
        /// Shown only for these locales of the site, or not for them.
        LOCALE = super::LOCALE;
        /// Shown only in these variants of experiments, or not in them: `experiment:variant`.
        VARIANT = super::VARIANT;
        /// Shown from this time on.
        FROM = super::FROM;
        /// Shown before this time.
        UNTIL = super::UNTIL;
        /// A parameter of the nanoservice. `{x}` is replaced by a parameter of the route or a query parameter that the
        /// page declares; without that query parameter the attribute is left out. `{{` is a brace.
        DATA = Field::new("data-NAME", Kind::Placeholders).example("{city}");
    }
}

schema! {
    /// Directly inside `<fragment>`: what is shown for certain reasons. Everything else inside is the fallback for all others.
    pub(crate) mod fallback {
        /// The reasons, as in `explain`, logs and metrics.
        REASON = Field::new("reason", Kind::Words(Reason::WORDS)).required().example("gone empty");
    }
}

schema! {
    /// Content that is shown under conditions. All of them must hold. The element itself is never sent.
    pub(crate) mod when {
        /// Shown only on these devices, or not on them.
        DEVICE = super::DEVICE;
        /// Shown only in these countries (ISO 3166-1), or not in them. An unknown country is on no list.
        REGION = super::REGION;
        /// Shown only for these locales of the site, or not for them.
        LOCALE = super::LOCALE;
        /// Shown only in these variants of experiments, or not in them: `experiment:variant`.
        VARIANT = super::VARIANT;
        /// Shown from this time on.
        FROM = super::FROM;
        /// Shown before this time.
        UNTIL = super::UNTIL;
    }
}

schema! {
    /// Another file, which replaces the element. It has no content.
    pub(crate) mod include {
        /// The file.
        FILE = Field::new("file", Kind::LayoutPath).required().example("partials/footer.html");
    }
}

schema! {
    /// In a frame, a place that pages fill with their top-level elements whose attribute `slot` names it. Its content is
    /// shown if nothing fills it. In a page, and inside `<template>`, it is HTML's own element.
    pub(crate) mod slot {
        /// The name of the slot. A slot without a name takes everything that no other slot takes.
        NAME = Field::new("name", Kind::Text).otherwise("the slot for everything else").example("alert");
    }
}

schema! {
    /// The response of a URL, which replaces the element.
    pub(crate) mod esi_include {
        /// The URL. Variables may follow its host.
        SRC = Field::new("src", Kind::EsiUrl).required().example("https://fragments.example.org/news");
        /// The URL that is included if `src` fails.
        ALT = Field::new("alt", Kind::EsiUrl).example("https://fragments.example.org/old-news");
        /// With `continue`, a failure does not count as one for `<esi:try>`.
        ONERROR = Field::new("onerror", Kind::Word(&["continue"]));
    }
}

schema! {
    /// Content for caches without ESI, which is removed.
    pub(crate) mod esi_remove {}
}

schema! {
    /// A comment, which is removed.
    pub(crate) mod esi_comment {}
}

schema! {
    /// Shows its `<esi:attempt>`, or its `<esi:except>` if an include in the attempt fails.
    pub(crate) mod esi_try {}
}

schema! {
    /// In `<esi:try>`: what is shown unless an include in it fails.
    pub(crate) mod esi_attempt {}
}

schema! {
    /// In `<esi:try>`: what is shown if an include in the attempt fails.
    pub(crate) mod esi_except {}
}

schema! {
    /// Shows the first `<esi:when>` whose test holds, or `<esi:otherwise>`.
    pub(crate) mod esi_choose {}
}

schema! {
    /// In `<esi:choose>`: what is shown if the test holds.
    pub(crate) mod esi_when {
        /// The test.
        TEST = Field::new("test", Kind::EsiTest).required().example("$(HTTP_COOKIE{group}) == 'staff'");
    }
}

schema! {
    /// In `<esi:choose>`: what is shown if no test holds.
    pub(crate) mod esi_otherwise {}
}

schema! {
    /// Content in which variables such as `$(HTTP_HOST)` are replaced by their values, escaped for HTML.
    pub(crate) mod esi_vars {}
}
