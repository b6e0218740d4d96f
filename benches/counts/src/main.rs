//! Counts the instructions of each scenario under valgrind, and holds them against `counts.txt`: `make counts`.
//! A busy machine counts the same, so what makes something dearer is seen at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

#[path = "../../scenarios/mod.rs"]
mod scenarios;

use scenarios::{Amount, Scenario, Work, all};

/// In percent: so much more is too much. Runs of one program differ by up to 1, since hash tables have seeds of
/// their own; what is inlined changes by a few with code that has nothing to do with it.
const TOLERANCE: f64 = 5.0;
/// So often something is done before it is counted: what is made once is there by then.
const BEFORE: usize = 2;
/// So often it is counted.
const TIMES: u64 = 5;

/// One scenario, and its instructions.
type Counted = (Scenario, u64);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["one", name] => one(name),
        _ if Command::new("valgrind").arg("--version").output().is_err() => {
            println!("Instructions are not counted: there is no valgrind here (`apt-get install valgrind`).");
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

/// Does one scenario, inside valgrind.
fn one(name: &str) -> Result<(), String> {
    let scenario = all().into_iter().find(|scenario| scenario.name == name);
    let mut work = scenario.ok_or_else(|| format!("there is no `{name}`"))?.ready();
    (0..BEFORE).for_each(|_| work());
    (0..TIMES).for_each(|_| counted_from_here(&mut work));
    Ok(())
}

/// Valgrind knows it by its name, and counts while it runs.
#[inline(never)]
fn counted_from_here(work: &mut Work) {
    work();
    // The call would else become a jump, from which nothing returns to here.
    std::hint::black_box(());
}

/// All scenarios, as many at a time as there are cores.
fn count_all() -> Result<Vec<Counted>, String> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let counted: BTreeMap<String, u64> = thread::scope(|scope| {
        let share = |first| {
            let names = all().into_iter().map(|scenario| scenario.name).skip(first).step_by(threads);
            names.map(|name| Ok((name.clone(), count(&name)?))).collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || share(first))).collect();
        running.into_iter().flat_map(|one| one.join().expect("it does not panic")).collect::<Result<_, String>>()
    })?;
    Ok(all().into_iter().filter_map(|scenario| counted.get(&scenario.name).map(|count| (scenario, *count))).collect())
}

/// The instructions that one scenario takes once.
fn count(name: &str) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    // It stays there, for callgrind_annotate.
    let file = program.with_file_name(format!("callgrind.out.{}", name.replace(['/', ' '], "-")));
    let mut valgrind = Command::new("valgrind");
    // Machines differ in variables, and in what glibc does with the finer features of a processor.
    valgrind.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    valgrind.env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM");
    valgrind.args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*counted_from_here*"]);
    valgrind.arg(format!("--callgrind-out-file={}", file.display())).arg(program).args(["one", name]);
    let ended = valgrind.output().map_err(|error| format!("valgrind: {error}"))?;
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok());
    match total {
        Some(total) if total > 0 && ended.status.success() => Ok(total / TIMES),
        _ => Err(format!("`{name}` was not counted:\n{}", String::from_utf8_lossy(&ended.stderr))),
    }
}

/// Where the counts are that were accepted.
fn accepted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.txt")
}

/// What counts depend on beside the code.
fn made_with() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    format!("{}, {}", version("rustc"), version("valgrind"))
}

/// Writes the counts down.
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

/// Prints the counts, and says which are not as they were.
#[expect(clippy::cast_precision_loss, reason = "counts are far from where it begins")]
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
    wrong.extend(before.keys().map(|name| format!("`{name}` is no scenario any more.")));
    if !better.is_empty() {
        println!("\n{}\n`make counts-accept` keeps it so.", better.join("\n"));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let made_with = made_with();
    if !text.contains(&made_with) {
        wrong.push(format!("These counts are by {made_with}; those before were not, which alone can be why."));
    }
    wrong.push("Where it has to be so: `make counts-accept`, and commit benches/counts/counts.txt.".to_owned());
    Err(wrong.join("\n"))
}
