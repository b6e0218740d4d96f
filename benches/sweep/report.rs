//! Writes the results: a text with tables, and plots.

use std::path::PathBuf;
use std::process::Command;

use crate::plot::Plot;
use crate::support::last_core;

/// The machine, the versions and the time, as a table.
pub(crate) fn machine() -> String {
    let output_of = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let models = file("/proc/cpuinfo");
    let model = models
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, model)| model);
    let rows = [
        ("date", output_of("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default()),
        ("commit", output_of("git", &["describe", "--always", "--dirty"]).unwrap_or_default()),
        ("cores", (last_core() + 1).to_string()),
        ("CPU", model.to_owned()),
        ("kernel", file("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("rustc", output_of("rustc", &["--version"]).unwrap_or_default()),
        ("load average before", file("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned()),
    ];
    let rows = rows.map(|(name, value)| format!("| {name} | {value} |\n")).concat();
    format!("| | |\n|---|---|\n{rows}\n")
}

/// Writes the text with the plots below it. A partial run is written to `target/tmp/`, so that the results never mix
/// figures of different runs.
pub(crate) fn write(text: &str, plots: &[Plot], is_all: bool) {
    let results = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results");
    let folder = PathBuf::from(if is_all { results } else { env!("CARGO_TARGET_TMPDIR") });
    std::fs::create_dir_all(&folder).unwrap();
    let mut text = text.to_owned();
    for plot in plots {
        let file = format!("{}.svg", plot.file);
        plot.draw(&folder.join(&file)).unwrap();
        text += &format!("![{}]({file})\n", plot.title);
    }
    std::fs::write(folder.join("sweep.md"), &text).unwrap();
    print!("{text}");
    println!("\nwritten to {}", folder.display());
}
