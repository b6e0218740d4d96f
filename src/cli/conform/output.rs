//! Prints findings: one line per rule for people, one JSON object per line for programs, JUnit XML for CI.
//! Findings go to standard output; the summary goes to standard error.

use anstyle::{AnsiColor, Style};
use askama::Template;
use serde::Serialize;

use crate::page::conform::{Finding, Verdict};

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

/// Prints one line per rule, and below each broken one the contract and a fix. `anstream` removes the colours if the
/// output does not support them.
pub(super) fn human(report: &Report) {
    const TITLE: Style = Style::new().bold();
    const DIM: Style = Style::new().dimmed();
    const LABEL: Style = AnsiColor::Cyan.on_default();
    let at = report.subject.manifest.as_ref().map(|_| format!(" at {}", report.subject.address)).unwrap_or_default();
    anstream::println!("{TITLE}{}{TITLE:#}{at}\n", title(report));
    let width = report.findings.iter().map(|finding| finding.rule.id().len()).max().unwrap_or_default();
    for finding in &report.findings {
        let (style, id) = (style(finding.verdict), finding.rule.id());
        let text = if finding.verdict == Verdict::Skipped { DIM } else { Style::new() };
        let word = finding.verdict.as_str();
        anstream::println!("  {style}{word:<7}{style:#}  {text}{id:<width$}  {}{text:#}", finding.message);
        let indent = " ".repeat(2 + 7 + 2 + width + 2);
        if finding.verdict == Verdict::Failed {
            anstream::println!("{indent}{LABEL}= contract:{LABEL:#} {}", finding.rule.contract());
        }
        if let Some(help) = finding.help() {
            anstream::println!("{indent}{LABEL}= help:{LABEL:#} {help}");
        }
    }
    anstream::println!();
}

/// Prints one JSON object per rule, each on a line.
pub(super) fn json(report: &Report) {
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
        anstream::println!("{}", serde_json::to_string(&line).expect("texts can be written as JSON"));
    }
}

/// Prints a test suite for each version, with a test case for each rule and address.
pub(super) fn junit(reports: &[Report]) -> Result<(), String> {
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
    anstream::println!("{text}");
    Ok(())
}

/// Prints the number of findings of each verdict.
pub(super) fn summary(reports: &[Report]) {
    for report in reports {
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
        anstream::eprintln!("{} {result}: {} ({requests})", title(report), parts.join(", "));
    }
}
