//! Debug tokens: who holds one sees the overlay on a live site. Each is signed, and good until the time it names.

use std::time::Duration;

use jiff::Timestamp;
use ring::hmac::{HMAC_SHA256, Key, sign, verify};
use ring::rand::SystemRandom;

/// What is signed beside the time, so that a signature is good for nothing else.
const PURPOSE: &str = "pasteup debug token";

/// Signs debug tokens, and knows its own again.
pub struct Passes(Key);

impl Passes {
    /// Compositors with the same admin token know each other's; without one a key is drawn, which ends with the process.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(admin_token: Option<&str>) -> Result<Self, String> {
        match admin_token {
            Some(token) => Ok(Self(Key::new(HMAC_SHA256, token.as_bytes()))),
            None => Key::generate(HMAC_SHA256, &SystemRandom::new())
                .map(Self)
                .map_err(|_| "the system gives no random numbers".to_owned()),
        }
    }

    /// A token that is good for so long from now on.
    #[must_use]
    pub fn issue(&self, now: Timestamp, good_for: Duration) -> String {
        let seconds = i64::try_from(good_for.as_secs()).unwrap_or(i64::MAX);
        let until = now.as_second().saturating_add(seconds);
        let signature = sign(&self.0, message(until).as_bytes());
        let hex: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{until}.{hex}")
    }

    /// Whether a token is one of ours and still good.
    #[must_use]
    pub fn is_good(&self, token: &str, now: Timestamp) -> bool {
        let Some((until, hex)) = token.split_once('.') else { return false };
        // As it was written, and in no other way.
        let Some(until) = until.parse::<i64>().ok().filter(|number| number.to_string() == until) else { return false };
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let signature: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
        let is_ours = |signature: Vec<u8>| verify(&self.0, message(until).as_bytes(), &signature).is_ok();
        now.as_second() < until && signature.is_some_and(is_ours)
    }
}

fn message(until: i64) -> String {
    format!("{PURPOSE} {until}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_its_time_and_only_as_it_was_signed() {
        let passes = Passes::new(Some("hush")).expect("a key");
        let now = Timestamp::from_second(1_000).expect("a time");
        let later = |seconds: i64| Timestamp::from_second(1_000 + seconds).expect("a time");
        let token = passes.issue(now, Duration::from_mins(1));
        assert!(passes.is_good(&token, now) && passes.is_good(&token, later(59)));
        assert!(!passes.is_good(&token, later(60)), "its time is over");
        let (_, signature) = token.split_once('.').expect("two parts");
        for other in [
            format!("9999.{signature}"),
            format!("1060.{}", &signature[2..]),
            format!("1060.{signature}00"),
            "1060.".to_owned(),
            "1060.é".to_owned(),
            signature.to_owned(),
            String::new(),
        ] {
            assert!(!passes.is_good(&other, now), "{other}");
        }
        assert!(!Passes::new(Some("other")).expect("a key").is_good(&token, now), "another site's");
        assert!(Passes::new(Some("hush")).expect("a key").is_good(&token, now), "another process of this site");
    }
}
