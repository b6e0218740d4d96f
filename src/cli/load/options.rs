//! The options of `pasteup load`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::page::source::units;

use super::super::list_format::ListFormat;
use super::measure::arrivals::Arrivals;
use super::measure::gates::Limits;

/// The highest rate that may be asked for.
const MAX_RATE: f64 = 1e6;

/// The options of `pasteup load`.
#[derive(clap::Args)]
pub(in super::super) struct Options {
    /// Paths of the site's own running compositor, or whole URLs; they share the rate
    #[arg(value_name = "PATH|URL")]
    pub(super) targets: Vec<String>,
    /// File with one path or URL per line, or an access log, which is replayed in its own rhythm
    #[arg(long, value_name = "FILE")]
    pub(super) from: Option<PathBuf>,
    /// How many times as fast a log is replayed
    #[arg(long, value_name = "FACTOR", value_parser = parse_speed)]
    pub(super) speed: Option<f64>,
    /// Requests per second [default: 50]
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub(super) rate: Option<f64>,
    /// How long requests are sent [default: 10s; of a log, all of it]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) duration: Option<Duration>,
    /// How requests are spread over time [default: poisson]
    #[arg(long, value_enum)]
    pub(super) arrivals: Option<Arrivals>,
    /// Most connections to each host
    #[arg(long, value_name = "N", default_value = "100", value_parser = parse_connections)]
    pub(super) connections: usize,
    /// Longest wait for a complete answer, from the moment at which the request was to leave
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
    /// Speaks HTTP/2, without asking first on `http`
    #[arg(long)]
    pub(super) http2: bool,
    /// Accepts every certificate
    #[arg(long)]
    pub(super) insecure: bool,
    /// Opens a connection for each request
    #[arg(long)]
    pub(super) no_keepalive: bool,
    /// A request header; it replaces the tool's own of that name
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Requests each page for every device, locale, variant and region that it distinguishes
    #[arg(long)]
    pub(super) variants: bool,
    /// A host other than this machine that may be requested
    #[arg(long, value_name = "HOST")]
    pub(super) allow_host: Vec<String>,
    /// Searches for the highest rate between two that the site bears
    #[arg(long, value_name = "FROM..TO", value_parser = parse_range, conflicts_with = "rate")]
    pub(super) sweep: Option<(f64, f64)>,
    /// Fails if the p99 is longer; in a sweep, the bound of each step
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) max_p99: Option<Duration>,
    /// Fails if more requests fail
    #[arg(long, value_name = "PERCENT", value_parser = parse_share)]
    pub(super) max_errors: Option<f64>,
    /// Fails if more pages show a fallback
    #[arg(long, value_name = "PERCENT", value_parser = parse_share)]
    pub(super) max_fallbacks: Option<f64>,
    /// The results of an earlier run, written with `--format json`
    #[arg(long, value_name = "FILE", requires = "max_regression")]
    pub(super) baseline: Option<PathBuf>,
    /// Fails if p50 or p99 are certainly so much longer than in the baseline
    #[arg(long, value_name = "PERCENT", value_parser = parse_share, requires = "baseline")]
    pub(super) max_regression: Option<f64>,
    /// Writes a report as one page of HTML
    #[arg(long, value_name = "FILE.html")]
    pub(super) out: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    pub(super) format: ListFormat,
    /// Address of the compositor's admin listener, if it is not the one in the settings
    #[arg(long, value_name = "ADDR")]
    pub(super) admin: Option<SocketAddr>,
}

impl Options {
    /// Requests per second.
    pub(super) fn rate(&self) -> f64 {
        self.rate.unwrap_or(50.0)
    }

    /// How long requests are sent.
    pub(super) fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }

    /// The bounds. In a sweep, that of the p99 is a bound of each step only.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_p99: self.max_p99.filter(|_| self.sweep.is_none()).map(|max| max.as_secs_f64() * 1e3),
            max_errors: self.max_errors,
            max_fallbacks: self.max_fallbacks,
            max_regression: self.max_regression,
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    match units::duration(text) {
        Ok(duration) if duration.is_zero() => Err("it must be longer than zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; {}", error.help())),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "write the requests per second as a number, such as `500`".to_owned())?;
    if rate > 0.0 && rate <= MAX_RATE { Ok(rate) } else { Err(format!("it must be above 0, and at most {MAX_RATE}")) }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "write it as a number, such as `2` or `0.5`".to_owned())?;
    if (0.001..=1_000.0).contains(&speed) { Ok(speed) } else { Err("it must be from 0.001 to 1000".to_owned()) }
}

fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=65_536) => Ok(number),
        _ => Err("write a number from 1 to 65536".to_owned()),
    }
}

fn parse_range(text: &str) -> Result<(f64, f64), String> {
    let (from, to) = text.split_once("..").ok_or("write two rates, such as `100..5000`")?;
    let (from, to) = (parse_rate(from)?, parse_rate(to)?);
    if from < to { Ok((from, to)) } else { Err("the first rate must be below the second".to_owned()) }
}

/// A share, in per cent: `0.1%`.
fn parse_share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').ok_or("write it in per cent, such as `0.1%`")?;
    let percent: f64 = percent.trim().parse().map_err(|_| "write it in per cent, such as `0.1%`".to_owned())?;
    if percent >= 0.0 && percent.is_finite() { Ok(percent / 100.0) } else { Err("it must not be negative".to_owned()) }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it like `Accept-Language: en`")?;
    let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    Ok((name, HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!((parse_share("0.1%"), parse_share("10 %")), (Ok(0.001), Ok(0.1)));
        assert_eq!((parse_range("100..5000"), parse_rate("0.5")), (Ok((100.0, 5_000.0)), Ok(0.5)));
        for text in ["0.1", "-1%", "%", "NaN%", "inf%"] {
            parse_share(text).expect_err(text);
        }
        for text in ["5000..100", "100", "0..5", "a..b", "100..=5000"] {
            parse_range(text).expect_err(text);
        }
        for text in ["0", "-1", "NaN", "inf", "fast"] {
            parse_rate(text).expect_err(text);
        }
        parse_duration("0s").expect_err("no time");
        parse_duration("10").expect_err("no unit");
    }
}
