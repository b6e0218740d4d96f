//! The nanoservice @NAME@. `fragment` makes its HTML; the rest answers requests with Rust's standard library, which has no
//! HTTP, so that it parses just enough of it by hand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

const PARAMS: &[&str] = &[@PARAMS@];

/// The HTML for the values of the parameters. They are letters, digits and hyphens; escape whatever else is not your own text.
fn fragment(values: &[(&str, String)]) -> String {
    let shown: String = values.iter().map(|(name, value)| format!(", {name} = {value}")).collect();
    format!("<p>Hello from @NAME@{shown}.</p>")
}

/// The values of all parameters in a query. `None`: one is missing or not valid.
fn values(query: &str) -> Option<Vec<(&'static str, String)>> {
    let value = |name: &'static str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(known, _)| *known == name)?;
        let is_valid = (1..=40).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        is_valid.then(|| (name, value.to_owned()))
    };
    PARAMS.iter().copied().map(value).collect()
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let lines = BufReader::new(stream.try_clone()?.take(32_768)).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let target = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let Some(values) = values(query) else {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let body = fragment(&values);
    let joined: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
    let tag = format!("\"1-{}\"", joined.join("-"));
    let is_known = head.iter().any(|line| line.eq_ignore_ascii_case(&format!("if-none-match: {tag}")));
    let (status, shown) = if is_known { ("304 Not Modified", "") } else { ("200 OK", body.as_str()) };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: max-age=60\r\nETag: {tag}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{shown}",
        body.len()
    )
}

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).expect("PORT is a number");
    for stream in TcpListener::bind(("127.0.0.1", port))?.incoming().flatten() {
        std::thread::spawn(|| answer(stream));
    }
    Ok(())
}

#[test]
fn it_is_html() {
    let values: Vec<_> = PARAMS.iter().map(|name| (*name, "example".to_owned())).collect();
    assert!(fragment(&values).starts_with("<p>"));
}
