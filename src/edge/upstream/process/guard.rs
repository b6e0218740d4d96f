//! The guard of a program: a process between the compositor and the program, which outlives neither of them.
//! However the compositor ends, even by SIGKILL, the guard notices, and kills the program with all its descendants.
//!
//! The guard is this same executable, started with a hidden argument. It adopts what the program leaves behind (a child
//! subreaper), so that no descendant escapes from it, whether it changed its process group or lost its parent. It is told what
//! to do by single bytes over a socket, its standard input. The end of that socket is the end of the compositor.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::table::descendants;

/// The hidden argument that makes this executable a guard. The program and its arguments follow.
pub(super) const GUARD: &str = "program-guard";
/// The hidden argument of the process that becomes the program. The guard's process ID, the program and its arguments follow.
const BECOME: &str = "program-exec";
/// This executable, even if its file was replaced since it was started.
pub(super) const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// The byte that asks for SIGTERM.
pub(super) const TERMINATE: u8 = b't';
/// The byte that asks for SIGKILL.
pub(super) const KILL: u8 = b'k';

/// How long a guard waits before it kills again what is still there.
const AGAIN: Duration = Duration::from_millis(10);
/// The exit code of a program that could not be started.
const COULD_NOT_START: u8 = 127;

/// Runs as a guard, or as the process that becomes a program, if the arguments say so. `None`: they do not.
#[must_use]
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let (role, rest) = arguments.get(1..)?.split_first()?;
    match role.to_str()? {
        GUARD => Some(guard(rest)),
        BECOME => Some(become_program(rest)),
        _ => None,
    }
}

/// What the guard knows of its program.
struct Guarded {
    /// The program's process, which leads its process group.
    leader: Pid,
    /// Whether the process is there. Once it is not, its ID may belong to another.
    is_there: AtomicBool,
    /// Whether the program is to end.
    is_terminated: AtomicBool,
}

fn guard(command: &[OsString]) -> ExitCode {
    let started = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).and_then(|socket| {
        rustix::process::set_child_subreaper(Some(getpid()))?;
        Ok((socket.try_clone()?, socket, start(command)?))
    });
    let (commands, mut reports, leader) = match started {
        Ok(started) => started,
        Err(error) => {
            report_error(&format!("the program could not be started: {error}"));
            return COULD_NOT_START.into();
        }
    };
    // Nobody but the compositor decides when a program ends. Service managers send signals to all processes of a service.
    let _handlers = ignore_signals();
    // If the compositor has ended, that is noticed by the thread below.
    let _written = writeln!(reports, "pid {}", leader.as_raw_nonzero());
    let guarded = Arc::new(Guarded { leader, is_there: AtomicBool::new(true), is_terminated: AtomicBool::new(false) });
    let obeyed = Arc::clone(&guarded);
    std::thread::spawn(move || obeyed.obey(commands));
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == leader => {
                guarded.is_there.store(false, Ordering::Release);
                let how = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("exit {code}"),
                    (None, signal) => format!("signal {}", signal.unwrap_or_default()),
                };
                let _written = writeln!(reports, "{how}");
                // What a program leaves behind when it ends by itself would hold its port and its connections.
                if !guarded.is_terminated.load(Ordering::Acquire) {
                    let left = Arc::clone(&guarded);
                    std::thread::spawn(move || left.kill_all());
                }
            }
            Ok(_) | Err(Errno::INTR) => {}
            // Nothing is left.
            Err(_) => return ExitCode::SUCCESS,
        }
    }
}

/// Starts the program in a process group of its own.
fn start(command: &[OsString]) -> std::io::Result<Pid> {
    let child = Command::new(OWN_EXECUTABLE)
        .arg(BECOME)
        .arg(std::process::id().to_string())
        .args(command)
        .process_group(0)
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Pid::from_child(&child))
}

/// Ends with the guard, and becomes the program.
fn become_program(arguments: &[OsString]) -> ExitCode {
    let [guard, program, arguments @ ..] = arguments else { return COULD_NOT_START.into() };
    // Told of the death of the thread that forked: the guard's main thread, which lives as long as the guard.
    let told = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if told.is_err() || guard.to_str() != Some(&parent_id().to_string()) {
        return COULD_NOT_START.into();
    }
    let error = Command::new(program).args(arguments).exec();
    report_error(&format!("{} could not be started: {error}", program.to_string_lossy()));
    COULD_NOT_START.into()
}

/// Writes to the program's own standard error, which becomes the log.
fn report_error(message: &str) {
    let _written = writeln!(std::io::stderr(), "{message}");
}

/// Makes the signals that end most processes do nothing to this one, as long as the runtime lives.
fn ignore_signals() -> Option<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
    let _guard = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()] {
        // The handler stays when this is dropped.
        let _handler = signal(kind).ok()?;
    }
    drop(_guard);
    Some(runtime)
}

impl Guarded {
    /// Does what the compositor asks for, until it ends.
    fn obey(&self, mut commands: UnixStream) {
        let mut byte = [0];
        loop {
            match commands.read(&mut byte) {
                Ok(1) if byte[0] == TERMINATE => {
                    self.is_terminated.store(true, Ordering::Release);
                    self.terminate();
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // It asks to kill, or has ended.
                _ => self.kill_all(),
            }
        }
    }

    fn terminate(&self) {
        if self.is_there.load(Ordering::Acquire) {
            // It fails if the group has just ended.
            let _sent = kill_process_group(self.leader, Signal::TERM);
        }
    }

    /// Kills all descendants, until the process ends because none is left.
    fn kill_all(&self) -> ! {
        loop {
            if self.is_there.load(Ordering::Acquire) {
                let _sent = kill_process_group(self.leader, Signal::KILL);
            }
            for pid in descendants(std::process::id()) {
                let _sent = Pid::from_raw(pid.cast_signed()).map(|pid| kill_process(pid, Signal::KILL));
            }
            std::thread::sleep(AGAIN);
        }
    }
}
