//! Compares decimal numbers digit by digit, so that numbers of any length are exact.
//! Cookies contain ids of twenty digits, and as floating-point numbers different ids would be equal.

use std::cmp::Ordering;

/// A number without redundant zeros.
#[derive(Debug, PartialEq, Eq)]
struct Number<'a> {
    /// Whether it is less than zero.
    negative: bool,
    /// The digits before the point, without leading zeros.
    whole: &'a str,
    /// The digits after the point, without trailing zeros.
    part: &'a str,
}

impl<'a> Number<'a> {
    /// Parses `7`, `-7` or `7.50`.
    fn read(text: &'a str) -> Option<Self> {
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        if !is_digits(whole) || !is_digits(part) {
            return None;
        }
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        let is_zero = whole.is_empty() && part.is_empty();
        Some(Self { negative: !is_zero && digits.len() < text.len(), whole, part })
    }

    /// The absolute value, as something that can be compared.
    fn size(&self) -> (usize, &str, &str) {
        // Digits of equal length compare as texts do.
        (self.whole.len(), self.whole, self.part)
    }
}

/// Whether a text is a number.
pub(super) fn is_number(text: &str) -> bool {
    Number::read(text).is_some()
}

/// Compares two texts as numbers; `None` if one of them is not a number.
pub(super) fn compare(left: &str, right: &str) -> Option<Ordering> {
    let (left, right) = (Number::read(left)?, Number::read(right)?);
    Some(match (left.negative, right.negative) {
        (false, false) => left.size().cmp(&right.size()),
        (true, true) => right.size().cmp(&left.size()),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_compared_by_value() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, order) in [
            ("10", "9", Some(Greater)),
            ("007", "7.00", Some(Equal)),
            ("-0", "0.0", Some(Equal)),
            ("-2", "-10", Some(Greater)),
            ("-2", "1", Some(Less)),
            ("0.25", "0.3", Some(Less)),
            ("0.25", "0.250", Some(Equal)),
            ("12345678901234567890123", "12345678901234567890124", Some(Less)),
            ("1", "", None),
            ("1", "a", None),
            ("1.", "1", None),
            (".5", "1", None),
            ("1.2.3", "1", None),
            ("1e3", "1", None),
            ("+1", "1", None),
            (" 1", "1", None),
            ("--1", "1", None),
            ("-", "1", None),
            ("٣", "3", None),
        ] {
            assert_eq!(compare(left, right), order, "{left} {right}");
            assert_eq!(compare(right, left), order.map(Ordering::reverse), "{right} {left}");
        }
    }

    proptest! {
        #[test]
        fn small_numbers_compare_like_floats(
            left in "-?[0-9]{1,5}(\\.[0-9]{1,4})?",
            right in "-?[0-9]{1,2}(\\.[0-9]{1,2})?",
        ) {
            let float = |text: &str| text.parse::<f64>().expect("a number");
            prop_assert_eq!(compare(&left, &right), float(&left).partial_cmp(&float(&right)));
        }
    }
}
