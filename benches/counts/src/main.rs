//! Counts the instructions of each scenario under valgrind, and compares them with `counts.txt`: `make counts`.
//! A busy machine counts the same, so a change that costs more is noticed at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

#[path = "../../scenarios/mod.rs"]
mod scenarios;

use scenarios::{Amount, Scenario, Work, all};

/// The increase that is an error, in percent. Runs of one program differ by up to 1 %, since hash tables have random seeds,
/// and unrelated code can change what is inlined, by a few per cent.
const TOLERANCE: f64 = 5.0;
/// The number of runs before counting, so that work that is done only once is not counted.
const BEFORE: usize = 2;
/// The number of runs that are counted.
const TIMES: u64 = 5;

/// One scenario, and its instructions.
type Counted = (Scenario, u64);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["one", name] => one(name),
        _ if Command::new("valgrind").arg("--version").output().is_err() => {
            println!("Instructions were not counted: valgrind is not installed (`apt-get install valgrind`).");
            Ok(())
        }
        ["accept"] => count_all().and_then(|counted| accept(&counted)),
        [] => count_all().and_then(|counted| compare(&counted)),
        _ => Err("counts [accept]".to_owned()),
    };
    result.map_or_else(
        |why| {
            eprintln!("\n{why}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// Runs one scenario; called inside valgrind.
fn one(name: &str) -> Result<(), String> {
    let scenario = all().into_iter().find(|scenario| scenario.name == name);
    let mut work = scenario.ok_or_else(|| format!("there is no `{name}`"))?.ready();
    (0..BEFORE).for_each(|_| work());
    (0..TIMES).for_each(|_| counted_from_here(&mut work));
    Ok(())
}

/// Runs the work; valgrind knows this function by its name, and counts while it runs.
#[inline(never)]
fn counted_from_here(work: &mut Work) {
    work();
    // Otherwise the call would become a tail call, which does not return here.
    std::hint::black_box(());
}

/// Counts all scenarios, as many at a time as there are cores.
fn count_all() -> Result<Vec<Counted>, String> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let counted: BTreeMap<String, u64> = thread::scope(|scope| {
        let share = |first| {
            let names = all().into_iter().map(|scenario| scenario.name).skip(first).step_by(threads);
            names.map(|name| Ok((name.clone(), count(&name)?))).collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        running
            .into_iter()
            .flat_map(|one| one.join().expect("a counting thread does not panic"))
            .collect::<Result<_, String>>()
    })?;
    Ok(all().into_iter().filter_map(|scenario| counted.get(&scenario.name).map(|count| (scenario, *count))).collect())
}

/// Counts the instructions of one run of a scenario.
fn count(name: &str) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // The file is left there for callgrind_annotate.
    let file = program.with_file_name(format!("callgrind.out.{}", name.replace(['/', ' '], "-")));
    let mut valgrind = Command::new("valgrind");
    // Environment variables and the processor features that glibc uses differ between machines.
    valgrind.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    valgrind.env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM");
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_from_here*"]);
    valgrind.arg(format!("--callgrind-out-file={}", file.display())).arg(program).args(["one", name]);
    let output = valgrind.output().map_err(|error| format!("valgrind: {error}"))?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    match total {
        Some(total) if total > 0 && output.status.success() => Ok(total / TIMES),
        _ => Err(format!("`{name}` was not counted:\n{}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// The file with the accepted counts.
fn accepted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.txt")
}

/// The versions of the tools, on which the counts depend, too.
fn made_with() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    format!("{}, {}", version("rustc"), version("valgrind"))
}

/// Writes the counts as the accepted ones.
fn accept(counted: &[Counted]) -> Result<(), String> {
    let mut text =
        "# Instructions that each scenario takes (benches/scenarios); `make counts-accept` writes this.\n".to_owned();
    _ = writeln!(text, "# {}", made_with());
    for (Scenario { name, .. }, count) in counted {
        _ = writeln!(text, "{name:<20}{count:>12}");
    }
    print!("{text}");
    std::fs::write(accepted(), text).map_err(|error| format!("{}: {error}", accepted().display()))
}

/// Prints the counts and compares them with the accepted ones. The error lists those that grew, appeared or disappeared.
#[expect(clippy::cast_precision_loss, reason = "counts are far below the limit of precision")]
fn compare(counted: &[Counted]) -> Result<(), String> {
    let text = std::fs::read_to_string(accepted()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let mut before: BTreeMap<&str, u64> =
        lines.filter_map(|(name, count)| Some((name.trim(), count.parse().ok()?))).collect();
    let (mut wrong, mut better) = (Vec::new(), Vec::new());
    println!("{:<20}{:>12}{:>10}{:>12}{:>9}", "scenario", "instructions", "each", "before", "change");
    for (Scenario { name, amount, .. }, count) in counted {
        let each = amount.map(|(Amount::Bytes(amount) | Amount::Parts(amount))| (count / amount).to_string());
        print!("{name:<20}{count:>12}{:>10}", each.unwrap_or_default());
        let Some(known) = before.remove(&**name) else {
            println!();
            wrong.push(format!("`{name}` was not counted before."));
            continue;
        };
        let change = (*count as f64 / known as f64 - 1.0) * 100.0;
        println!("{known:>12}{change:>+8.1}%");
        if change > TOLERANCE {
            wrong.push(format!("`{name}` takes {change:.1} % more instructions than before."));
        } else if change < -TOLERANCE {
            better.push(format!("`{name}` takes {:.1} % fewer instructions than before.", -change));
        }
    }
    wrong.extend(before.keys().map(|name| format!("`{name}` is no longer a scenario.")));
    if !better.is_empty() {
        println!("\n{}\n`make counts-accept` accepts this.", better.join("\n"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let made_with = made_with();
    if !text.contains(&made_with) {
        wrong.push(format!("These counts were made with {made_with}, and the accepted ones with other versions, which alone can be the reason."));
    }
    wrong.push("If the change is intended, run `make counts-accept` and commit benches/counts/counts.txt.".to_owned());
    Err(wrong.join("\n"))
}
