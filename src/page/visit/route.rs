//! Matches a request's path against route patterns: the most specific pattern wins, and yields the parameters.
//! A path that could be read in two ways is refused before it is matched.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::page::source::map::Map;
use crate::page::source::names;

/// A route pattern such as `/news/{section}` or `/files/{*rest}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    parameters: Vec<String>,
}

/// Why a text is not a valid route pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with a slash.
    #[error("a route begins with `/`")]
    NoSlash,
    /// A parameter is only a part of a segment, as in `/a/{b}c`.
    #[error("`{0}`: a parameter must be a whole path segment, as in `/news/{{section}}`")]
    PartlyParameter(String),
    /// A parameter has an invalid name, as in `{a b}`.
    #[error("`{0}` is not a valid parameter name: {rule}", rule = names::NAME_RULE)]
    BadName(String),
    /// A parameter is used twice, as in `/{a}/{a}`.
    #[error("the parameter `{0}` is used twice")]
    Repeated(String),
    /// Something follows the rest of the path, as in `/{*rest}/more`.
    #[error("`{{*{0}}}` matches the rest of the path, so it must come last")]
    RestNotLast(String),
    /// A segment has a character that paths cannot have, or is a dot segment or empty.
    #[error(
        "`{0}` cannot be used in a path: write it as browsers show it, without `?`, `#`, `%`, `\\`, spaces or dot segments"
    )]
    BadSegment(String),
    /// It is below `/_pasteup/`.
    #[error("paths below `/_pasteup/` are reserved for the compositor")]
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
                return Err(PatternError::Repeated(name.to_owned()));
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
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its parameters, in order.
    #[must_use]
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// The pattern without the names of its parameters. Two patterns that match the same paths have the same shape.
    #[must_use]
    pub fn shape(&self) -> String {
        let shape = |segment| match segment {
            Segment::Fixed(text) => text,
            Segment::Any(_) => "{}",
            Segment::Rest(_) => "{*}",
        };
        self.segments().map(shape).collect::<Vec<_>>().join("/")
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.text[1..].split('/').map(|text| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            None => Segment::Fixed(text),
            Some(name) => name.strip_prefix('*').map_or(Segment::Any(name), Segment::Rest),
        })
    }

    /// The values of its parameters in a path that it matches.
    fn values(&self, path: &str) -> Vec<(String, String)> {
        let mut values = Vec::new();
        let mut left = path.strip_prefix('/').unwrap_or(path);
        for segment in self.segments() {
            let (text, rest) = left.split_once('/').unwrap_or((left, ""));
            match segment {
                Segment::Fixed(_) => {}
                Segment::Any(name) => values.push((name.to_owned(), text.to_owned())),
                Segment::Rest(name) => values.push((name.to_owned(), left.to_owned())),
            }
            left = rest;
        }
        values
    }
}

/// A segment of a pattern, between two slashes.
#[derive(Debug, Clone, Copy)]
enum Segment<'p> {
    /// Literal text.
    Fixed(&'p str),
    /// `{name}`: any one segment that is not empty.
    Any(&'p str),
    /// `{*name}`: the rest of the path, if it is not empty.
    Rest(&'p str),
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a path is refused: the compositor and a nanoservice could read it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It has an encoded slash, a NUL, a backslash or a dot segment.
    #[error("the path contains an encoded slash, a NUL, a backslash or a dot segment")]
    Ambiguous,
    /// It has a percent sign that encodes nothing, or bytes that are not UTF-8.
    #[error("the path is not correctly percent-encoded")]
    Encoding,
}

/// Decodes a path into the one notation that routing, keys and upstream requests use.
///
/// # Errors
/// The path is ambiguous, or is not correctly percent-encoded (RFC 3986, 2.1).
pub fn normalise(path: &str) -> Result<String, BadPath> {
    // Most paths need no decoding.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'~');
    if path.starts_with('/') && path.as_bytes().iter().all(is_plain) {
        return Ok(path.to_owned());
    }
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

/// Patterns with their targets, as a tree with one level per path segment.
// Not matchit: it refuses or loses some patterns in the presence of others, and panics at 26 parameters.
#[derive(Debug, Clone)]
pub struct Routes<T> {
    /// The nodes of the tree; the first one is the root.
    nodes: Vec<Node<T>>,
    /// The nodes of patterns without parameters, by path: nothing is more specific than these.
    exact: Map<String, usize>,
}

/// A node of the tree: what may follow the segments that lead to it.
#[derive(Debug, Clone)]
struct Node<T> {
    /// The next node for each literal segment.
    fixed: Map<String, usize>,
    /// The next node for `{name}`.
    any: Option<usize>,
    /// The next node for `{*name}`.
    rest: Option<usize>,
    /// The pattern that ends here, with its target.
    target: Option<(Pattern, T)>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { fixed: Map::default(), any: None, rest: None, target: None }
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], exact: Map::default() }
    }
}

impl<T> Routes<T> {
    /// Adds a pattern. `false` if a known pattern matches the same paths; the known one then stays.
    pub fn insert(&mut self, pattern: &Pattern, target: T) -> bool {
        let mut at = 0;
        for segment in pattern.segments() {
            let next = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match segment {
                Segment::Fixed(text) => *node.fixed.entry(text.to_owned()).or_insert(next),
                Segment::Any(_) => *node.any.get_or_insert(next),
                Segment::Rest(_) => *node.rest.get_or_insert(next),
            };
            if at == next {
                self.nodes.push(Node::default());
            }
        }
        let free = self.nodes[at].target.is_none();
        if free {
            self.nodes[at].target = Some((pattern.clone(), target));
            if pattern.parameters.is_empty() {
                self.exact.insert(pattern.text.clone(), at);
            }
        }
        free
    }

