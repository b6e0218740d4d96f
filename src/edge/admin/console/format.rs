//! How figures, times and amounts are shown.

use std::cmp::Ordering;

use jiff::Timestamp;

use crate::page::policy::resilience::health::Health;
use crate::page::source::units::show_ms;

/// Formats milliseconds, or a dash.
#[expect(clippy::ref_option, reason = "templates pass fields by reference")]
pub(super) fn ms(ms: &Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), show_ms)
}

/// Formats a share from 0 to 1. Only nothing is 0%, and only everything is 100%.
pub(super) fn percent(share: &f64) -> String {
    match share * 100.0 {
        0.0 => "0%".to_owned(),
        percent if percent >= 100.0 => "100%".to_owned(),
        percent if percent < 0.1 => "<0.1%".to_owned(),
        percent if percent >= 99.9 => "99.9%".to_owned(),
        percent => format!("{percent:.1}%"),
    }
}

/// The CSS class of a state of health.
pub(super) const fn class(health: &Health) -> &'static str {
    match health {
        Health::Idle => "",
        Health::Healthy => "good",
        Health::Degraded => "warn",
        Health::Failing | Health::Down => "bad",
    }
}

/// Formats a time in UTC, to the second: the time of day, with the date if that is another day than today.
pub(super) fn clock(at: &Timestamp, now: &Timestamp) -> String {
    let (at, today) = (time(at), time(now));
    let same_day = at.split_once(' ').filter(|(day, _)| today.starts_with(day)).map(|(_, time)| time.to_owned());
    same_day.unwrap_or(at)
}

/// Formats a time in UTC, to the second.
pub(super) fn time(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long ago a time was: `12 s`, `4 min`, `3 h 20 min`, `5 d 3 h`.
pub(super) fn ago(at: &Timestamp, now: &Timestamp) -> String {
    span(now.duration_since(*at).as_secs().max(0).unsigned_abs())
}

/// Formats seconds in one or two units.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds} s"),
        120..3_600 => format!("{minutes} min"),
        3_600..86_400 => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// Formats bytes in a binary unit.
pub(super) fn bytes(bytes: &u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal place is shown")]
    let (count, unit) = match *bytes {
        0..1_024 => return format!("{bytes} B"),
        1_024..1_048_576 => (*bytes as f64 / 1_024.0, "KiB"),
        1_048_576..1_073_741_824 => (*bytes as f64 / 1_048_576.0, "MiB"),
        _ => (*bytes as f64 / 1_073_741_824.0, "GiB"),
    };
    if count < 10.0 { format!("{count:.1} {unit}") } else { format!("{count:.0} {unit}") }
}

/// How much of a limit is used, in percent, at most 100.
pub(super) const fn used(amount: &u64, limit: &u64) -> u64 {
    match amount.saturating_mul(100).checked_div(*limit) {
        Some(percent) if percent < 100 => percent,
        Some(_) => 100,
        None => 0,
    }
}

/// Formats a number of things: `1 page`, `2 pages`.
pub(super) fn counted(count: usize, one: &str, several: &str) -> String {
    match count.cmp(&1) {
        Ordering::Equal => format!("1 {one}"),
        _ => format!("{count} {several}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_never_rounded_to_nothing_or_everything() {
        let shares = [0.0, 0.000_1, 0.123_4, 0.999_9, 1.0].map(|share| percent(&share));
        assert_eq!(shares, ["0%", "<0.1%", "12.3%", "99.9%", "100%"]);
        let spans = [5, 119, 240, 3_600, 12_000, 442_800].map(span);
        assert_eq!(spans, ["5 s", "119 s", "4 min", "1 h", "3 h 20 min", "5 d 3 h"]);
        let sizes = [700, 2_048, 50 << 20, 3 << 30].map(|size| bytes(&size));
        assert_eq!(sizes, ["700 B", "2.0 KiB", "50 MiB", "3.0 GiB"]);
        assert_eq!([(1, 0), (1, 4), (9, 4)].map(|(amount, limit)| used(&amount, &limit)), [0, 25, 100]);
    }

    #[test]
    fn a_time_of_today_has_no_date() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-12-01T03:00:00Z");
        assert_eq!(clock(&at("2026-12-01T02:50:10Z"), &now), "02:50:10");
        assert_eq!(clock(&at("2026-11-30T23:50:10Z"), &now), "2026-11-30 23:50:10");
        assert_eq!(ago(&at("2026-12-01T02:50:00Z"), &now), "10 min");
    }
}
