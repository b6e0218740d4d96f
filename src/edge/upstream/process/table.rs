//! The processes of this machine, as `/proc` lists them: whose children they are, and how much memory they hold.
//! A process that ends while it is looked at is left out.

use std::collections::HashMap;
use std::fs;

/// All processes at one moment, by their IDs.
pub(super) struct ProcessTable(HashMap<u32, Process>);

struct Process {
    parent: u32,
    group: u32,
}

impl ProcessTable {
    /// Reads it.
    pub(super) fn read() -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        Self(ids.filter_map(|id| Some((id, Process::read(id)?))).collect())
    }

    /// All descendants of a process, but not itself.
    pub(super) fn descendants(&self, ancestor: u32) -> Vec<u32> {
        let is_below = |id: u32| {
            let parents = std::iter::successors(self.0.get(&id), |process| self.0.get(&process.parent));
            // The length of the longest chain; a table that was read while it changed could have a circle.
            parents.take(self.0.len()).any(|process| process.parent == ancestor)
        };
        self.0.keys().copied().filter(|id| is_below(*id)).collect()
    }

    /// The processes of a program: the descendants of its guard, and its process group.
    pub(super) fn family(&self, guard: u32, group: u32) -> Vec<u32> {
        let mut family = self.descendants(guard);
        let others = self.0.iter().filter(|(id, process)| process.group == group && **id != guard);
        family.extend(others.map(|(id, _)| *id));
        family.sort_unstable();
        family.dedup();
        family
    }
}

impl Process {
    fn read(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        Self::parse(&stat)
    }

    /// Parses `/proc/ID/stat`. The name of the program is in parentheses, and may itself contain some.
    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
        Some(Self { parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
    }
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
        let process = Process::parse("17 (a) R 1 2 (b) S 5 17 17 0 -1").expect("a process");
        assert_eq!((process.parent, process.group), (5, 17));
        assert!(Process::parse("17 (a").is_none());
    }

    #[test]
    fn a_process_is_found_with_its_descendants_and_its_memory() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
        let found = ProcessTable::read().descendants(std::process::id());
        assert!(found.contains(&child.id()), "{found:?}");
        assert!(!found.contains(&std::process::id()));
        assert!(memory(&[std::process::id()]) > 1 << 20);
        child.kill().expect("it is there");
        child.wait().expect("it ends");
    }

    #[test]
    fn the_proportional_set_size_is_one_of_many_lines() {
        let rollup = "00-ff ---p 00 00:00 0 [rollup]\nRss:    900 kB\nPss:     123 kB\nPss_Anon: 7 kB\n";
        assert_eq!(proportional_set_size(rollup), Some(123 << 10));
        assert_eq!(proportional_set_size("Pss: x kB\n"), None);
    }
}