    /// Finds the target of a normalised path, and the values of the parameters. From left to right, a literal
    /// segment is more specific than a parameter, and a parameter is more specific than the rest of the path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(&T, Vec<(String, String)>)> {
        if let Some((_, target)) = self.exact.get(path).and_then(|at| self.nodes[*at].target.as_ref()) {
            return Some((target, Vec::new()));
        }
        // The nodes still to be tried, each with the rest of the path; the most specific is last.
        let mut candidates = vec![(0, Some(path.strip_prefix('/')?))];
        while let Some((at, left)) = candidates.pop() {
            let node = &self.nodes[at];
            let Some(left) = left else {
                match &node.target {
                    Some((pattern, target)) => return Some((target, pattern.values(path))),
                    None => continue,
                }
            };
            let (segment, rest) = left.split_once('/').map_or((left, None), |(segment, rest)| (segment, Some(rest)));
            candidates.extend(node.rest.filter(|_| !left.is_empty()).map(|next| (next, None)));
            candidates.extend(node.any.filter(|_| !segment.is_empty()).map(|next| (next, rest)));
            candidates.extend(node.fixed.get(segment).map(|next| (*next, rest)));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn routes(patterns: &[&'static str]) -> Routes<&'static str> {
        let mut routes = Routes::default();
        for &pattern in patterns {
            assert!(routes.insert(&pattern.parse().expect("it is a valid pattern"), pattern));
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
    fn a_less_specific_pattern_is_tried_if_the_more_specific_one_does_not_match() {
        let routes = routes(&["/{a}", "/{*b}", "/n/{*a}", "/n/{b}/x", "/n/1/y"]);
        for (path, pattern) in [
            ("/x", "/{a}"),
            ("/x/y", "/{*b}"),
            ("/n/1/x", "/n/{b}/x"),
            ("/n/1/y", "/n/1/y"),
            ("/n/1/z", "/n/{*a}"),
            ("/n/", "/{*b}"),
        ] {
            assert_eq!(*routes.find(path).expect(path).0, pattern, "{path}");
        }
        assert!(routes.find("/").is_none());
    }

    #[test]
    fn many_parameters_do_not_panic() {
        let text: String = (0..60).map(|n| format!("/{{p{n}}}")).collect();
        let mut routes = Routes::default();
        assert!(routes.insert(&text.parse().expect("it is a valid pattern"), ()));
        let (_, values) = routes.find(&"/v".repeat(60)).expect("the pattern matches");
        assert_eq!(values.len(), 60);
    }

    #[test]
    fn an_invalid_pattern_is_refused() {
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
    fn patterns_that_match_the_same_paths_have_the_same_shape() {
        let shape = |text: &str| text.parse::<Pattern>().expect("it is a valid pattern").shape();
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

    /// Whether a pattern matches, and how specific each of its segments is: the lower, the more specific.
    fn matches(pattern: &Pattern, path: &str) -> Option<Vec<u8>> {
        let mut ranks = Vec::new();
        let mut left: Vec<&str> = path[1..].split('/').collect();
        for segment in pattern.segments() {
            let rank = match segment {
                Segment::Rest(_) if !left.is_empty() && left != [""] => return Some([ranks, vec![2]].concat()),
                Segment::Fixed(text) if left.first() == Some(&text) => 0,
                Segment::Any(_) if left.first().is_some_and(|text| !text.is_empty()) => 1,
                _ => return None,
            };
            ranks.push(rank);
            left.remove(0);
        }
        left.is_empty().then_some(ranks)
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_trying_all_patterns_finds(
            texts in proptest::collection::vec(("(/(a|b|\\{x[0-9]\\})){0,4}", "(/|/\\{\\*r\\}|/a)"), 1..12),
            path in "(/(a|b|c|)){1,5}",
        ) {
            let mut routes = Routes::default();
            let mut taken: Vec<Pattern> = Vec::new();
            for (text, end) in texts {
                let Ok(pattern) = format!("{text}{end}").parse::<Pattern>() else { continue };
                let free = !taken.iter().any(|known| known.shape() == pattern.shape());
                prop_assert_eq!(routes.insert(&pattern, pattern.clone()), free);
                if free {
                    taken.push(pattern);
                }
            }
            let best = taken.iter().filter_map(|pattern| Some((matches(pattern, &path)?, pattern))).min_by_key(|(ranks, _)| ranks.clone());
            let found = routes.find(&path);
            prop_assert_eq!(found.as_ref().map(|(pattern, _)| pattern.as_str()), best.map(|(_, pattern)| pattern.as_str()));
            if let Some((pattern, values)) = found {
                let mut path_again = pattern.to_string();
                for (name, value) in values {
                    path_again = path_again.replace(&format!("{{{name}}}"), &value).replace(&format!("{{*{name}}}"), &value);
                }
                prop_assert_eq!(path_again, path);
            }
        }

        #[test]
        fn a_normalised_path_has_no_dot_segment_and_as_many_slashes(path in "(/[a-z.%25FEef0]{0,6}){1,4}") {
            if let Ok(normal) = normalise(&path) {
                prop_assert!(!normal.split('/').any(|s| s == "." || s == ".."));
                prop_assert_eq!(normal.matches('/').count(), path.matches('/').count());
            }
        }
    }
}
