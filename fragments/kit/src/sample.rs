//! Moves the dates of built-in samples, so that what they report is news on any day.
//! What only looks like a date stays as it is.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The last day of all samples, as they are written.
const LAST_DAY: Date = jiff::civil::date(2026, 9, 18);
/// The length of a date such as `2026-09-18`.
const LENGTH: usize = 10;

/// The date in UTC, in which samples state their times.
#[expect(clippy::disallowed_methods, reason = "a service has no clock of the engine")]
pub(crate) fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// A sample with all its dates moved, so that its last day is `today`.
pub(crate) fn ending(sample: &str, today: Date) -> String {
    let days = (today - LAST_DAY).get_days();
    let mut moved = String::with_capacity(sample.len());
    let mut left = sample;
    while !left.is_empty() {
        match first_date(left) {
            Some((date, text)) => {
                let date = date.saturating_add(days.days()).to_string();
                moved.push_str(&date);
                left = text;
            }
            None => {
                let one = left.chars().next().map_or(left.len(), char::len_utf8);
                moved.push_str(&left[..one]);
                left = &left[one..];
            }
        }
    }
    moved
}

/// The date that a text begins with, and what follows it.
fn first_date(text: &str) -> Option<(Date, &str)> {
    let (first, rest) = text.split_at_checked(LENGTH)?;
    let is_date = first.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let date = first.parse().ok().filter(|_| is_date)?;
    Some((date, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_date_moves_by_as_many_days_as_the_last_one() {
        let today = jiff::civil::date(2028, 3, 1);
        for (sample, expected) in [
            ("2026-09-18", "2028-03-01"),
            ("<t>2026-09-17T06:40:00Z</t>", "<t>2028-02-29T06:40:00Z</t>"),
            ("Port Alder,2026-09-18,0.0", "Port Alder,2028-03-01,0.0"),
            ("\"date\": \"2026-10-03\"", "\"date\": \"2028-03-16\""),
            ("2026-13-18 1-2-3 12026/09/18 ü", "2026-13-18 1-2-3 12026/09/18 ü"),
        ] {
            assert_eq!(ending(sample, today), expected);
        }
        assert_eq!(ending("2026-09-18", LAST_DAY), "2026-09-18");
    }
}
