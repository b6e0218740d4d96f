//! Splits readers among the variants of an experiment, by weight, and keeps them there by a cookie.
//! A cookie that names no variant is as if it were not there.

use http::{HeaderMap, HeaderValue, header};

use super::context::{Dimension, Reader};
use super::reader::cookies;

/// Cookies of experiments are called so, and then the experiment.
const PREFIX: &str = "pasteup-";
/// How long a reader stays in a variant: a year, in seconds.
const STAYS: u32 = 31_536_000;
/// Words in the names of programs that keep no cookies: they all see the first variant.
const PROGRAMS: [&str; 5] = ["bot", "crawl", "spider", "slurp", "preview"];

/// A test of several variants on readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// Variants and how many readers each gets, relative to the others.
    pub variants: Vec<(String, u32)>,
}

impl Experiment {
    /// The variant that a reader is in already.
    fn kept(&self, headers: &HeaderMap) -> Option<&str> {
        let value = cookies(headers).find(|(name, _)| name.strip_prefix(PREFIX) == Some(&self.name))?.1;
        self.variants.iter().map(|(variant, _)| variant.as_str()).find(|variant| *variant == value)
    }

    /// The variant for a number from 0 up to 1.
    fn drawn(&self, chance: f64) -> Option<&str> {
        let total: f64 = self.variants.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut left = chance.clamp(0.0, 1.0) * total;
        let drawn = self.variants.iter().filter(|(_, weight)| *weight > 0).find(|(_, weight)| {
            left -= f64::from(*weight);
            left < 0.0
        });
        // At the very end a rounding may leave nothing.
        let last = self.variants.iter().rfind(|(_, weight)| *weight > 0);
        drawn.or(last).map(|(variant, _)| variant.as_str())
    }

    fn cookie(&self, variant: &str) -> Option<HeaderValue> {
        let name = &self.name;
        format!("{PREFIX}{name}={variant}; Path=/; Max-Age={STAYS}; SameSite=Lax; HttpOnly").parse().ok()
    }
}

/// What came of a reader's part in the experiments of a page.
#[derive(Debug, Default)]
pub struct Participation {
    /// Cookies that keep him in his variants from now on.
    pub cookies: Vec<HeaderValue>,
    /// Not all of his variants are by his cookies, so that another reader with the same cookies may see
    /// another page.
    pub drawn: bool,
}

/// Puts a reader into a variant of each experiment, where the page depends on any. Each experiment draws
/// for itself.
pub fn take_part(
    experiments: &[Experiment],
    dimensions: &[Dimension],
    headers: &HeaderMap,
    chance: impl Fn() -> f64,
    reader: &mut Reader,
) -> Participation {
    let mut part = Participation::default();
    if !dimensions.contains(&Dimension::Variant) {
        return part;
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent = agent.to_ascii_lowercase();
    let program = PROGRAMS.iter().any(|word| agent.contains(word));
    for experiment in experiments {
        let kept = experiment.kept(headers);
        part.drawn |= kept.is_none();
        let variant = match kept {
            Some(variant) => Some(variant),
            None if program => experiment.drawn(0.0),
            None => {
                let variant = experiment.drawn(chance());
                part.cookies.extend(variant.and_then(|variant| experiment.cookie(variant)));
                variant
            }
        };
        reader.variants.extend(variant.map(|variant| (experiment.name.clone(), variant.to_owned())));
    }
    part
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
    fn readers_are_split_by_weight() {
        let experiment = experiment(&[1, 0, 3]);
        let drawn = |share: u32| experiment.drawn(f64::from(share) / 100.0).expect("a variant");
        let first = (0..100).filter(|share| drawn(*share) == "v0").count();
        let third = (0..100).filter(|share| drawn(*share) == "v2").count();
        assert_eq!((first, third), (25, 75));
        assert_eq!(experiment.drawn(1.0), Some("v2"));
        assert_eq!(self::experiment(&[0, 0]).drawn(0.5), None);
    }

    #[test]
    fn a_hundred_thousand_readers_are_split_within_a_hundredth() {
        let mut random = fastrand::Rng::with_seed(7);
        let experiment = experiment(&[1, 2, 0, 7]);
        let mut count = std::collections::BTreeMap::<String, u32>::new();
        for _ in 0..100_000 {
            *count.entry(experiment.drawn(random.f64()).expect("a variant").to_owned()).or_default() += 1;
        }
        for (variant, tenths) in [("v0", 1_u32), ("v1", 2), ("v3", 7)] {
            assert!(count[variant].abs_diff(tenths * 10_000) < 1_000, "{count:?}");
        }
        assert!(!count.contains_key("v2"));
    }

    proptest! {
        #[test]
        fn who_is_in_a_variant_stays_there(weights in proptest::collection::vec(0_u32..5, 1..5), chance in 0.0..1.0) {
            let experiment = experiment(&weights);
            let known = [Dimension::Variant];
            let mut first = Reader::default();
            let set = take_part(std::slice::from_ref(&experiment), &known, &HeaderMap::new(), || chance, &mut first).cookies;
            prop_assert_eq!(set.len(), first.variants.len());
            let mut headers = HeaderMap::new();
            for cookie in &set {
                let pair = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
                headers.insert(header::COOKIE, pair.parse().expect("a value"));
            }
            let mut again = Reader::default();
            let set = take_part(std::slice::from_ref(&experiment), &known, &headers, || 1.0 - chance, &mut again).cookies;
            if !first.variants.is_empty() {
                prop_assert_eq!(set.len(), 0);
                prop_assert_eq!(first.variants, again.variants);
            }
        }
    }
}
