//! Renders headlines in three views. Everything except markup is decided here, not in the templates.

use askama::Template;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::feed::{Section, Story};

/// How the headlines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum View {
    /// The first story large, the others beside it.
    Lead,
    /// With summaries.
    List,
    /// Titles only.
    Brief,
}

/// The values of the template.
#[derive(Debug, Template)]
#[template(path = "headlines.html")]
pub(crate) struct Headlines<'a> {
    pub(crate) view: View,
    pub(crate) heading: usize,
    pub(crate) section: Option<&'a Section>,
    /// Whether the list continues another one, instead of beginning with the newest story.
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

    /// The section of a story, unless all stories are from one section.
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

/// A time, formatted for machines and for readers.
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

    /// Leaves out the time at exactly midnight: feeds write a date without a time like that.
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
    fn a_date_without_a_time_is_shown_without_one() {
        let day = When("2026-08-21T00:00:00Z".parse().expect("a moment"));
        assert_eq!(day.long(), "21 August 2026");
        let moment = When("2026-08-21T06:05:00Z".parse().expect("a moment"));
        assert_eq!(moment.short(), "21 Aug, 06:05");
        assert_eq!(moment.machine(), "2026-08-21T06:05:00Z");
    }

    #[test]
    fn text_of_the_feed_is_escaped() {
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
            let html = page.render().expect("the template cannot fail");
            assert!(!html.contains("<script") && !html.contains("\"onclick"), "{html}");
        }
    }
}
