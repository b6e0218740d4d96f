//! Extends a page's Content-Security-Policy (Level 3) so that it allows the compositor's own scripts, and no others.
//! Each script is named by its hash. A policy that is not text is left unchanged.

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use http::{HeaderName, HeaderValue};

use super::scripts::{self, Script};

/// The compositor's scripts that a page needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scripts {
    /// The script for parts that arrive late.
    pub late: Option<&'static Script>,
    /// The script for parts that are loaded when a reader scrolls near them.
    pub lazy: Option<&'static Script>,
}

/// Chooses the scripts that suit a page's policies, and extends the policies to allow them.
#[must_use]
pub fn adapt(headers: &mut [(HeaderName, HeaderValue)], has_late: bool, has_lazy: bool) -> Scripts {
    let is_policy = |name: &HeaderName| [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY].contains(name);
    // A report-only policy blocks nothing.
    let enforced = |name: &HeaderName| *name == CONTENT_SECURITY_POLICY;
    let policies = || headers.iter().filter(|(name, _)| enforced(name)).filter_map(|(_, value)| value.to_str().ok());
    let trusts_all = policies().any(|policy| policy.to_ascii_lowercase().contains("'strict-dynamic'"));
    // Trusted Types forbid HTML with scripts in it. Without scripts it is allowed under a separate policy.
    let typed = policies().any(|policy| policy.to_ascii_lowercase().contains("require-trusted-types-for"));
    let late = has_late.then(|| scripts::late(trusts_all));
    let lazy = has_lazy.then(|| scripts::lazy(trusts_all || typed));
    for (_, value) in headers.iter_mut().filter(|(name, _)| is_policy(name)) {
        // A value that is not text is left unchanged.
        let Ok(policies) = value.to_str() else { continue };
        let adapted: Vec<String> = policies.split(',').map(|policy| adapted(policy, late, lazy)).collect();
        if let Ok(adapted) = HeaderValue::from_str(adapted.join(",").trim()) {
            *value = adapted;
        }
    }
    Scripts { late, lazy }
}

/// Extends policies so that a page may load one more script from this site, and the script may send requests to it.
#[must_use]
pub fn with_script(policies: &HeaderValue, script: &Script) -> HeaderValue {
    let Ok(text) = policies.to_str() else { return policies.clone() };
    let adapted: Vec<String> = text.split(',').map(|policy| adapted(policy, None, Some(script))).collect();
    HeaderValue::from_str(adapted.join(",").trim()).unwrap_or_else(|_| policies.clone())
}

fn adapted(policy: &str, late: Option<&Script>, lazy: Option<&Script>) -> String {
    let mut policy = Policy(policy.split(';').map(str::to_owned).collect());
    let hash = |script: &Script| format!("'{}'", script.hash);
    if let Some(late) = late {
        policy.allow(&SCRIPTS, &hash(late), runs_inline);
    }
    if let Some(lazy) = lazy {
        // A hash would disable `'unsafe-inline'`, and `'strict-dynamic'` disables `'self'`.
        let here = |sources: &[&str]| allows_this_site(sources) && !has(sources, "'strict-dynamic'");
        policy.allow(&SCRIPTS, "'self'", |sources| here(sources) || !runs_inline(sources));
        policy.allow(&SCRIPTS, &hash(lazy), here);
        policy.allow(&["connect-src", "default-src"], "'self'", allows_this_site);
        policy.allow(&["trusted-types"], "pasteup", |names| has(names, "*"));
    }
    policy.0.join(";")
}

/// The directives that decide which scripts run. The first one that is present counts.
const SCRIPTS: [&str; 3] = ["script-src-elem", "script-src", "default-src"];

fn has(sources: &[&str], wanted: &str) -> bool {
    sources.iter().any(|source| source.eq_ignore_ascii_case(wanted))
}

/// Whether scripts or requests of this site are allowed.
fn allows_this_site(sources: &[&str]) -> bool {
    has(sources, "'self'") || has(sources, "*")
}

/// Whether all inline scripts are allowed. A hash or a nonce would disable `'unsafe-inline'` (CSP 3, 6.7.3.2).
fn runs_inline(sources: &[&str]) -> bool {
    let disables = |source: &&str| {
        let source = source.to_ascii_lowercase();
        ["'nonce-", "'sha256-", "'sha384-", "'sha512-", "'strict-dynamic'"]
            .iter()
            .any(|start| source.starts_with(start))
    };
    has(sources, "'unsafe-inline'") && !sources.iter().any(disables)
}

/// The directives of a policy, each as it was written.
struct Policy(Vec<String>);

