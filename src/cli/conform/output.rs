//! Writes findings as text: one line per rule for people, one JSON object per line for programs, JUnit XML for CI.
//! What a nanoservice sent can appear in a finding, so control characters are made visible.

use anstyle::{AnsiColor, Style};
use askama::Template;
use serde::Serialize;

use crate::page::conform::{Finding, Verdict};
use crate::page::source::visible::{visible, visible_json};

use super::super::report::counted;
use super::Report;

#[derive(Serialize)]
struct Line<'a> {
    service: &'a str,
    version: Option<String>,
    endpoint: &'a str,
    rule: &'a str,
    verdict: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "conform.xml")]
struct Junit<'a> {
    suites: Vec<TestSuite<'a>>,
}

/// The findings for one version of a nanoservice, at all its addresses.
struct TestSuite<'a> {
    name: String,
    cases: Vec<(&'a str, &'a Finding)>,
}

impl TestSuite<'_> {
    fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|(_, finding)| finding.verdict == verdict).count()
    }

    fn failures(&self) -> usize {
        self.count(Verdict::Failed)
    }

    fn skipped(&self) -> usize {
        self.count(Verdict::Skipped)
    }
}

fn title(report: &Report) -> String {
    match report.subject.version() {
        Some(version) => format!("{} {version}", report.subject.service),
        None => report.subject.address.clone(),
    }
}

const fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Passed => AnsiColor::Green.on_default(),
        Verdict::Failed => AnsiColor::Red.on_default().bold(),
        Verdict::Advice => AnsiColor::Yellow.on_default(),
        Verdict::Skipped => Style::new().dimmed(),
    }
}

/// One line per rule, and below each broken one the contract and a fix, in colour.
pub(super) fn human(report: &Report) -> String {
    const TITLE: Style = Style::new().bold();
    const DIM: Style = Style::new().dimmed();
    const LABEL: Style = AnsiColor::Cyan.on_default();
    let at = report.subject.manifest.as_ref().map(|_| format!(" at {}", report.subject.address)).unwrap_or_default();
    let mut text = format!("{TITLE}{}{TITLE:#}{}\n\n", visible(&title(report)), visible(&at));
    let width = report.findings.iter().map(|finding| finding.rule.id().len()).max().unwrap_or_default();
    for finding in &report.findings {
        let (style, id) = (style(finding.verdict), finding.rule.id());
        let dim = if finding.verdict == Verdict::Skipped { DIM } else { Style::new() };
        let (word, message) = (finding.verdict.as_str(), visible(&finding.message));
        text.push_str(&format!("  {style}{word:<7}{style:#}  {dim}{id:<width$}  {message}{dim:#}\n"));
        let indent = " ".repeat(2 + 7 + 2 + width + 2);
        if finding.verdict == Verdict::Failed {
            text.push_str(&format!("{indent}{LABEL}= contract:{LABEL:#} {}\n", finding.rule.contract()));
        }
        if let Some(help) = finding.help() {
            text.push_str(&format!("{indent}{LABEL}= help:{LABEL:#} {}\n", visible(help)));
        }
    }
    text.push('\n');
    text
}

/// One JSON object per rule, each on a line.
pub(super) fn json(report: &Report) -> String {
    let mut lines = String::new();
    for finding in &report.findings {
        let line = Line {
            service: &report.subject.service,
            version: report.subject.version(),
            endpoint: &report.subject.address,
            rule: finding.rule.id(),
            verdict: finding.verdict.as_str(),
            message: &finding.message,
            help: finding.help(),
        };
        lines.push_str(&visible_json(serde_json::to_string(&line).expect("texts can be written as JSON")));
        lines.push('\n');
    }
    lines
}

/// A test suite for each version, with a test case for each rule and address.
///
/// # Errors
/// The template fails.
pub(super) fn junit(reports: &[Report]) -> Result<String, String> {
    let mut suites: Vec<TestSuite<'_>> = Vec::new();
    for report in reports {
        let name = title(report);
        let cases = report.findings.iter().map(|finding| (report.subject.address.as_str(), finding));
        match suites.iter_mut().find(|suite| suite.name == name) {
            Some(suite) => suite.cases.extend(cases),
            None => suites.push(TestSuite { name, cases: cases.collect() }),
        }
    }
    let text = Junit { suites }.render().map_err(|error| format!("cannot write JUnit XML: {error}"))?;
    Ok(format!("{text}\n"))
}

/// The number of findings of each verdict, in colour.
pub(super) fn summary(report: &Report) -> String {
    let count = |verdict| report.findings.iter().filter(|finding| finding.verdict == verdict).count();
    let parts: Vec<String> = [Verdict::Failed, Verdict::Advice, Verdict::Passed, Verdict::Skipped]
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| {
            let style = style(verdict);
            format!("{style}{} {}{style:#}", count(verdict), verdict.as_str())
        })
        .collect();
    let result = if count(Verdict::Failed) == 0 { "keeps the contract" } else { "breaks the contract" };
    let requests = counted(report.requests, "request");
    format!("{} {result}: {} ({requests})", visible(&title(report)), parts.join(", "))
}
