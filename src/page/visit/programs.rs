//! Recognises programs that take no cookies, such as crawlers and monitors, by their user agents.
//! A program that is not recognised takes part in experiments like a browser, and draws another variant with each request.
//!
//! Names are compared as whole words: `Cubot` is a brand of phones, and `Googlebot` is a crawler. Most programs are found by a
//! rule; the others are in a list that is kept elsewhere (`scripts/programs.py`).

use std::sync::LazyLock;

use crate::page::source::map::Set;

/// The list: names of one or several words in lower case, and a notice.
const LIST: &str = include_str!("programs.txt");
/// The names in the list.
static NAMES: LazyLock<Set<&'static str>> =
    LazyLock::new(|| LIST.lines().filter(|line| !line.starts_with('#')).collect());
/// The greatest number of words in a name.
const MAX_WORDS: usize = 6;
/// How much of a user agent is read, in bytes. Those of browsers are far shorter.
const MAX_LENGTH: usize = 1024;
/// Ends of words that only programs have.
const KINDS: [&str; 6] = ["bot", "bots", "crawler", "crawlers", "spider", "spiders"];
/// A brand of phones that ends like a program.
const PHONES: &str = "cubot";
/// Parts of addresses. Programs state where they are explained; browsers do not.
const ADDRESSES: [&str; 2] = ["://", "www."];

/// Whether a user agent is that of a program that takes no cookies.
#[must_use]
pub fn is_program(agent: &str) -> bool {
    let agent: String = agent.chars().take(MAX_LENGTH).map(|letter| letter.to_ascii_lowercase()).collect();
    if ADDRESSES.iter().any(|address| agent.contains(address)) {
        return true;
    }
    let words: Vec<&str> =
        agent.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.iter().any(|word| *word != PHONES && KINDS.iter().any(|kind| word.ends_with(kind))) {
        return true;
    }
    let joined = words.join(" ");
    let mut start = 0;
    words.iter().enumerate().any(|(index, word)| {
        let mut end = start;
        let names = words[index..].iter().take(MAX_WORDS).map(|word| {
            end += word.len() + 1;
            &joined[start..end - 1]
        });
        let found = names.into_iter().any(|name| NAMES.contains(name));
        start += word.len() + 1;
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_browsers_by_words() {
        for agent in [
            "curl/8.5.0",
            "Wget/1.21",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) Chrome/141.0 Mobile Safari/537.36 (compatible; Google-InspectionTool/1.0;)",
            "Mozilla/5.0 (compatible; Yeti/1.1; +https://naver.me/spd)",
            "Mozilla/5.0 (compatible; Yeti/1.1)",
            "python-requests/2.32.3",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36 Chrome-Lighthouse",
            "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
            "facebookexternalhit/1.1",
            "Some_New_Bot/0.1",
        ] {
            assert!(is_program(agent), "{agent}");
        }
        for agent in [
            "",
            "Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20 PRO) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 4.2.2; HTC Butterfly Build/JDQ39) AppleWebKit/537.36 Chrome/49.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 4.0.3; KFOT) AppleWebKit/537.36 (KHTML, like Gecko) Silk/47.1.81 like Chrome/47.0 Safari/537.36",
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0 Safari/537.36 Edg/141.0",
        ] {
            assert!(!is_program(agent), "{agent}");
        }
    }

    #[test]
    fn every_name_of_the_list_is_found() {
        assert!(NAMES.len() > 700);
        for name in NAMES.iter() {
            assert!(name.split(' ').count() <= MAX_WORDS, "{name}");
            assert!(is_program(&format!("Mozilla/5.0 (compatible; {name}/1.0)")), "{name}");
        }
    }
}
