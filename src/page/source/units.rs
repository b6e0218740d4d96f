//! Durations and sizes as people write them: `250ms`, `1h30m`, `64KiB`.
//! A number without a unit, a negative one, or one that is too large is an error that names what is allowed.

use std::time::Duration;

/// The longest duration that may be written: 365 days.
pub const LONGEST: Duration = Duration::from_hours(365 * 24);

/// Why a text is not a duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A number without a unit.
    #[error("`{0}` has no unit")]
    Bare(String, &'static str),
    /// A negative number.
    #[error("`{0}` is negative")]
    Negative(String),
    /// A duration over the maximum.
    #[error("`{0}` is longer than 365 days")]
    TooLong(String),
    /// A size over the maximum.
    #[error("`{0}` is larger than 1 TiB")]
    TooLarge(String),
    /// Anything else.
    #[error("`{0}` is not a valid {1}")]
    Malformed(String, &'static str, &'static str),
}

impl UnitError {
    /// The help: what is allowed.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Bare(_, examples) | Self::Malformed(_, _, examples) => format!("write it like {examples}"),
            Self::Negative(_) => "the minimum is `0`".to_owned(),
            Self::TooLong(_) => "the maximum is `365d`".to_owned(),
            Self::TooLarge(_) => "the maximum is `1024GiB`".to_owned(),
        }
    }
}

const DURATIONS: &str = "`250ms`, `5s`, `10m`, `1h30m` or `1d`";
const SIZES: &str = "`512B`, `64KiB` or `1MiB`";

/// Reads a duration: a whole number and a unit (`ms`, `s`, `m`, `h`, `d`), or a sum of such terms, the largest unit first.
///
/// # Errors
/// The text is not a duration, or a longer one than [`LONGEST`].
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let malformed = || UnitError::Malformed(text.to_owned(), "duration", DURATIONS);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(UnitError::Negative(text.to_owned()));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UnitError::Bare(text.to_owned(), DURATIONS));
    }
    let mut total: u64 = 0;
    let mut rest = text;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let milliseconds: u64 = match &rest[digits..digits + letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(malformed()),
        };
        if digits == 0 || milliseconds >= last_unit {
            return Err(malformed());
        }
        last_unit = milliseconds;
        let too_long = || UnitError::TooLong(text.to_owned());
        // A number that does not fit is too long in any unit.
        let count: u64 = rest[..digits].parse().map_err(|_| too_long())?;
        total = count.checked_mul(milliseconds).and_then(|part| total.checked_add(part)).ok_or_else(too_long)?;
        if u128::from(total) > LONGEST.as_millis() {
            return Err(too_long());
        }
        rest = &rest[digits + letters..];
    }
    if text.is_empty() { Err(malformed()) } else { Ok(Duration::from_millis(total)) }
}

/// Reads a size: a whole number and `B`, `KiB`, `MiB` or `GiB`. Returns bytes.
///
/// # Errors
/// The text is not a size, or one over 1 TiB.
pub fn size(text: &str) -> Result<u64, UnitError> {
    if text == "0" {
        return Ok(0);
    }
    if text.starts_with('-') {
        return Err(UnitError::Negative(text.to_owned()));
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit: u64 = match &text[digits..] {
        "" if digits > 0 => return Err(UnitError::Bare(text.to_owned(), SIZES)),
        "B" if digits > 0 => 1,
        "KiB" if digits > 0 => 1 << 10,
        "MiB" if digits > 0 => 1 << 20,
        "GiB" if digits > 0 => 1 << 30,
        _ => return Err(UnitError::Malformed(text.to_owned(), "size", SIZES)),
    };
    text[..digits]
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
        .filter(|bytes| *bytes <= 1 << 40)
        .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

/// The whole milliseconds of a duration.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Formats a duration in the notation that [`duration`] reads.
#[must_use]
pub fn show(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, milliseconds) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        let count = rest / milliseconds;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest %= milliseconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Formats a size in the notation that [`size`] reads.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let whole = units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes each byte as two hexadecimal digits. `text` is twice as long as `bytes`.
pub fn hexadecimal(bytes: &[u8], text: &mut [u8]) {
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Reads at most 16 lower-case hexadecimal digits. `None`: there is another character.
#[must_use]
#[inline]
pub fn from_hexadecimal(text: &[u8]) -> Option<u64> {
    // No digit is above 15, so that one look at the end finds all that are none.
    const VALUES: [u8; 256] = {
        let mut values = [0xff; 256];
        let mut value = 0;
        while value < 16 {
            values[DIGITS[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    let (mut number, mut highest) = (0, 0);
    for byte in text {
        let digit = VALUES[usize::from(*byte)];
        highest |= digit;
        number = number << 4 | u64::from(digit);
    }
    (highest <= 15).then_some(number)
}

/// Formats milliseconds for people: `0.4 ms`, `12 ms`, `1.25 s`.
#[must_use]
pub fn show_ms(ms: f64) -> String {
    match ms {
        ms if ms >= 1e3 => format!("{} s", (ms / 10.0).round() / 100.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hexadecimal_digits_are_read_as_they_are_written(number: u64, at in 0_usize..16, other in "[^0-9a-f]") {
            let mut text = [0; 16];
            hexadecimal(&number.to_be_bytes(), &mut text);
            prop_assert_eq!(from_hexadecimal(&text), Some(number));
            let mut wrong = text.to_vec();
            wrong.splice(at..=at, other.bytes());
            prop_assert_eq!(from_hexadecimal(&wrong), None);
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
            ("0", 0),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn an_invalid_duration_is_refused_with_the_notation() {
        for (text, expected) in [
            ("30", "no unit"),
            ("-1s", "negative"),
            ("99999999999d", "365 days"),
            ("366d", "365 days"),
            ("99999999999999999999999s", "365 days"),
            ("soon", "`5s`"),
            ("", "`5s`"),
            ("1m1h", "`5s`"),
            ("1.5s", "`5s`"),
            ("5 s", "`5s`"),
            ("5S", "`5s`"),
        ] {
            let error = duration(text).expect_err(text);
            assert!(format!("{error}; {}", error.help()).contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1MiB"), Ok(1_048_576));
        assert_eq!(size("0"), Ok(0));
        for text in ["64", "64KB", "-1B", "KiB", "9999999999GiB", ""] {
            size(text).expect_err(text);
        }
    }

    proptest! {
        #[test]
        fn a_formatted_size_is_read_back(bytes in 0_u64..=1 << 40) {
            for bytes in [bytes, bytes & !0x3ff, bytes & !0xfffff] {
                prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
            }
        }

        #[test]
        fn a_formatted_duration_is_read_back(milliseconds in 0_u64..=31_536_000_000) {
            let shown = show(Duration::from_millis(milliseconds));
            prop_assert_eq!(duration(&shown), Ok(Duration::from_millis(milliseconds)));
        }
    }
}
