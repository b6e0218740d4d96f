//! `pasteup explain`: what became of each part of a page, as a tree with its times against the page's budget.

use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::page::output::record::{PartRecord, Record};
use crate::page::response::outcome::PartHealth;
use crate::page::source::units::show_ms as show;

use super::asking::Wanted;
use super::{ListFormat, render};

/// Characters of the axis of time.
const AXIS: usize = 32;
/// Of a page that took less than this share of its budget, the axis shows what it took.
const SHARE: f64 = 0.1;

pub(super) fn run(site: &Path, wanted: &Wanted, format: ListFormat) -> Result<ExitCode, String> {
    let Some(page) = render::compose(site, wanted)? else { return Ok(render::no_route(wanted)) };
    let record = page.record();
    match format {
        ListFormat::Json => {
            anstream::println!("{}", serde_json::to_string_pretty(&record).expect("texts and numbers are JSON"));
        }
        ListFormat::Human => anstream::print!("{}", human(&record)),
    }
    Ok(ExitCode::SUCCESS)
}

fn human(record: &Record) -> String {
    let scale = if record.took_ms < record.budget_ms * SHARE { record.took_ms } else { record.budget_ms };
    let bold = Style::new().bold();
    let owner = record.owner.as_ref().map(|owner| format!(" · {owner}")).unwrap_or_default();
    let mut text = format!(
        "{bold}{}{bold:#}  {}{owner}\nstatus {}, {} of {}{}\n\n",
        record.route,
        record.layout,
        record.status,
        show(record.took_ms),
        show(record.budget_ms),
        if record.varies_on.is_empty() {
            String::new()
        } else {
            format!(", varies on {}", record.varies_on.join(", "))
        },
    );
    let mut rows = Vec::new();
    row_each(&record.parts, 0, &mut rows);
    let width = |column: fn(&Row) -> usize| rows.iter().map(column).max().unwrap_or(0);
    let (names, words) = (width(|row| row.name.chars().count()), width(|row| row.words.chars().count()));
    let end = show(scale);
    let line = "─".repeat(AXIS.saturating_sub(end.chars().count() + 3));
    text.push_str(&format!("{:names$}  {:words$}  0 {line} {end}\n", "", ""));
    for Row { name, words: what, part, depth } in &rows {
        let style = style(part);
        let padding = " ".repeat(words - what.chars().count());
        let name_padding = " ".repeat(names - name.chars().count());
        let bar = bar(part, scale);
        let padding = if bar.is_empty() { String::new() } else { format!("{padding}  {bar}") };
        text.push_str(&format!("{name}{name_padding}  {style}{what}{style:#}{padding}\n"));
        let indent = "  ".repeat(*depth + 1);
        let dim = Style::new().dimmed();
        for note in notes(part) {
            text.push_str(&format!("{dim}{indent}{note}{dim:#}\n"));
        }
    }
    if record.parts.is_empty() {
        text.push_str("the page has no fragments\n");
    }
    text
}

/// A part as it is shown.
struct Row<'a> {
    name: String,
    words: String,
    part: &'a PartRecord,
    depth: usize,
}

fn row_each<'a>(parts: &'a [PartRecord], depth: usize, rows: &mut Vec<Row<'a>>) {
    for part in parts {
        let reason = part.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let cache = part.cache.map(|cache| format!(", {cache}")).unwrap_or_default();
        rows.push(Row {
            name: format!("{}{}", "  ".repeat(depth), part.id),
            words: match &part.lazy {
                Some(_) => "lazy".to_owned(),
                None => format!("{}{reason}{cache}", part.outcome),
            },
            part,
            depth,
        });
        row_each(&part.parts, depth + 1, rows);
    }
}

fn style(part: &PartRecord) -> Style {
    let colour = match part.standing {
        PartHealth::Good => AnsiColor::Green,
        PartHealth::Old => AnsiColor::Yellow,
        PartHealth::Missing => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// From its start to its end on the axis of time; the part before the answer's first byte is drawn thin.
fn bar(part: &PartRecord, scale: f64) -> String {
    let (Some(start), Some(end)) = (part.start_ms, part.end_ms) else { return String::new() };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place on a line"
    )]
    let at = |ms: f64| ((ms / scale.max(0.01) * AXIS as f64) as usize).min(AXIS);
    let (from, to) = (at(start).min(AXIS - 1), at(end).max(at(start) + 1).min(AXIS));
    let first = part.first_byte_ms.map_or(to, at).clamp(from, to);
    format!("{}{}{} {}", " ".repeat(from), "▒".repeat(first - from), "█".repeat(to - first), show(end - start))
}

/// What else there is to say of a part.
fn notes(part: &PartRecord) -> Vec<String> {
    let mut first = vec![part.why.clone()];
    first.extend(part.kept.clone());
    // Of what took too long there is no more to say.
    first.extend(part.detail.clone().filter(|_| !matches!(part.reason, Some("timeout" | "overloaded"))));
    let who = match &part.version {
        Some(version) => format!("{} {version}", part.fragment),
        None => part.fragment.clone(),
    };
    let limit = part.timeout_ms.map(|limit| format!("has {}", show(limit)));
    let bytes = part.bytes.map(|bytes| if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") });
    let tries = (part.tries > 1).then(|| format!("asked {} times", part.tries));
    let second = [Some(format!("{}:{}", part.file, part.line)), Some(who), part.owner.clone(), part.endpoint.clone()];
    vec![
        first.join("; "),
        second.into_iter().flatten().chain(limit).chain(bytes).chain(tries).collect::<Vec<_>>().join(" · "),
    ]
}
