//! The processes of this machine, as `/proc` lists them: whose children they are, and how much memory they hold.
//! A process that ends while it is looked at is left out.

use std::collections::HashMap;
use std::{fs, io};

/// All descendants of a process, but not itself. Those of a guard are all processes of its program, since it adopts what they
/// leave behind.
pub(super) fn descendants(ancestor: u32) -> Vec<u32> {
    // Some kernels do not list children; then all processes of the machine are looked at, which takes 20 ms on some.
    listed_descendants(ancestor).unwrap_or_else(|_| ProcessTable::read().descendants(ancestor))
}

fn listed_descendants(ancestor: u32) -> io::Result<Vec<u32>> {
    let mut found = children(ancestor)?;
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        // It may have ended meanwhile.
        found.extend(children(process).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// The children of a process, of all its threads.
fn children(process: u32) -> io::Result<Vec<u32>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let listed = fs::read_to_string(thread?.path().join("children"))?;
        all.extend(listed.split_ascii_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    Ok(all)
}

/// All processes at one moment: the parent of each.
struct ProcessTable(HashMap<u32, u32>);

impl ProcessTable {
    fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let parent = |id: u32| parse_parent(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?);
        Self(ids.filter_map(|id| Some((id, parent(id)?))).collect())
    }

    fn descendants(&self, ancestor: u32) -> Vec<u32> {
        let is_below = |id: u32| {
            let mut parents = std::iter::successors(self.0.get(&id), |parent| self.0.get(*parent));
            // The length of the longest chain; a table that was read while it changed could have a circle.
            parents.by_ref().take(self.0.len()).any(|parent| *parent == ancestor)
        };
        self.0.keys().copied().filter(|id| is_below(*id)).collect()
    }
}

/// Parses the parent in `/proc/ID/stat`. The name of the program is in parentheses, and may itself contain some.
fn parse_parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The memory of some processes together, in bytes: the sum of their proportional set sizes.
pub(super) fn memory(processes: &[u32]) -> u64 {
    let of = |id: &u32| {
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        proportional_set_size(&rollup)
    };
    processes.iter().filter_map(of).sum()
}

fn proportional_set_size(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_may_look_like_the_fields_after_it() {
        assert_eq!(parse_parent("17 (a) R 1 2 (b) S 5 17 17 0 -1"), Some(5));
        assert_eq!(parse_parent("17 (a"), None);
    }

    #[test]
    fn both_ways_find_a_process_with_its_descendants() {
        let script = "sleep 60 & wait";
        let mut child = std::process::Command::new("sh").args(["-c", script]).spawn().expect("a process");
        // Until the shell has started its child.
        let grandchild = loop {
            if let Some(grandchild) = descendants(child.id()).first() {
                break *grandchild;
            }
            std::thread::yield_now();
        };
        for found in [descendants(std::process::id()), ProcessTable::read().descendants(std::process::id())] {
            assert!(found.contains(&child.id()) && found.contains(&grandchild), "{found:?}");
            assert!(!found.contains(&std::process::id()));
        }
        assert!(memory(&[std::process::id()]) > 1 << 20);
        child.kill().expect("it is there");
        child.wait().expect("it ends");
        let grandchild = rustix::process::Pid::from_raw(grandchild.cast_signed()).expect("an ID");
        rustix::process::kill_process(grandchild, rustix::process::Signal::KILL).expect("it is there");
    }

    #[test]
    fn the_proportional_set_size_is_one_of_many_lines() {
        let rollup = "00-ff ---p 00 00:00 0 [rollup]\nRss:    900 kB\nPss:     123 kB\nPss_Anon: 7 kB\n";
        assert_eq!(proportional_set_size(rollup), Some(123 << 10));
        assert_eq!(proportional_set_size("Pss: x kB\n"), None);
    }
}
