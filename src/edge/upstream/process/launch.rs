//! One process of a program, from its start to its end.
//! A program that cannot be started ends at once, with the reason as its end.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::page::manifest::Manifest;
use crate::page::manifest::on_demand::Ready;
use crate::page::policy::supervision::program::ProcessNumber;

use super::super::{folder, output::Output};
use super::port::{self, Listener};
use super::{Ids, Key, Life, Shared, environment, guard, program, table};

/// How often it is looked whether a program listens: often in the first seconds, since a reader waits.
const OFTEN: Duration = Duration::from_millis(3);
const RARELY: Duration = Duration::from_millis(25);
/// How many times it is looked often.
const OFTEN_TIMES: u32 = 1_000;
/// Longest wait for the answer to the request that shows whether a program is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the rest of the output of a process that has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(50);

/// A process that is to be started.
pub(super) struct Launch {
    pub(super) key: Key,
    pub(super) number: ProcessNumber,
    pub(super) manifest: Arc<Manifest>,
    /// `None`: no port is free.
    pub(super) port: Option<u16>,
    /// Bytes for the guard.
    pub(super) commands: mpsc::UnboundedReceiver<u8>,
    pub(super) output: Output,
}

/// A process that was started.
struct Running {
    guard: Child,
    port: u16,
    reports: Lines<BufReader<OwnedReadHalf>>,
    control: OwnedWriteHalf,
    outputs: Vec<JoinHandle<()>>,
}

impl Launch {
    /// Starts the process, and follows it to its end.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let what = match self.start(&shared) {
            Ok(running) => self.follow(running, &shared).await,
            Err(why) => why,
        };
        shared.ended(&self.key, self.number, &what);
    }

    fn start(&self, shared: &Shared) -> Result<Running, String> {
        let port = self.port.ok_or("no port is free for its program")?;
        let folder = folder(&shared.root, &self.key);
        let program = program(&self.manifest);
        let file = environment::find(program, &folder)?;
        let variables = environment::variables(program, &shared.root, port)?;
        let failed = |error: std::io::Error| format!("its program could not be started: {error}");
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        let mut guard = Command::new(guard::OWN_EXECUTABLE)
            .arg0("pasteup")
            .arg(guard::GUARD)
            .arg(file)
            .args(&program.command[1..])
            .current_dir(folder)
            .env_clear()
            .envs(variables)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Signals of a terminal are for the compositor.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let outputs = [
            guard.stdout.take().map(|stream| tokio::spawn(self.output.clone().take(stream))),
            guard.stderr.take().map(|stream| tokio::spawn(self.output.clone().take(stream))),
        ];
        ours.set_nonblocking(true).map_err(failed)?;
        let (reports, control) = UnixStream::from_std(ours).map_err(failed)?.into_split();
        let reports = BufReader::new(reports).lines();
        Ok(Running { guard, port, reports, control, outputs: outputs.into_iter().flatten().collect() })
    }

    /// Follows the process, and returns how it ended.
    async fn follow(&mut self, running: Running, shared: &Arc<Shared>) -> String {
        let Running { mut guard, port, mut reports, mut control, outputs } = running;
        let guard_id = guard.id().unwrap_or_default();
        let mut ids = None;
        let mut what = None;
        let mut readiness = None;
        loop {
            let is_ready = async {
                match &mut readiness {
                    Some(readiness) => std::pin::Pin::as_mut(readiness).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                report = reports.next_line() => {
                    // The guard ends once nothing is left of the program.
                    let Ok(Some(report)) = report else { break };
                    match report.split_once(' ') {
                        Some(("pid", id)) => {
                            ids = id.parse().ok().map(|program| Ids { guard: guard_id, program });
                            if let Some(ids) = ids {
                                self.set_ids(shared, ids);
                                let ready = program(&self.manifest).ready.clone();
                                readiness = Some(Box::pin(wait_until_ready(port, ids, ready)));
                            }
                        }
                        Some((how, code)) => {
                            readiness = None;
                            what = Some(describe(how, code));
                            self.set_exited(shared);
                        }
                        None => {}
                    }
                }
                Some(command) = self.commands.recv() => {
                    // It fails if the guard has just ended.
                    let _sent = control.write_all(&[command]).await;
                }
                () = is_ready => {
                    readiness = None;
                    shared.ready(&self.key, self.number);
                }
            }
        }
        let status = guard.wait().await;
        if let (None, Some(ids)) = (&what, ids) {
            // Somebody killed the guard: the program was killed with it, and what it left behind is killed here.
            let group = rustix::process::Pid::from_raw(ids.program.cast_signed());
            let _sent = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
        }
        self.set_exited(shared);
        let rest = futures::future::join_all(outputs);
        // A process that left the group before its guard was killed could hold the output open.
        let _late = tokio::time::timeout(LAST_OUTPUT, rest).await;
        what.unwrap_or_else(|| format!("its program was ended with its guard ({})", shown(status)))
    }

    fn set_ids(&self, shared: &Shared, ids: Ids) {
        if let Some(slot) = shared.state().slots.get_mut(&self.key)
            && let Some(process) = slot.processes.get_mut(&self.number)
        {
            process.ids = Some(ids);
        }
    }

    fn set_exited(&self, shared: &Shared) {
        if let Some(slot) = shared.state().slots.get(&self.key)
            && let Some(process) = slot.processes.get(&self.number)
        {
            process.life.send_replace(Life::Exited);
        }
    }
}

fn describe(how: &str, code: &str) -> String {
    match how {
        "exit" => format!("its program ended with exit code {code}"),
        _ => format!("its program was ended by signal {code}"),
    }
}

fn shown(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Waits until a program accepts connections, and answers if that is required as well.
async fn wait_until_ready(port: u16, ids: Ids, ready: Ready) {
    for time in 0_u32.. {
        let look = move || port::listener(port, ids.program, || table::descendants(ids.guard));
        match tokio::task::spawn_blocking(look).await {
            Ok(Listener::Program) => {
                let answers = match &ready {
                    Ready::Tcp => true,
                    Ready::Path(path) => {
                        tokio::time::timeout(READY_TIMEOUT, answers(port, path)).await.is_ok_and(|answers| answers)
                    }
                };
                if answers {
                    return;
                }
            }
            Ok(Listener::Stranger) if time == 0 => {
                tracing::warn!(port, "another process listens on the port of a program that was just started");
            }
            Ok(Listener::Nobody | Listener::Stranger) | Err(_) => {}
        }
        tokio::time::sleep(if time < OFTEN_TIMES { OFTEN } else { RARELY }).await;
    }
}

/// Whether a path of the program is answered with a status below 500.
async fn answers(port: u16, path: &str) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let Ok((mut sender, connection)) = handshake else { return false };
    let connection = tokio::spawn(connection);
    let request = http::Request::get(path).header("host", format!("127.0.0.1:{port}")).header("connection", "close");
    let answered = match request.body(Empty::<bytes::Bytes>::new()) {
        Ok(request) => sender.send_request(request).await.is_ok_and(|response| response.status().as_u16() < 500),
        Err(_) => false,
    };
    connection.abort();
    answered
}
