//! Parses `HTTP_USER_AGENT`: the browser, its version and its system, in the few values that the ESI 1.0 note defines.
//! All current browsers are `MOZILLA` 5.0, so pages that depend on more need another variable.

use super::variables::Value;

/// Texts in a `User-Agent` and the system that each identifies, in the order in which they are tried.
const SYSTEMS: [(&str, &str); 13] = [
    // Windows phones also mention iPhone and Android.
    ("Win", "WIN"),
    ("Macintosh", "MAC"),
    ("Mac OS", "MAC"),
    ("Mac_", "MAC"),
    ("Darwin", "MAC"),
    ("Linux", "UNIX"),
    ("linux", "UNIX"),
    ("Android", "UNIX"),
    ("X11", "UNIX"),
    ("BSD", "UNIX"),
    ("SunOS", "UNIX"),
    ("CrOS", "UNIX"),
    ("Unix", "UNIX"),
];

/// The keys of `HTTP_USER_AGENT`.
pub const KEYS: [&str; 3] = ["browser", "version", "os"];

/// Parses the header `User-Agent`.
#[must_use]
pub fn agent(header: &str) -> Value {
    let (browser, version) = browser(header);
    let os = SYSTEMS.iter().find(|(sign, _)| header.contains(sign)).map_or("OTHER", |(_, os)| os);
    let entry = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let entries = std::iter::zip(KEYS, [browser, version, os]).map(entry).collect();
    Value::Dictionary { whole: header.to_owned(), entries }
}

fn browser(header: &str) -> (&'static str, &str) {
    let after = |sign: &str| header.split_once(sign).map(|(_, rest)| number(rest));
    if let Some(version) = after("MSIE ") {
        return ("MSIE", version);
    }
    // Internet Explorer 11 does not contain `MSIE`.
    if header.contains("Trident/") {
        return ("MSIE", after("rv:").unwrap_or_default());
    }
    match header.strip_prefix("Mozilla/") {
        Some(rest) => ("MOZILLA", number(rest)),
        None => ("OTHER", after("/").unwrap_or_default()),
    }
}

/// The digits and points at the beginning of a text.
fn number(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_classified_as_in_the_note() {
        for (header, expected) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36",
                ["MOZILLA", "5.0", "WIN"],
            ),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Firefox/127.0", ["MOZILLA", "5.0", "MAC"]),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148", ["MOZILLA", "5.0", "MAC"]),
            ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/126.0", ["MOZILLA", "5.0", "UNIX"]),
            ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/126.0", ["MOZILLA", "5.0", "UNIX"]),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", ["MSIE", "6.0", "WIN"]),
            ("Mozilla/4.0 (compatible; MSIE 5.22; Mac_PowerPC)", ["MSIE", "5.22", "MAC"]),
            ("Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", ["MSIE", "11.0", "WIN"]),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://google.com/bot.html)", ["MOZILLA", "5.0", "OTHER"]),
            ("curl/8.5.0", ["OTHER", "8.5.0", "OTHER"]),
            ("NewsApp/3.1 CFNetwork/1494 Darwin/23.4.0", ["OTHER", "3.1", "MAC"]),
            ("Mozilla", ["OTHER", "", "OTHER"]),
            ("MSIE ", ["MSIE", "", "OTHER"]),
            ("Ünknown/…", ["OTHER", "", "OTHER"]),
            ("", ["OTHER", "", "OTHER"]),
        ] {
            let Value::Dictionary { whole, entries } = agent(header) else { panic!("no dictionary: {header}") };
            assert_eq!(whole, header);
            let entries: Vec<_> = entries.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let keys = ["browser", "version", "os"];
            assert_eq!(entries, std::iter::zip(keys, expected).collect::<Vec<_>>(), "{header}");
        }
    }
}