impl Policy {
    /// Adds a source to the first of these directives that is present, unless it is sufficient already. `default-src`,
    /// which applies to other kinds of content too, is left unchanged; a directive for this kind only is added.
    fn allow(&mut self, directives: &[&str], source: &str, suffices: impl Fn(&[&str]) -> bool) {
        let place = |wanted: &str| {
            let named = |directive: &&String| first_word(directive).eq_ignore_ascii_case(wanted);
            // Of two directives with the same name, the first counts (CSP 3, 2.2.1).
            self.0.iter().position(|directive| named(&directive))
        };
        let Some((directive, at)) = directives.iter().find_map(|name| Some((*name, place(name)?))) else { return };
        let sources: Vec<&str> = self.0[at].split_ascii_whitespace().skip(1).collect();
        if has(&sources, source) || suffices(&sources) {
            return;
        }
        let name = if directive == "default-src" { directives[directives.len() - 2] } else { directive };
        let others = sources.iter().copied().filter(|source| !source.eq_ignore_ascii_case("'none'"));
        let words: Vec<&str> = [name].into_iter().chain(others).chain([source]).collect();
        let text = format!(" {}", words.join(" "));
        if directive == name {
            self.0[at] = text;
        } else {
            self.0.insert(at + 1, text);
        }
    }
}

fn first_word(directive: &str) -> &str {
    directive.split_ascii_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str, has_late: bool, has_lazy: bool) -> (String, Scripts) {
        let mut headers = [(CONTENT_SECURITY_POLICY, HeaderValue::from_str(text).expect("it is a valid value"))];
        let scripts = adapt(&mut headers, has_late, has_lazy);
        (headers[0].1.to_str().expect("it is text").to_owned(), scripts)
    }

    #[test]
    fn a_policy_allows_the_late_script_by_its_hash_and_nothing_else() {
        let hash = format!("'{}'", scripts::late(false).hash);
        for (written, adapted) in [
            ("img-src *", "img-src *".to_owned()),
            ("default-src 'none'; img-src *", format!("default-src 'none'; script-src {hash}; img-src *")),
            ("default-src 'self' a.test", format!("default-src 'self' a.test; script-src 'self' a.test {hash}")),
            ("script-src 'self'; default-src *", format!("script-src 'self' {hash}; default-src *")),
            ("Script-Src 'NONE'", format!("script-src {hash}")),
            ("script-src", format!("script-src {hash}")),
            ("script-src-elem a.test; script-src b.test", format!("script-src-elem a.test {hash}; script-src b.test")),
            ("script-src a.test; script-src b.test", format!("script-src a.test {hash}; script-src b.test")),
            ("script-src 'self' 'unsafe-inline'", "script-src 'self' 'unsafe-inline'".to_owned()),
            ("script-src 'unsafe-inline' 'nonce-x'", format!("script-src 'unsafe-inline' 'nonce-x' {hash}")),
            ("script-src 'self', script-src *", format!("script-src 'self' {hash}, script-src * {hash}")),
        ] {
            let (policy, scripts) = policy(written, true, false);
            assert_eq!(policy, adapted);
            assert_eq!(scripts, Scripts { late: Some(scripts::late(false)), lazy: None });
            assert_eq!(self::policy(&policy, true, false).0, adapted, "an extended policy is sufficient");
            assert_eq!(self::policy(written, false, false).0, written, "without scripts nothing is added");
        }
    }

    #[test]
    fn a_policy_allows_the_lazy_script_and_its_requests() {
        let (plain, strict) = (scripts::lazy(false), scripts::lazy(true));
        for (written, adapted, script) in [
            ("script-src 'self'", "script-src 'self'".to_owned(), plain),
            (
                "default-src 'none'",
                format!("default-src 'none'; connect-src 'self'; script-src '{}'", plain.hash),
                plain,
            ),
            ("connect-src a.test", "connect-src a.test 'self'".to_owned(), plain),
            ("script-src https: 'unsafe-inline'", "script-src https: 'unsafe-inline' 'self'".to_owned(), plain),
            (
                "script-src 'self' 'strict-dynamic'",
                format!("script-src 'self' 'strict-dynamic' '{}'", strict.hash),
                strict,
            ),
            (
                "require-trusted-types-for 'script'; trusted-types a",
                "require-trusted-types-for 'script'; trusted-types a pasteup".to_owned(),
                strict,
            ),
        ] {
            let (policy, scripts) = policy(written, false, true);
            assert_eq!(policy, adapted);
            assert_eq!(scripts.lazy, Some(script), "{written}");
        }
    }
}
