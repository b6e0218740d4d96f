//! The clients that a page distinguishes: every combination of the devices, locales, variants and regions that it reads.
//! A path that no layout has a route for is requested as it is.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::engine::Snapshot;
use crate::page::layout::Template;
use crate::page::layout::template::segment::Condition;
use crate::page::visit::context::{Conditions, Device, Dimension};
use crate::page::visit::{region, route};

/// Most combinations of one page. A page with more is requested for the first ones only.
const MAX_CLIENTS: usize = 1_000;
/// A region that layouts hardly name, and others if one does.
const OTHER_REGIONS: [&str; 4] = ["AQ", "BV", "HM", "GS"];

/// The clients that the page at a path distinguishes, as `Pasteup-Load` describes them. Empty: it distinguishes none.
pub(super) fn clients(live: &Snapshot, path: &str, now: Timestamp) -> Vec<String> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let Ok(path) = route::normalise(path) else { return Vec::new() };
    let Ok(found) = live.site.find(&path, query, now) else { return Vec::new() };
    combinations(&choices(found.template, &live.readers.locales))
}

/// The values of each dimension that a page reads: `device=mobile` and so on.
fn choices(template: &Template, locales: &[String]) -> Vec<Vec<String>> {
    let mut choices = Vec::new();
    for dimension in &template.reads {
        match dimension {
            Dimension::Device => choices.push(Device::WORDS.map(|device| format!("device={device}")).to_vec()),
            Dimension::Locale => choices.push(locales.iter().map(|locale| format!("locale={locale}")).collect()),
            Dimension::Region => choices.push(regions(template)),
            Dimension::Variant => choices.extend(template.experiments.iter().map(|experiment| {
                let variants = experiment.variants.iter();
                variants.map(|(variant, _)| format!("variant={}:{variant}", experiment.name)).collect()
            })),
            Dimension::Page | Dimension::Cookie(_) | Dimension::Header(_) => {}
        }
    }
    choices
}

/// The regions that a layout names, and one other.
fn regions(template: &Template) -> Vec<String> {
    let when = template.html.conditions.iter().filter_map(|condition| match condition {
        Condition::When(conditions) => Some(conditions),
        Condition::First(..) => None,
    });
    let conditions = when.chain(template.html.fragments.iter().map(|fragment| &fragment.conditions));
    let named =
        |conditions: &Conditions| conditions.region.iter().flat_map(|filter| filter.tokens.clone()).collect::<Vec<_>>();
    let named: BTreeSet<&str> = conditions.flat_map(named).filter_map(|token| region::code(&token)).collect();
    let other = OTHER_REGIONS.into_iter().find(|other| !named.contains(other));
    named.into_iter().chain(other).map(|region| format!("region={region}")).collect()
}

/// Every combination of one value of each dimension.
fn combinations(choices: &[Vec<String>]) -> Vec<String> {
    let choices: Vec<_> = choices.iter().filter(|values| !values.is_empty()).collect();
    if choices.is_empty() {
        return Vec::new();
    }
    let mut all = vec![String::new()];
    for values in choices {
        let with = |before: &String| {
            let separator = if before.is_empty() { "" } else { "; " };
            values.iter().map(|value| format!("{before}{separator}{value}")).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(with).take(MAX_CLIENTS).collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_occurs_once() {
        let choices = |texts: &[&[&str]]| {
            let values = |values: &&[&str]| values.iter().map(|value| (*value).to_owned()).collect();
            combinations(&texts.iter().map(values).collect::<Vec<_>>())
        };
        assert_eq!(choices(&[]), Vec::<String>::new());
        assert_eq!(choices(&[&[]]), Vec::<String>::new());
        assert_eq!(choices(&[&["a=1", "a=2"], &["b=1", "b=2"]]), ["a=1; b=1", "a=1; b=2", "a=2; b=1", "a=2; b=2"]);
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(combinations(&[many.clone(), many]).len(), MAX_CLIENTS);
    }
}
