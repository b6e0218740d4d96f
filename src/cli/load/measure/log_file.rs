//! Reads a file of requests: one path or URL per line, or an access log in the Common Log Format and what extends it.
//! Lines that cannot be replayed are counted, never an error: a log has the requests of robots and of attackers too.

use std::collections::HashMap;

use jiff::fmt::strtime;

use super::arrivals::Entry;

/// What a file of requests contains.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Requests {
    /// Paths or URLs, in the order of the file.
    Paths(Vec<String>),
    /// The requests of an access log.
    Log(Log),
}

/// The requests of an access log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// What was requested, each once, and whether by `HEAD`.
    pub(crate) shots: Vec<(String, bool)>,
    /// The requests, sorted by their time.
    pub(crate) entries: Vec<Entry>,
    /// How many lines are not replayed.
    pub(crate) skipped: u64,
}

/// A request of an access log.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    /// In seconds since 1970.
    at: i64,
    is_head: bool,
    target: &'a str,
}

/// Reads the lines of a file.
///
/// # Errors
/// Reading failed, or there is no request in it.
pub(crate) fn read(lines: impl Iterator<Item = std::io::Result<Vec<u8>>>) -> Result<Requests, String> {
    let mut lines = lines.peekable();
    loop {
        match lines.peek() {
            None => return Err("it has no requests".to_owned()),
            Some(Ok(line)) if line.trim_ascii().is_empty() => _ = lines.next(),
            Some(_) => break,
        }
    }
    let is_list = matches!(lines.peek(), Some(Ok(line)) if is_address(line));
    if is_list { read_paths(lines) } else { read_log(lines) }
}

/// Whether a line is a path or a URL.
fn is_address(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.starts_with(b"/") || line.starts_with(b"http://") || line.starts_with(b"https://")
}

fn read_paths(lines: impl Iterator<Item = std::io::Result<Vec<u8>>>) -> Result<Requests, String> {
    let mut paths = Vec::new();
    for line in lines {
        let line = line.map_err(|error| error.to_string())?;
        let text = String::from_utf8(line).map_err(|_| "a line is not UTF-8".to_owned())?;
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        if !is_address(text.as_bytes()) {
            return Err(format!("`{text}` is neither a path nor a URL; the lines before it are"));
        }
        paths.push(text.to_owned());
    }
    Ok(Requests::Paths(paths))
}

fn read_log(lines: impl Iterator<Item = std::io::Result<Vec<u8>>>) -> Result<Requests, String> {
    let mut log = Log::default();
    let mut known: HashMap<(String, bool), u32> = HashMap::new();
    let mut times = Vec::new();
    for line in lines {
        let line = line.map_err(|error| error.to_string())?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Some(Line { at, is_head, target }) = std::str::from_utf8(&line).ok().and_then(parse) else {
            log.skipped += 1;
            continue;
        };
        let next = u32::try_from(known.len()).map_err(|_| "it has too many paths".to_owned())?;
        let shot = *known.entry((target.to_owned(), is_head)).or_insert_with(|| {
            log.shots.push((target.to_owned(), is_head));
            next
        });
        times.push((at, shot));
    }
    let Some(first) = times.iter().map(|(at, _)| *at).min() else {
        return Err("it has no line that is a `GET` or a `HEAD` in the Common Log Format, and is not a list of paths"
            .to_owned());
    };
    // Servers write a line when a response ends, so lines are not quite in the order of their times.
    times.sort_by_key(|(at, _)| *at);
    let entry = |(at, shot): (i64, u32)| Entry { second: u32::try_from(at - first).unwrap_or(u32::MAX), shot };
    log.entries = times.into_iter().map(entry).collect();
    Ok(Requests::Log(log))
}

