//! Decimal numbers as texts: compared digit by digit, so that no digit is lost however long they are.
//! Ids of twenty digits stand in cookies, and floating-point numbers would make neighbours equal.

use std::cmp::Ordering;

/// A number, without the zeros that change nothing.
#[derive(Debug, PartialEq, Eq)]
struct Number<'a> {
    negative: bool,
    /// Digits before the point, none of them a leading zero.
    whole: &'a str,
    /// Digits after the point, none of them a trailing zero.
    part: &'a str,
}

impl<'a> Number<'a> {
    /// Reads `7`, `-7` or `7.50`.
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

    fn size(&self) -> (usize, &str, &str) {
        // Of two rows of digits that are equally long the larger comes later in the alphabet, too.
        (self.whole.len(), self.whole, self.part)
    }
}

/// Whether a text is a number.
pub(super) fn is_number(text: &str) -> bool {
    Number::read(text).is_some()
}

/// Compares two texts as numbers, where both are.
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
    fn numbers_are_compared_by_what_they_are_worth() {
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
        fn small_numbers_are_compared_as_floats_are(
            left in "-?[0-9]{1,5}(\\.[0-9]{1,4})?",
            right in "-?[0-9]{1,2}(\\.[0-9]{1,2})?",
        ) {
            let float = |text: &str| text.parse::<f64>().expect("a number");
            prop_assert_eq!(compare(&left, &right), float(&left).partial_cmp(&float(&right)));
        }
    }
}
