//! Properties of caching that hold for any headers of a service. Called by the fuzz target and by `tests/it/fuzzing.rs`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use pasteup::page::policy::cache::directives::{Arrival, CacheDirectives};
use pasteup::page::policy::cache::freshness::{FreshnessRules, ResponseTraits, lifetime};

/// Reads an input as header lines.
pub(crate) fn check(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(50) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    let arrival = Arrival { at: Timestamp::UNIX_EPOCH, delay: Duration::from_millis(5) };
    let stated = CacheDirectives::read(&headers, arrival);
    let text = format!("{headers:?}").to_ascii_lowercase();
    let rules = FreshnessRules {
        ttl: Some(Duration::from_secs(60)),
        default_ttl: Duration::from_secs(5),
        max_ttl: Some(Duration::from_secs(30)),
        stale_while_revalidate: Duration::from_secs(10),
        stale_if_error: Duration::from_secs(10),
    };
    for is_fragment in [true, false] {
        for has_validator in [true, false] {
            let life = lifetime(&stated.compositor, &rules, ResponseTraits { is_fragment, has_validator });
            assert!(life.fresh <= Duration::from_secs(30) || !is_fragment, "the manifest's `max_ttl` is exceeded");
            if stated.compositor.uncacheable.is_some() {
                assert_eq!(life.fresh, Duration::ZERO, "an uncacheable response is fresh");
            }
        }
    }
    // A response that states one of these is uncacheable, whatever else it states.
    for word in ["\"no-store\"", "\"private\""] {
        if text.contains(&format!("\"cache-control\": {word}")) && !headers.contains_key("fragment-cache-control") {
            assert!(stated.compositor.uncacheable.is_some(), "{text}");
        }
    }
}
