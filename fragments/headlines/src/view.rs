//! The three ways in which headlines are shown. The templates decide nothing but markup.

use askama::Template;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::feed::{Section, Story};

/// How the headlines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum View {
    /// The first one large, the others beside it.
    Lead,
    /// With summaries.
    List,
    /// Titles only.
    Brief,
}

/// Everything that the template shows.
#[derive(Debug, Template)]
#[template(path = "headlines.html")]
pub(crate) struct Headlines<'a> {
    pub(crate) view: View,
    pub(crate) heading: usize,
    pub(crate) section: Option<&'a Section>,
    /// Not the first ones: they go on where another list ended.
    pub(crate) more: bool,
    pub(crate) stories: Vec<&'a Story>,
}

impl Headlines<'_> {
    fn label(&self) -> &str {
        match (self.view, self.section, self.more) {
            (_, Some(section), _) => &section.label,
            (View::Lead, None, _) => "Top stories",
            (View::List, None, false) => "Latest news",
            (View::List, None, true) => "More news",
            (View::Brief, None, _) => "In brief",
        }
    }

    /// A story's section, unless all are of one.
    fn kicker<'s>(&self, story: &'s Story) -> Option<&'s str> {
        match self.section {
            Some(_) => None,
            None => story.sections.first().map(|section| section.label.as_str()),
        }
    }
}

impl Story {
    fn byline(&self) -> Option<String> {
        (!self.authors.is_empty()).then(|| self.authors.join(", "))
    }

    fn when(&self) -> Option<When> {
        self.time.map(When)
    }
}

/// A moment as a machine and as a reader see it.
struct When(Timestamp);

impl When {
    fn machine(&self) -> String {
        self.0.to_string()
    }

    fn long(&self) -> String {
        self.show("%-d %B %Y", "%-d %B %Y, %H:%M")
    }

    fn short(&self) -> String {
        self.show("%-d %b %Y", "%-d %b, %H:%M")
    }

    /// Midnight sharp is how feeds write a day without a time.
    fn show(&self, day: &str, moment: &str) -> String {
        let time = self.0.to_zoned(TimeZone::UTC);
        let midnight = time.time() == jiff::civil::Time::midnight();
        time.strftime(if midnight { day } else { moment }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_without_a_time_shows_none() {
        let day = When("2026-08-21T00:00:00Z".parse().expect("a moment"));
        assert_eq!(day.long(), "21 August 2026");
        let moment = When("2026-08-21T06:05:00Z".parse().expect("a moment"));
        assert_eq!(moment.short(), "21 Aug, 06:05");
        assert_eq!(moment.machine(), "2026-08-21T06:05:00Z");
    }

    #[test]
    fn what_a_feed_says_is_escaped() {
        let story = Story {
            title: "<script>alert(1)</script>".to_owned(),
            link: Some("https://x.example/\"onclick=\"alert(1)".to_owned()),
            time: None,
            authors: vec!["<i>".to_owned()],
            summary: None,
            sections: Vec::new(),
        };
        for view in [View::Lead, View::List, View::Brief] {
            let page = Headlines { view, heading: 2, section: None, more: false, stories: vec![&story] };
            let html = page.render().expect("the template has no failing parts");
            assert!(!html.contains("<script") && !html.contains("\"onclick"), "{html}");
        }
    }
}
