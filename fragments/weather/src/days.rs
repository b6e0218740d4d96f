//! Parses daily observations from CSV, by city and in order of their dates.
//! One invalid line is an error that names it, and the whole file is refused: half a file is worse than yesterday's.

use std::collections::BTreeMap;

use fragment_kit::{BoxError, slug};
use jiff::civil::Date;
use serde::Deserialize;

/// All cities, by their slugs.
#[derive(Debug)]
pub(crate) struct Cities(BTreeMap<String, City>);

/// One city and its days, the oldest first.
#[derive(Debug)]
pub(crate) struct City {
    pub(crate) name: String,
    days: Vec<Day>,
}

/// What was observed on one day.
#[derive(Debug, PartialEq)]
pub(crate) struct Day {
    pub(crate) date: Date,
    /// Precipitation in millimetres.
    pub(crate) rain: f64,
    /// Highest temperature in degrees Celsius.
    pub(crate) high: f64,
    /// Lowest temperature in degrees Celsius.
    pub(crate) low: f64,
    /// Wind speed in metres per second.
    pub(crate) wind: f64,
    /// The weather in one word, such as `rain`.
    pub(crate) sky: String,
}

/// A line of the file.
#[derive(Debug, Deserialize)]
struct Line {
    location: String,
    date: String,
    precipitation: f64,
    temp_max: f64,
    temp_min: f64,
    wind: f64,
    weather: String,
}

#[derive(Debug, thiserror::Error)]
enum BadLine {
    #[error("line {line}, city `{city}`: a name is needed")]
    City { line: u64, city: String },
    #[error("line {line}, date `{date}`: not a date such as 2026-09-18")]
    Date { line: u64, date: String },
    #[error("line {line}, {column} `{value}`: outside the possible range")]
    Number { line: u64, column: &'static str, value: f64 },
    #[error("line {line}: a second line for {city} on {date}")]
    Duplicate { line: u64, city: String, date: Date },
    #[error("there are no lines after the header")]
    Empty,
}

impl Cities {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BoxError> {
        let mut cities = BTreeMap::new();
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let headers = reader.headers()?.clone();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record)? {
            let line = record.position().map_or(0, csv::Position::line);
            let (name, day) = record.deserialize::<Line>(Some(&headers))?.check(line)?;
            let city = cities.entry(slug(&name)).or_insert_with(|| City { name: name.clone(), days: Vec::new() });
            match city.days.binary_search_by_key(&day.date, |day| day.date) {
                Err(place) => city.days.insert(place, day),
                Ok(_) => {
                    let (city, date) = (name, day.date);
                    return Err(BadLine::Duplicate { line, city, date }.into());
                }
            }
        }
        match cities.is_empty() {
            true => Err(BadLine::Empty.into()),
            false => Ok(Self(cities)),
        }
    }

    pub(crate) fn get(&self, slug: &str) -> Option<&City> {
        self.0.get(slug)
    }
}

impl City {
    /// The last `count` days up to `today`, or up to the latest day if that is not given; the oldest first.
    pub(crate) fn until(&self, today: Option<Date>, count: usize) -> &[Day] {
        let end = match today {
            Some(today) => self.days.partition_point(|day| day.date <= today),
            None => self.days.len(),
        };
        &self.days[end.saturating_sub(count)..end]
    }
}

impl Line {
    fn check(self, line: u64) -> Result<(String, Day), BadLine> {
        if slug(&self.location).is_empty() {
            let city = self.location;
            return Err(BadLine::City { line, city });
        }
        let Ok(date) = self.date.parse() else {
            let date = self.date;
            return Err(BadLine::Date { line, date });
        };
        // The parser accepts `inf` and `nan`, and a temperature of ten million.
        for (column, value, allowed) in [
            ("precipitation", self.precipitation, 0.0..=5000.0),
            ("temp_max", self.temp_max, -150.0..=150.0),
            ("temp_min", self.temp_min, -150.0..=150.0),
            ("wind", self.wind, 0.0..=200.0),
        ] {
            if !allowed.contains(&value) {
                return Err(BadLine::Number { line, column, value });
            }
        }
        let day = Day {
            date,
            rain: self.precipitation,
            high: self.temp_max,
            low: self.temp_min,
            wind: self.wind,
            sky: self.weather,
        };
        Ok((self.location, day))
    }
}

