//! Divides readers among the variants of an experiment by weight, and keeps each in their variant with a cookie.
//! A cookie that names no variant of the experiment is ignored.

use std::cell::LazyCell;

use http::{HeaderMap, HeaderValue, header};

use super::context::{Dimension, Reader};
use super::programs;
use super::reader::cookies;
use super::side::SideAssignment;

/// The prefix of an experiment's cookie; the name of the experiment follows.
const COOKIE_PREFIX: &str = "pasteup-";
/// How long a reader stays in a variant: one year, in seconds.
const COOKIE_MAX_AGE: u32 = 31_536_000;

/// A test of several variants of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// The name of the experiment.
    pub name: String,
    /// Each variant with its weight: its share of readers relative to the other variants.
    pub variants: Vec<(String, u32)>,
}

impl Experiment {
    /// The variant that the client's cookie names.
    fn variant_in_cookie(&self, headers: &HeaderMap) -> Option<&str> {
        let value = cookies(headers).find(|(name, _)| name.strip_prefix(COOKIE_PREFIX) == Some(&self.name))?.1;
        self.variants.iter().map(|(variant, _)| variant.as_str()).find(|variant| *variant == value)
    }

    /// The variant for a random number from 0 to 1. `None` if all weights are zero.
    fn draw(&self, chance: f64) -> Option<&str> {
        let total: f64 = self.variants.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut left = chance.clamp(0.0, 1.0) * total;
        let drawn = self.variants.iter().filter(|(_, weight)| *weight > 0).find(|(_, weight)| {
            left -= f64::from(*weight);
            left < 0.0
        });
        // Close to 1, rounding errors may leave no variant.
        let last = self.variants.iter().rfind(|(_, weight)| *weight > 0);
        drawn.or(last).map(|(variant, _)| variant.as_str())
    }

    fn cookie(&self, variant: &str) -> Option<HeaderValue> {
        let name = &self.name;
        format!("{COOKIE_PREFIX}{name}={variant}; Path=/; Max-Age={COOKIE_MAX_AGE}; SameSite=Lax; HttpOnly")
            .parse()
            .ok()
    }
}

/// How a reader was assigned to the variants of a page's experiments.
#[derive(Debug, Default)]
pub struct Assignment {
    /// The `Set-Cookie` values that keep the reader in their new variants.
    pub cookies: Vec<HeaderValue>,
    /// Not all variants are from the client's cookies, so another reader with the same cookies may see another
    /// page.
    pub is_drawn: bool,
    /// Whether the page varies on the client's cookies because of a rollout.
    pub varies_on_cookie: bool,
}

impl Assignment {
    /// The assignment, with the sides that the page view takes in rollouts.
    #[must_use]
    pub fn with_sides(mut self, sides: SideAssignment) -> Self {
        self.cookies.extend(sides.cookie);
        self.is_drawn |= sides.is_drawn;
        self.varies_on_cookie |= sides.is_sticky;
        self
    }
}

/// Assigns a reader to a variant of each experiment, if the page depends on variants. The variants of several
/// experiments are drawn independently.
pub fn assign_variants(
    experiments: &[Experiment],
    dimensions: &[Dimension],
    headers: &HeaderMap,
    chance: impl Fn() -> f64,
    reader: &mut Reader,
) -> Assignment {
    let mut assignment = Assignment::default();
    if !dimensions.contains(&Dimension::Variant) {
        return assignment;
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Looked up for those without a cookie only. All programs see the first variant.
    let is_program = LazyCell::new(|| programs::is_program(agent));
    for experiment in experiments {
        let known = experiment.variant_in_cookie(headers);
        assignment.is_drawn |= known.is_none();
        let variant = match known {
            Some(variant) => Some(variant),
            None if *is_program => experiment.draw(0.0),
            None => {
                let variant = experiment.draw(chance());
                assignment.cookies.extend(variant.and_then(|variant| experiment.cookie(variant)));
                variant
            }
        };
        reader.variants.extend(variant.map(|variant| (experiment.name.clone(), variant.to_owned())));
    }
    assignment
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn experiment(weights: &[u32]) -> Experiment {
        let variants = weights.iter().enumerate().map(|(index, weight)| (format!("v{index}"), *weight)).collect();
        Experiment { name: "lead".to_owned(), variants }
    }

    #[test]
    fn readers_are_divided_by_weight() {
        let experiment = experiment(&[1, 0, 3]);
        let drawn = |share: u32| experiment.draw(f64::from(share) / 100.0).expect("a weight is not zero");
        let first = (0..100).filter(|share| drawn(*share) == "v0").count();
        let third = (0..100).filter(|share| drawn(*share) == "v2").count();
        assert_eq!((first, third), (25, 75));
        assert_eq!(experiment.draw(1.0), Some("v2"));
        assert_eq!(self::experiment(&[0, 0]).draw(0.5), None);
    }

    #[test]
    fn the_shares_of_a_hundred_thousand_readers_are_within_one_per_cent() {
        let mut random = fastrand::Rng::with_seed(7);
        let experiment = experiment(&[1, 2, 0, 7]);
        let mut count = std::collections::BTreeMap::<String, u32>::new();
        for _ in 0..100_000 {
            *count.entry(experiment.draw(random.f64()).expect("a weight is not zero").to_owned()).or_default() += 1;
        }
        for (variant, tenths) in [("v0", 1_u32), ("v1", 2), ("v3", 7)] {
            assert!(count[variant].abs_diff(tenths * 10_000) < 1_000, "{count:?}");
        }
        assert!(!count.contains_key("v2"));
    }

    proptest! {
        #[test]
        fn a_reader_stays_in_their_variant(weights in proptest::collection::vec(0_u32..5, 1..5), chance in 0.0..1.0) {
            let experiment = experiment(&weights);
            let known = [Dimension::Variant];
            let mut first = Reader::default();
            let set = assign_variants(std::slice::from_ref(&experiment), &known, &HeaderMap::new(), || chance, &mut first).cookies;
            prop_assert_eq!(set.len(), first.variants.len());
            let mut headers = HeaderMap::new();
            for cookie in &set {
                let pair = cookie.to_str().expect("it is text").split(';').next().expect("it has a first part").to_owned();
                headers.insert(header::COOKIE, pair.parse().expect("it is a valid value"));
            }
            let mut again = Reader::default();
            let set = assign_variants(std::slice::from_ref(&experiment), &known, &headers, || 1.0 - chance, &mut again).cookies;
            if !first.variants.is_empty() {
                prop_assert_eq!(set.len(), 0);
                prop_assert_eq!(first.variants, again.variants);
            }
        }
    }
}
