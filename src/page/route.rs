//! From a request's path to a layout and its parameters: the most specific pattern wins.
//! A path that could be read in two ways is refused before it is matched.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::names;

/// A pattern such as `/news/{section}` or `/files/{*rest}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    parameters: Vec<String>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The first character.
    #[error("a route begins with `/`")]
    NoSlash,
    /// `/a/{b}c`
    #[error("`{0}`: a parameter fills a whole part between slashes, such as `/news/{{section}}`")]
    PartlyParameter(String),
    /// `{a b}`
    #[error("`{0}` is no parameter name: {rule}", rule = names::NAME_RULE)]
    BadName(String),
    /// `/{a}/{a}`
    #[error("the parameter `{0}` stands twice")]
    Twice(String),
    /// `/{*rest}/more`
    #[error("`{{*{0}}}` takes all the rest, so it can only stand last")]
    RestNotLast(String),
    /// A query, a fragment, a backslash and so on.
    #[error(
        "`{0}` cannot stand in a path: write it as browsers show it, without `?`, `#`, `%`, `\\`, blanks or dot segments"
    )]
    BadSegment(String),
    /// `/_pasteup/…`
    #[error("paths below `/_pasteup/` are the compositor's own")]
    Reserved,
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let path = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        if path == "_pasteup" || path.starts_with("_pasteup/") {
            return Err(PatternError::Reserved);
        }
        let mut parameters: Vec<String> = Vec::new();
        let count = path.split('/').count();
        for (index, segment) in path.split('/').enumerate() {
            let Some(inner) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
                if segment.contains(['{', '}']) {
                    return Err(PatternError::PartlyParameter(segment.to_owned()));
                }
                let bad = |c: char| c.is_control() || c.is_whitespace() || "?#%\\".contains(c);
                let empty_inside = segment.is_empty() && index + 1 < count;
                if segment.contains(bad) || matches!(segment, "." | "..") || empty_inside {
                    return Err(PatternError::BadSegment(segment.to_owned()));
                }
                continue;
            };
            let name = inner.strip_prefix('*').unwrap_or(inner);
            if !names::is_name(name) {
                return Err(PatternError::BadName(name.to_owned()));
            }
            if parameters.iter().any(|known| known == name) {
                return Err(PatternError::Twice(name.to_owned()));
            }
            if inner.starts_with('*') && index + 1 < count {
                return Err(PatternError::RestNotLast(name.to_owned()));
            }
            parameters.push(name.to_owned());
        }
        Ok(Self { text: text.to_owned(), parameters })
    }
}

impl Pattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names in it, in order.
    #[must_use]
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// Equal for two patterns that match the same paths, whatever their parameters are called.
    #[must_use]
    pub fn shape(&self) -> String {
        self.text
            .split('/')
            .map(|segment| match segment {
                s if s.starts_with("{*") => "{*}",
                s if s.starts_with('{') => "{}",
                s => s,
            })
            .collect::<Vec<_>>()
            .join("/")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A path that is refused: it could mean one thing here and another to a nanoservice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// An encoded slash, a NUL, a backslash or a dot segment.
    #[error("the path holds an encoded slash, a NUL, a backslash or a dot segment")]
    Ambiguous,
    /// Percent signs that encode nothing, or bytes that are no UTF-8.
    #[error("the path is not well encoded")]
    Encoding,
}

/// The one form of a path that routing, keys and upstream requests use: percent-decoded.
///
/// # Errors
/// The path is ambiguous or ill encoded (RFC 3986, section 2.1).
pub fn normalise(path: &str) -> Result<String, BadPath> {
    let bytes = path.as_bytes();
    for (at, _) in path.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3).ok_or(BadPath::Encoding)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadPath::Encoding);
        }
        if matches!(digits.to_ascii_lowercase().as_slice(), b"2f" | b"5c" | b"00") {
            return Err(BadPath::Ambiguous);
        }
    }
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| BadPath::Encoding)?;
    let ambiguous = decoded.contains(['\0', '\\']) || decoded.split('/').any(|segment| matches!(segment, "." | ".."));
    if ambiguous || !decoded.starts_with('/') { Err(BadPath::Ambiguous) } else { Ok(decoded.into_owned()) }
}

/// Patterns and what each leads to.
#[derive(Debug, Clone)]
pub struct Routes<T> {
    router: matchit::Router<T>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { router: matchit::Router::new() }
    }
}

impl<T> Routes<T> {
    /// Adds a pattern. `false` where another pattern matches the same paths.
    pub fn insert(&mut self, pattern: &Pattern, target: T) -> bool {
        self.router.insert(pattern.as_str(), target).is_ok()
    }

    /// What a normalised path leads to, and the parameters' values.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(&T, Vec<(String, String)>)> {
        let found = self.router.at(path).ok()?;
        let parameters = found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some((found.value, parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn routes(patterns: &[&'static str]) -> Routes<&'static str> {
        let mut routes = Routes::default();
        for &pattern in patterns {
            assert!(routes.insert(&pattern.parse().expect("a pattern"), pattern));
        }
        routes
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let routes = routes(&["/", "/news/{section}", "/news/uk", "/files/{*rest}", "/news/{section}/latest"]);
        for (path, pattern, parameters) in [
            ("/", "/", vec![]),
            ("/news/uk", "/news/uk", vec![]),
            ("/news/world", "/news/{section}", vec![("section", "world")]),
            ("/news/uk/latest", "/news/{section}/latest", vec![("section", "uk")]),
            ("/files/a/b", "/files/{*rest}", vec![("rest", "a/b")]),
        ] {
            let (found, values) = routes.find(path).expect(path);
            assert_eq!(*found, pattern);
            let values: Vec<_> = values.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(values, parameters);
        }
        assert!(routes.find("/nowhere").is_none());
        assert!(routes.find("/news").is_none());
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "news",
            "",
            "/a/{b}c",
            "/{}",
            "/{a}/{a}",
            "/{*a}/b",
            "/a?b",
            "/a b",
            "/../a",
            "/_pasteup/x",
            "/a//b",
            "/{a b}",
        ] {
            text.parse::<Pattern>().expect_err(text);
        }
    }

    #[test]
    fn patterns_that_match_the_same_have_one_shape() {
        let shape = |text: &str| text.parse::<Pattern>().expect("a pattern").shape();
        assert_eq!(shape("/news/{a}"), shape("/news/{b}"));
        assert_ne!(shape("/news/{a}"), shape("/news/{*a}"));
    }

    #[test]
    fn an_ambiguous_path_is_refused() {
        for path in ["/a%2Fb", "/a%5cb", "/a%00", "/a\\b", "/a/../b", "/%2e%2e/b", "/./a", "/a%", "/a%zz", "/%ff"] {
            normalise(path).expect_err(path);
        }
        assert_eq!(normalise("/z%C3%BCrich%20x"), Ok("/zürich x".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_normal_holds_no_dot_segment_and_keeps_its_slashes(path in "(/[a-z.%25FEef0]{0,6}){1,4}") {
            if let Ok(normal) = normalise(&path) {
                prop_assert!(!normal.split('/').any(|s| s == "." || s == ".."));
                prop_assert_eq!(normal.matches('/').count(), path.matches('/').count());
            }
        }
    }
}
