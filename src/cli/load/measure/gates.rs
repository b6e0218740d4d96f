//! The bounds that a run has to keep. One that cannot be checked counts as broken: silence is no success.

use serde::Serialize;

use super::bootstrap::{Counts, change};

/// The bounds that were given.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    /// In milliseconds.
    pub(crate) max_p99: Option<f64>,
    /// A share.
    pub(crate) max_errors: Option<f64>,
    /// A share.
    pub(crate) max_fallbacks: Option<f64>,
    /// A share, by which p50 and p99 may be higher than in the baseline.
    pub(crate) max_regression: Option<f64>,
}

/// What is compared with the bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured<'a> {
    /// In milliseconds; `None` if no request was answered.
    pub(crate) p99_ms: Option<f64>,
    /// The share of errors; `None` if there were no requests.
    pub(crate) errors: Option<f64>,
    /// The share of pages with fallbacks; `None` if it is not known.
    pub(crate) fallbacks: Option<f64>,
    /// The latencies, in milliseconds.
    pub(crate) latencies: &'a Counts,
    /// Those of the baseline.
    pub(crate) baseline: Option<&'a Counts>,
}

/// A bound, and whether it was kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Gate {
    /// The option that gave it.
    pub(crate) gate: &'static str,
    /// Milliseconds, or a share.
    pub(crate) limit: f64,
    /// What was measured; `None` if it is not known.
    pub(crate) value: Option<f64>,
    /// Of a regression: what it is at least, at 95 % confidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<f64>,
    /// Whether it was kept.
    pub(crate) ok: bool,
}

/// The quantiles that are compared with a baseline.
const COMPARED: [(&str, f64); 2] = [("max-regression-p50", 0.5), ("max-regression-p99", 0.99)];

/// Checks the bounds that were given.
pub(crate) fn check(limits: &Limits, measured: &Measured<'_>, random: &mut fastrand::Rng) -> Vec<Gate> {
    let bound = |gate, limit: Option<f64>, value: Option<f64>| {
        let limit = limit?;
        Some(Gate { gate, limit, value, at_least: None, ok: value.is_some_and(|value| value <= limit) })
    };
    let mut gates: Vec<Gate> = [
        bound("max-p99", limits.max_p99, measured.p99_ms),
        bound("max-errors", limits.max_errors, measured.errors),
        bound("max-fallbacks", limits.max_fallbacks, measured.fallbacks),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let Some(limit) = limits.max_regression {
        gates.extend(COMPARED.map(|(gate, quantile)| {
            let baseline = measured.baseline.unwrap_or_default();
            let change = change(baseline, measured.latencies, quantile, random);
            let at_least = change.map(|change| change.lowest);
            let ok = at_least.is_some_and(|lowest| lowest <= limit);
            Gate { gate, limit, value: change.map(|change| change.change), at_least, ok }
        }));
    }
    gates
}

impl Gate {
    /// The line about a bound that was broken.
    pub(crate) fn broken(&self) -> Option<String> {
        if self.ok {
            return None;
        }
        let show = |value: f64| match self.gate {
            "max-p99" => format!("{value:.1} ms"),
            _ => format!("{:.2} %", value * 100.0),
        };
        let limit = show(self.limit);
        let what = match (self.value, self.at_least) {
            (None, _) => "it is not known, so it counts as broken".to_owned(),
            (Some(value), None) => format!("{} measured", show(value)),
            (Some(value), Some(at_least)) => {
                format!("{} more than the baseline, at least {} at 95 % confidence", show(value), show(at_least))
            }
        };
        Some(format!("{}: the limit is {limit}; {what}", self.gate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(limits: Limits, measured: Measured<'_>) -> Vec<(&'static str, bool)> {
        let gates = check(&limits, &measured, &mut fastrand::Rng::with_seed(1));
        for gate in &gates {
            assert_eq!(gate.broken().is_none(), gate.ok, "{gate:?}");
        }
        gates.iter().map(|gate| (gate.gate, gate.ok)).collect()
    }

    const KNOWN: Measured<'static> = Measured {
        p99_ms: Some(300.0),
        errors: Some(0.001),
        fallbacks: Some(0.02),
        latencies: &[(10.0, 1_000)],
        baseline: None,
    };

    #[test]
    fn only_the_bounds_that_were_given_are_checked() {
        assert_eq!(checked(Limits::default(), KNOWN), []);
        let limits = Limits { max_p99: Some(300.0), max_fallbacks: Some(0.01), ..Limits::default() };
        assert_eq!(checked(limits, KNOWN), [("max-p99", true), ("max-fallbacks", false)]);
        let limits = Limits { max_p99: Some(299.9), max_errors: Some(0.001), ..Limits::default() };
        assert_eq!(checked(limits, KNOWN), [("max-p99", false), ("max-errors", true)]);
    }

    #[test]
    fn what_is_not_known_counts_as_broken() {
        let limits =
            Limits { max_p99: Some(1.0), max_errors: Some(1.0), max_fallbacks: Some(1.0), max_regression: Some(1.0) };
        let unknown = Measured { p99_ms: None, errors: None, fallbacks: None, latencies: &[], baseline: None };
        assert!(checked(limits, unknown).iter().all(|(_, ok)| !ok));
        assert_eq!(checked(limits, unknown).len(), 5);
    }

    #[test]
    fn a_regression_is_broken_if_it_is_certain() {
        let limits = Limits { max_regression: Some(0.1), ..Limits::default() };
        for (latencies, ok) in [
            (&[(10.0, 1_000)][..], true),
            (&[(12.0, 1_000)], false),
            // Three requests are no evidence.
            (&[(9.0, 1), (10.0, 1), (12.0, 1)], true),
        ] {
            let measured = Measured { latencies, baseline: Some(&[(10.0, 1_000)]), ..KNOWN };
            let gates = checked(limits, measured);
            assert_eq!(gates[0], ("max-regression-p50", ok), "{latencies:?}");
        }
    }
}