#[cfg(test)]
mod tests {
    use askama::Template;
    use fragment_kit::explain;

    use super::*;
    use crate::view::Weather;

    const HEADER: &str = "location,date,precipitation,temp_max,temp_min,wind,weather\n";

    #[track_caller]
    fn check(lines: &str, expected: &str) {
        let text = format!("{HEADER}{lines}");
        let problem = Cities::parse(text.as_bytes()).expect_err("an error");
        let message = explain(&*problem);
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn the_sample_is_complete() {
        let cities = Cities::parse(crate::SAMPLE.as_bytes()).expect("the sample is valid");
        assert_eq!(cities.0.len(), 5);
        assert!(cities.0.values().all(|city| city.days.len() == 10));
    }

    #[test]
    fn all_recorded_days_are_read() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let Some(path) = fragment_kit::testing::recorded(folder, "weather/daily.csv") else {
            return;
        };
        let bytes = std::fs::read(path).expect("the recording");
        let cities = Cities::parse(&bytes).expect("the recording is valid");
        assert_eq!(cities.0.keys().collect::<Vec<_>>(), ["new-york", "seattle"]);
        let days = cities.0.values().map(|city| city.days.len());
        assert_eq!(days.sum::<usize>(), 2922);
        let mut shown = 0;
        for city in cities.0.values() {
            for days in city.days.chunks(7) {
                let (city, heading) = (&city.name, 2);
                let page = Weather { city, heading, days };
                let html = page.render().expect("the template cannot fail");
                shown += html.matches("<th scope=\"row\">").count();
            }
        }
        assert_eq!(shown, 2922);
        let seattle = cities.get("seattle").expect("a recorded city");
        assert_eq!(seattle.days[0].rain, 0.0);
        assert_eq!(seattle.days[1].high, 10.6);
    }

    #[test]
    fn days_end_with_today() {
        let text = format!("{HEADER}A B,2026-01-02,0,2,1,3,sun\nA B,2026-01-01,0,2,1,3,rain\n");
        let cities = Cities::parse(text.as_bytes()).expect("two days");
        let city = cities.get("a-b").expect("one city");
        let skies = |today: &str, count| {
            let days = city.until(today.parse().ok(), count).iter();
            days.map(|day| day.sky.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(skies("", 1), ["sun"]);
        assert_eq!(skies("", 7), ["rain", "sun"]);
        assert_eq!(skies("2026-01-01", 7), ["rain"]);
        assert_eq!(skies("2030-01-01", 1), ["sun"]);
        assert!(skies("2025-01-01", 7).is_empty());
    }

    #[test]
    fn an_error_names_its_line() {
        let good = "A,2026-01-01,0,2,1,3,sun\n";
        check("A,2026-13-01,0,2,1,3,sun", "line 2, date `2026-13-01`");
        check(&format!("{good}A,2026-01-02,0,two,1,3,sun"), "line: 3");
        check("A,2026-01-01,0,nan,1,3,sun", "line 2, temp_max `NaN`");
        check("A,2026-01-01,-1,2,1,3,sun", "line 2, precipitation `-1`");
        check("!,2026-01-01,0,2,1,3,sun", "line 2, city `!`");
        check(&format!("{good}{good}"), "line 3: a second line for A on 2026-01-01");
        check("A,2026-01-01,0,2\n", "line: 2");
        check("", "no lines");
    }

    #[test]
    fn a_missing_column_is_named() {
        let text = "location,date,precipitation,temp_max,temp_min,breeze,weather\nA,2026-01-01,0,2,1,3,sun\n";
        let problem = Cities::parse(text.as_bytes()).expect_err("an error");
        assert!(explain(&*problem).contains("missing field `wind`"));
    }
}
