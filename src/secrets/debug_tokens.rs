//! Issues and verifies debug tokens: a client with a valid token sees the overlay on a live site.
//! A token is signed, and expires at the time that it contains; a token that cannot be parsed is invalid.

use std::time::Duration;

use jiff::Timestamp;
use ring::hmac::{HMAC_SHA256, Key, sign, verify};

use super::site_key::{Purpose, SiteKey};

/// Signed together with the time, so that the signature is not valid for any other purpose.
const PURPOSE: &str = "pasteup debug token";

/// Issues debug tokens, and verifies them.
pub struct DebugTokens(Key);

impl DebugTokens {
    /// Derives the key from the site's, so that compositors with the same key accept each other's tokens. Not from the admin
    /// token: whoever had a debug token could try whether a guessed admin token signs the same.
    #[must_use]
    pub fn new(key: &SiteKey) -> Self {
        Self(Key::new(HMAC_SHA256, &key.derive(Purpose::DebugTokens)))
    }

    /// A token that is valid from now on for a duration, in whole seconds.
    #[must_use]
    pub fn issue(&self, now: Timestamp, valid_for: Duration) -> String {
        let seconds = i64::try_from(valid_for.as_secs()).unwrap_or(i64::MAX);
        let until = now.as_second().saturating_add(seconds);
        let signature = sign(&self.0, message(until).as_bytes());
        let hex: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{until}.{hex}")
    }

    /// Whether a token was issued with this key and has not expired.
    #[must_use]
    pub fn is_valid(&self, token: &str, now: Timestamp) -> bool {
        let Some((until, hex)) = token.split_once('.') else { return false };
        // Only the canonical notation is accepted: not `+5`, `05` or the like.
        let Some(until) = until.parse::<i64>().ok().filter(|number| number.to_string() == until) else { return false };
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let signature: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
        let is_authentic = |signature: Vec<u8>| verify(&self.0, message(until).as_bytes(), &signature).is_ok();
        now.as_second() < until && signature.is_some_and(is_authentic)
    }
}

fn message(until: i64) -> String {
    format!("{PURPOSE} {until}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_until_it_expires_and_only_as_it_was_signed() {
        let tokens_of = |byte| DebugTokens::new(&SiteKey::new(vec![byte; 32]).expect("it is long enough"));
        let tokens = tokens_of(1);
        let now = Timestamp::from_second(1_000).expect("a time");
        let later = |seconds: i64| Timestamp::from_second(1_000 + seconds).expect("a time");
        let token = tokens.issue(now, Duration::from_mins(1));
        assert!(tokens.is_valid(&token, now) && tokens.is_valid(&token, later(59)));
        assert!(!tokens.is_valid(&token, later(60)), "it has expired");
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
            assert!(!tokens.is_valid(&other, now), "{other}");
        }
        assert!(!tokens_of(2).is_valid(&token, now), "another site's");
        assert!(tokens_of(1).is_valid(&token, now), "another process of this site");
    }
}