/// The request of a line: `host ident user [10/Oct/2000:13:55:36 -0700] "GET /path HTTP/1.0" 200 2326 …`. `None`: it is no
/// such line, or not a request that may be repeated.
fn parse(line: &str) -> Option<Line<'_>> {
    let (_, rest) = line.split_once('[')?;
    let (time, rest) = rest.split_once(']')?;
    let (request, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    let mut words = request.split(' ');
    let (method, target, protocol) = (words.next()?, words.next()?, words.next());
    let is_head = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return None,
    };
    let is_protocol = protocol.is_none_or(|protocol| protocol.starts_with("HTTP/")) && words.next().is_none();
    // What a log escapes was not a valid target.
    let is_valid = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let at = strtime::parse("%d/%b/%Y:%H:%M:%S %z", time).ok()?.to_timestamp().ok()?.as_second();
    (is_protocol && is_valid).then_some(Line { at, is_head, target })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Requests, String> {
        read(text.lines().map(|line| Ok(line.as_bytes().to_vec())))
    }

    fn log(text: &str) -> Log {
        match read_text(text) {
            Ok(Requests::Log(log)) => log,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_of_paths_is_read_line_by_line() {
        let paths = ["/", "/news/uk?page=2", "http://127.0.0.1:8080/x", "/"];
        assert_eq!(
            read_text(&format!("\n{}\n\n", paths.join(" \n"))),
            Ok(Requests::Paths(paths.map(str::to_owned).into()))
        );
        read_text("/\nGET /x").expect_err("a path and something else");
        read_text(" \n\n").expect_err("nothing");
        read_text("hello\nworld").expect_err("neither paths nor a log");
    }

    #[test]
    fn a_log_is_sorted_and_what_cannot_be_repeated_is_counted() {
        let log = log(concat!(
            "10.0.0.1 - - [10/Oct/2000:13:55:38 -0700] \"GET /b HTTP/1.1\" 200 12\n",
            "10.0.0.1 - ann [10/Oct/2000:13:55:36 -0700] \"GET /a?x=[1] HTTP/1.1\" 200 12 \"-\" \"curl\"\n",
            "10.0.0.1 - - [10/Oct/2000:20:55:37 +0000] \"HEAD /a HTTP/2.0\" 200 0 \"-\" \"a \\\"quoted\\\" agent\" hit 4bf9\n",
            "10.0.0.1 - - [10/Oct/2000:13:55:37 -0700] \"POST /a HTTP/1.1\" 200 0\n",
            "10.0.0.1 - - [10/Oct/2000:13:55:37 -0700] \"\\x16\\x03\\x01\" 400 0\n",
            "10.0.0.1 - - [10/Oct/2000:13:55:37 -0700] \"GET /a\\x22b HTTP/1.1\" 400 0\n",
            "10.0.0.1 - - [10/Oct/2000:13:55:37 -0700] \"GET http://other.example/ HTTP/1.1\" 400 0\n",
            "10.0.0.1 - - [99/Oct/2000:13:55:37 -0700] \"GET /a HTTP/1.1\" 200 0\n",
            "\n",
            "rubbish\n",
            "10.0.0.1 - - [10/Oct/2000:13:55:38 -0700] \"GET /b HTTP/1.1\" 200 12\n",
        ));
        assert_eq!(log.skipped, 6);
        let shots: Vec<(&str, bool)> = log.shots.iter().map(|(target, is_head)| (&**target, *is_head)).collect();
        assert_eq!(shots, [("/b", false), ("/a?x=[1]", false), ("/a", true)]);
        let entries: Vec<(u32, u32)> = log.entries.iter().map(|entry| (entry.second, entry.shot)).collect();
        assert_eq!(entries, [(0, 1), (1, 2), (2, 0), (2, 0)]);
    }

    #[test]
    fn our_own_access_log_can_be_replayed() {
        let log =
            log("127.0.0.1 - - [01/Dec/2026:13:28:54 +0000] \"GET /sport HTTP/1.1\" 200 9 \"-\" \"x\" miss 4bf92f\n");
        assert_eq!((log.shots.len(), log.skipped), (1, 0));
    }
}
