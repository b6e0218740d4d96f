//! Renders the weather: rounded numbers, and a word and an icon for the sky.
//! A sky without an icon is shown as its word only.

use askama::Template;

use crate::days::Day;

/// The values of the template. `days` is not empty, and its last day is today.
#[derive(Debug, Template)]
#[template(path = "weather.html")]
pub(crate) struct Weather<'a> {
    pub(crate) city: &'a str,
    pub(crate) heading: usize,
    pub(crate) days: &'a [Day],
}

impl Day {
    fn machine(&self) -> String {
        self.date.to_string()
    }

    fn long(&self) -> String {
        self.date.strftime("%A %-d %B %Y").to_string()
    }

    fn short(&self) -> String {
        self.date.strftime("%a %-d %b").to_string()
    }

    fn high(&self) -> String {
        degrees(self.high)
    }

    fn low(&self) -> String {
        degrees(self.low)
    }

    fn rain(&self) -> String {
        format!("{:.1} mm", self.rain)
    }

    /// In km/h, which readers are used to; the source has m/s.
    fn wind(&self) -> String {
        format!("{:.0} km/h", self.wind * 3.6)
    }

    fn sky(&self) -> &str {
        match self.sky.as_str() {
            "sun" => "Sunny",
            "cloud" => "Cloudy",
            "drizzle" => "Drizzle",
            "rain" => "Rain",
            "snow" => "Snow",
            "fog" => "Fog",
            other => other,
        }
    }

    /// The SVG path of an icon of 24 by 24.
    fn icon(&self) -> Option<&'static str> {
        const SUN: &str = "M12 7a5 5 0 1 1 0 10 5 5 0 0 1 0-10zM12 1v2M12 21v2M1 12h2M21 12h2M4.2 \
                           4.2l1.4 1.4M18.4 18.4l1.4 1.4M4.2 19.8l1.4-1.4M18.4 5.6l1.4-1.4";
        const CLOUD: &str = "M7 19a4.5 4.5 0 0 1-.4-9A6 6 0 0 1 18 9.2 5 5 0 0 1 17.5 19z";
        const DRIZZLE: &str = "M7 14a4.5 4.5 0 0 1-.4-9A6 6 0 0 1 18 4.2 5 5 0 0 1 17.5 14zM9 18v1M15 \
                               18v1M12 20v1";
        const RAIN: &str = "M7 14a4.5 4.5 0 0 1-.4-9A6 6 0 0 1 18 4.2 5 5 0 0 1 17.5 14zM9 17l-1.5 \
                            5M13 17l-1.5 5M17 17l-1.5 5";
        const SNOW: &str = "M12 2v20M3.3 7l17.4 10M20.7 7L3.3 17M9.5 3.5L12 6l2.5-2.5M9.5 20.5L12 \
                            18l2.5 2.5";
        const FOG: &str = "M4 6h14M6 10h15M3 14h15M6 18h13";
        match self.sky.as_str() {
            "sun" => Some(SUN),
            "cloud" => Some(CLOUD),
            "drizzle" => Some(DRIZZLE),
            "rain" => Some(RAIN),
            "snow" => Some(SNOW),
            "fog" => Some(FOG),
            _ => None,
        }
    }
}

/// Rounds to a whole number, with a real minus sign, and never `-0`.
fn degrees(celsius: f64) -> String {
    let rounded = celsius.round() + 0.0;
    let sign = if rounded < 0.0 { "\u{2212}" } else { "" };
    format!("{sign}{:.0}\u{b0}", rounded.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_rounded() {
        assert_eq!(degrees(12.5), "13°");
        assert_eq!(degrees(-0.4), "0°");
        assert_eq!(degrees(-7.2), "−7°");
    }

    #[test]
    fn an_unknown_sky_is_shown_and_escaped() {
        let day = Day {
            date: "2026-09-18".parse().expect("a date"),
            rain: 0.0,
            high: 20.0,
            low: 10.0,
            wind: 5.0,
            sky: "<hail>".to_owned(),
        };
        let page = Weather { city: "A & B", heading: 3, days: &[day] };
        let html = page.render().expect("the template cannot fail");
        assert!(html.contains("&#60;hail&#62;") && html.contains("A &#38; B"));
        assert!(html.contains("18 km/h") && !html.contains("<svg"));
    }
}
