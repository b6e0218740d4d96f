//! Parses a feed into stories, newest first.
//! An entry without a title is left out; text that is not a feed is an error.

use std::cmp::Reverse;

use feed_rs::model::{Category, Entry, Text};
use fragment_kit::{BoxError, slug};
use jiff::Timestamp;

/// The stories of a feed.
#[derive(Debug)]
pub(crate) struct Feed {
    stories: Vec<Story>,
}

/// One story of a feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) title: String,
    /// Its URL, if that is `http` or `https`: a feed could contain `javascript:` URLs.
    pub(crate) link: Option<String>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) authors: Vec<String>,
    pub(crate) summary: Option<String>,
    pub(crate) sections: Vec<Section>,
}

/// A category of a feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its name in requests.
    pub(crate) slug: String,
    /// Its name on the page.
    pub(crate) label: String,
}

#[derive(Debug, thiserror::Error)]
#[error("not a feed in Atom, RSS or JSON Feed")]
struct NotAFeed(#[source] feed_rs::parser::ParseFeedError);

impl Feed {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BoxError> {
        let feed = feed_rs::parser::parse(bytes).map_err(NotAFeed)?;
        let mut stories: Vec<_> = feed.entries.into_iter().filter_map(Story::new).collect();
        // The order of entries in an Atom feed has no meaning. The sort is stable, so stories of one time stay in order.
        stories.sort_by_key(|story| Reverse(story.time));
        Ok(Self { stories })
    }

    pub(crate) fn section(&self, slug: &str) -> Option<&Section> {
        let mut sections = self.stories.iter().flat_map(|story| &story.sections);
        sections.find(|section| section.slug == slug)
    }

    pub(crate) fn stories(&self, section: Option<&Section>) -> impl Iterator<Item = &Story> {
        let slug = section.map(|section| section.slug.clone());
        self.stories.iter().filter(move |story| match &slug {
            None => true,
            Some(slug) => story.sections.iter().any(|section| section.slug == *slug),
        })
    }
}

impl Story {
    fn new(entry: Entry) -> Option<Self> {
        let time = entry.published.or(entry.updated);
        let authors = entry.authors.into_iter().filter_map(|author| author.name);
        Some(Self {
            title: entry.title.and_then(plain)?,
            link: entry
                .links
                .into_iter()
                .map(|link| link.href)
                .find(|href| href.starts_with("https://") || href.starts_with("http://")),
            time: time.and_then(|time| Timestamp::from_second(time.timestamp()).ok()),
            authors: authors.filter(|name| !name.trim().is_empty()).collect(),
            summary: entry.summary.and_then(plain),
            sections: entry.categories.into_iter().filter_map(Section::new).collect(),
        })
    }
}

impl Section {
    fn new(category: Category) -> Option<Self> {
        let label = category.label.unwrap_or_else(|| category.term.clone());
        let slug = slug(&category.term);
        (!slug.is_empty()).then_some(Self { slug, label })
    }
}

/// Text without its tags; `None` if nothing is left. It is not escaped here, but by the template.
fn plain(text: Text) -> Option<String> {
    let mut plain = text.content;
    if text.content_type.subty() != "plain" {
        let mut tagless = String::new();
        let mut in_tag = false;
        for c in plain.chars() {
            match c {
                '<' => in_tag = true,
                '>' if in_tag => {
                    in_tag = false;
                    tagless.push(' ');
                }
                c if !in_tag => tagless.push(c),
                _ => {}
            }
        }
        plain = tagless;
        // `&amp;` comes last, so that text that was escaped twice is unescaped once.
        for (entity, c) in
            [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
        {
            plain = plain.replace(entity, c);
        }
    }
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(entry: &str) -> Option<Story> {
        let feed = format!(
            r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><id>urn:x</id>
            <updated>2026-01-01T00:00:00Z</updated><entry><id>urn:y</id>{entry}</entry></feed>"#
        );
        let feed = Feed::parse(feed.as_bytes()).expect("a feed");
        feed.stories.into_iter().next()
    }

    #[test]
    fn the_sample_is_complete() {
        let feed = Feed::parse(crate::SAMPLE.as_bytes()).expect("the sample is a feed");
        assert_eq!(feed.stories.len(), 14);
        for section in ["news", "business", "culture", "science"] {
            assert!(feed.section(section).is_some(), "{section}");
        }
        for story in feed.stories(None) {
            assert!(story.link.is_some() && story.time.is_some() && story.summary.is_some());
            assert!(!story.authors.is_empty() && story.sections.len() == 1);
        }
        assert!(feed.stories.is_sorted_by_key(|story| Reverse(story.time)));
    }

    #[test]
    fn all_recorded_posts_are_read() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let file = "headlines/rust-blog.atom.xml";
        let Some(path) = fragment_kit::testing::recorded(folder, file) else {
            return;
        };
        let feed = Feed::parse(&std::fs::read(path).expect("the recording")).expect("a feed");
        assert_eq!(feed.stories.len(), 300);
        assert!(feed.stories.iter().all(|story| story.link.is_some()));
        assert!(feed.stories.iter().all(|story| story.time.is_some()));
        let first = &feed.stories[0];
        assert_eq!(first.title, "Enabling the next-generation trait solver on nightly");
        assert_eq!(first.authors, ["lcnr"]);
    }

    #[test]
    fn a_script_url_is_dropped() {
        let story = one(r#"<title>X</title><link href="javascript:alert(1)"/>"#);
        assert_eq!(story.expect("a story").link, None);
    }

    #[test]
    fn tags_in_html_text_are_dropped() {
        let story = one(r#"<title type="html">A &lt;b&gt;big&lt;/b&gt; day &amp;amp; night</title>"#);
        assert_eq!(story.expect("a story").title, "A big day & night");
    }

    #[test]
    fn an_entry_without_a_title_is_left_out() {
        assert_eq!(one("<summary>Only this</summary>"), None);
    }

    #[test]
    fn text_that_is_not_a_feed_is_an_error() {
        for text in ["", "{}", "<html></html>", "<feed xmlns=\"http://www.w3.org/2005/Atom\"><entry>"] {
            assert!(Feed::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
