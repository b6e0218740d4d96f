//! How certain the change of a quantile is: the bootstrap over two histograms. A quantile of a resample of n values is a value
//! whose rank is distributed as an order statistic of n uniform numbers (a beta distribution), so nothing is resampled.

/// How often both histograms are resampled.
const RESAMPLES: usize = 2_000;
/// The confidence of the interval.
const CONFIDENCE: f64 = 0.95;

/// A histogram: values in ascending order, with how often each occurred.
pub(crate) type Counts = [(f64, u64)];

/// The relative change of a quantile, with the interval that contains it at 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    /// 0.1: it is 10 % higher.
    pub(crate) change: f64,
    /// The lower end of the interval.
    pub(crate) lowest: f64,
    /// The upper end of the interval.
    pub(crate) highest: f64,
}

/// The change of a quantile from one histogram to another. `None`: one of them is empty, or the old quantile is zero.
pub(crate) fn change(before: &Counts, after: &Counts, quantile: f64, random: &mut fastrand::Rng) -> Option<Change> {
    let relative = |before: f64, after: f64| (before > 0.0).then(|| after / before - 1.0);
    let point = relative(at_share(before, quantile)?, at_share(after, quantile)?)?;
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| relative(resample(before, quantile, random)?, resample(after, quantile, random)?))
        .collect();
    resampled.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
    let at = |share: f64| resampled.get((share * (resampled.len() - 1) as f64).round() as usize).copied();
    Some(Change { change: point, lowest: at((1.0 - CONFIDENCE) / 2.0)?, highest: at(f64::midpoint(1.0, CONFIDENCE))? })
}

/// A quantile of a resample.
fn resample(counts: &Counts, quantile: f64, random: &mut fastrand::Rng) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
    let total = counts.iter().map(|(_, count)| count).sum::<u64>() as f64;
    if total == 0.0 {
        return None;
    }
    let rank = (quantile * total).ceil().clamp(1.0, total);
    let (below, above) = (gamma(rank, random), gamma(total - rank + 1.0, random));
    at_share(counts, below / (below + above))
}

/// The value below or at which a share of all values lies.
#[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than 2^52")]
fn at_share(counts: &Counts, share: f64) -> Option<f64> {
    let total = counts.iter().map(|(_, count)| count).sum::<u64>() as f64;
    let mut below = 0;
    let found = counts.iter().find(|(_, count)| {
        below += count;
        below as f64 >= share * total
    });
    found.or(counts.last()).filter(|_| total > 0.0).map(|(value, _)| *value)
}

/// A number that is distributed as the gamma distribution with this shape, which is at least 1 (Marsaglia and Tsang, 2000).
fn gamma(shape: f64, random: &mut fastrand::Rng) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(random);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - random.f64()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// A number that is distributed as the standard normal distribution (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exponential latencies with this mean, as a histogram.
    fn latencies(mean: f64, requests: u64, random: &mut fastrand::Rng) -> Vec<(f64, u64)> {
        let mut values: Vec<f64> = (0..requests).map(|_| -mean * (1.0 - random.f64()).ln()).collect();
        values.sort_by(f64::total_cmp);
        values.into_iter().map(|value| (value, 1)).collect()
    }

    #[test]
    fn a_change_within_the_noise_is_not_certain() {
        let mut random = fastrand::Rng::with_seed(1);
        let (before, after) = (latencies(10.0, 500, &mut random), latencies(10.0, 500, &mut random));
        for quantile in [0.5, 0.99] {
            let change = change(&before, &after, quantile, &mut random).expect("both have values");
            assert!(change.lowest < 0.1 && change.highest > -0.1, "{change:?}");
            assert!(change.lowest <= change.change && change.change <= change.highest, "{change:?}");
        }
    }

    #[test]
    fn a_large_change_is_certain() {
        let mut random = fastrand::Rng::with_seed(1);
        let (before, after) = (latencies(10.0, 2_000, &mut random), latencies(15.0, 2_000, &mut random));
        for quantile in [0.5, 0.99] {
            let change = change(&before, &after, quantile, &mut random).expect("both have values");
            assert!(change.lowest > 0.1 && (0.3..0.75).contains(&change.change), "{change:?}");
        }
    }

    #[test]
    fn the_interval_is_that_of_resampling_by_hand() {
        let mut random = fastrand::Rng::with_seed(7);
        let values = latencies(10.0, 200, &mut random);
        let by_hand: Vec<f64> = (0..2_000)
            .map(|_| {
                let mut drawn: Vec<f64> = (0..200).map(|_| values[random.usize(..200)].0).collect();
                drawn.sort_by(f64::total_cmp);
                drawn[99]
            })
            .collect();
        let shortcut: Vec<f64> = (0..2_000).filter_map(|_| resample(&values, 0.5, &mut random)).collect();
        let spread = |mut all: Vec<f64>| {
            all.sort_by(f64::total_cmp);
            (all[50], all[1_000], all[1_950])
        };
        let ((a, b, c), (x, y, z)) = (spread(by_hand), spread(shortcut));
        for (one, other) in [(a, x), (b, y), (c, z)] {
            assert!((one / other - 1.0).abs() < 0.06, "{one} and {other}");
        }
    }

    #[test]
    fn nothing_is_compared_with_nothing() {
        let mut random = fastrand::Rng::with_seed(1);
        assert_eq!(change(&[], &[(1.0, 1)], 0.5, &mut random), None);
        assert_eq!(change(&[(1.0, 1)], &[], 0.5, &mut random), None);
        assert_eq!(change(&[(0.0, 1)], &[(1.0, 1)], 0.5, &mut random), None);
    }
}
