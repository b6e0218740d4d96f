//! `pasteup explain`: reports what happened to each part of a page, as a tree with a timeline against the page's budget.
//! A path that no layout matches exits with 1.

use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::page::output::record::{PartRecord, Record};
use crate::page::response::outcome::PartHealth;
use crate::page::source::units::show_ms as show;
use crate::page::source::visible::{visible, visible_json};

use super::list_format::ListFormat;
use super::report::counted;
use super::{page_request, render, terminal};

/// The width of the timeline in characters.
const TIMELINE_WIDTH: usize = 32;
/// If a page took less than this share of its budget, its timeline ends when the page did, and not at the budget.
const SHORT_SHARE: f64 = 0.1;

/// The options of `pasteup explain`.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    request: page_request::PageOptions,
    /// Output format
    #[arg(long, value_enum, default_value_t = ListFormat::Human)]
    format: ListFormat,
}

pub(super) fn run(site: &Path, options: &Options) -> Result<ExitCode, String> {
    let Some(page) = render::compose(site, &options.request)? else { return Ok(render::no_route(&options.request)) };
    let record = page.record();
    match options.format {
        ListFormat::Json => {
            let json = serde_json::to_string_pretty(&record).expect("texts and numbers can be written as JSON");
            terminal::print(format_args!("{}\n", visible_json(json)))?;
        }
        ListFormat::Human => terminal::print(tree(&record))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn tree(record: &Record) -> String {
    let scale = if record.took_ms < record.budget_ms * SHORT_SHARE { record.took_ms } else { record.budget_ms };
    let bold = Style::new().bold();
    let owner = record.owner.as_ref().map(|owner| format!(" · {}", visible(owner))).unwrap_or_default();
    let mut text = format!(
        "{bold}{}{bold:#}  {}{owner}\nstatus {}, {} of {}{}\n\n",
        visible(&record.route),
        visible(&record.layout),
        record.status,
        show(record.took_ms),
        show(record.budget_ms),
        if record.varies_on.is_empty() {
            String::new()
        } else {
            format!(", varies on {}", visible(&record.varies_on.join(", ")))
        },
    );
    let mut rows = Vec::new();
    add_rows(&record.parts, 0, &mut rows);
    let width = |column: fn(&Row) -> usize| rows.iter().map(column).max().unwrap_or(0);
    let name_width = width(|row| row.name.chars().count());
    let result_width = width(|row| row.result.chars().count());
    let end = show(scale);
    let line = "─".repeat(TIMELINE_WIDTH.saturating_sub(end.chars().count() + 3));
    text.push_str(&format!("{:name_width$}  {:result_width$}  0 {line} {end}\n", "", ""));
    for Row { name, result, part, depth } in &rows {
        let style = style(part);
        let name_padding = " ".repeat(name_width - name.chars().count());
        let result_padding = " ".repeat(result_width - result.chars().count());
        let bar = bar(part, scale);
        let bar = if bar.is_empty() { String::new() } else { format!("{result_padding}  {bar}") };
        text.push_str(&format!("{name}{name_padding}  {style}{result}{style:#}{bar}\n"));
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

/// A line of the tree.
struct Row<'a> {
    name: String,
    result: String,
    part: &'a PartRecord,
    depth: usize,
}

fn add_rows<'a>(parts: &'a [PartRecord], depth: usize, rows: &mut Vec<Row<'a>>) {
    for part in parts {
        let reason = part.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let cache = part.cache.map(|cache| format!(", {cache}")).unwrap_or_default();
        rows.push(Row {
            name: format!("{}{}", "  ".repeat(depth), visible(&part.id)),
            result: match &part.lazy {
                Some(_) => "lazy".to_owned(),
                None => format!("{}{reason}{cache}", part.outcome),
            },
            part,
            depth,
        });
        add_rows(&part.parts, depth + 1, rows);
    }
}

fn style(part: &PartRecord) -> Style {
    let colour = match part.health {
        PartHealth::Good => AnsiColor::Green,
        PartHealth::Old => AnsiColor::Yellow,
        PartHealth::Missing => AnsiColor::Red,
    };
    Style::new().fg_color(Some(colour.into()))
}

/// A part's bar on the timeline: light until the response's first byte, solid until its end.
fn bar(part: &PartRecord, scale: f64) -> String {
    let (Some(start), Some(end)) = (part.start_ms, part.end_ms) else { return String::new() };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the result is a column of the timeline"
    )]
    let column = |ms: f64| ((ms / scale.max(0.01) * TIMELINE_WIDTH as f64) as usize).min(TIMELINE_WIDTH);
    // At least one character, however short the lookup was.
    let from = column(start).min(TIMELINE_WIDTH - 1);
    let to = column(end).max(column(start) + 1).min(TIMELINE_WIDTH);
    let first = part.first_byte_ms.map_or(to, column).clamp(from, to);
    format!("{}{}{} {}", " ".repeat(from), "▒".repeat(first - from), "█".repeat(to - first), show(end - start))
}

/// The lines below a part: why it shows what it shows, and where it comes from.
fn notes(part: &PartRecord) -> Vec<String> {
    let mut why = vec![part.why.clone()];
    why.extend(part.caching.clone());
    why.extend(part.side_why.clone());
    // The output of a program that has crashed follows in lines of its own.
    let mut detail = part.further_detail().unwrap_or_default().lines();
    why.extend(detail.next().map(str::to_owned));
    let nanoservice = match &part.version {
        Some(version) => format!("{} {version}", part.fragment),
        None => part.fragment.clone(),
    };
    let mut origin = vec![format!("{}:{}", part.file, part.line), nanoservice];
    origin.extend(part.owner.clone());
    origin.extend(part.endpoint.clone());
    origin.extend(part.timeout_ms.map(|limit| format!("limit {}", show(limit))));
    origin.extend(part.bytes.map(|bytes| counted(bytes, "byte")));
    origin.extend((part.tries > 1).then(|| counted(part.tries, "request")));
    // What a nanoservice or a source of manifests wrote can appear in both.
    let notes = [why.join("; ")].into_iter().chain(detail.map(|line| format!("  | {line}")));
    notes.chain([origin.join(" · ")]).map(|note| visible(&note).into_owned()).collect()
}
