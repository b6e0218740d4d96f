//! Requests to programs: they wait for a start, keep their program running, and learn of its crash.
//! Whatever breaks off because the program ended has failed with the reason `crashed`.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::watch;
use tokio::time::timeout;
use url::Url;

use crate::engine::port::{Lease, Upstream, UpstreamRequest, UpstreamResponse};
use crate::page::manifest::Manifest;
use crate::page::policy::supervision::fleet::TOO_MANY;
use crate::page::policy::supervision::program::{ProcessNumber, Reply};
use crate::page::policy::supervision::status::ProgramState;
use crate::page::request::address::Address;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;
use crate::page::source::units;

use super::{Key, Life, Programs, Shared, Slot, key, program};

/// How long the end of a program is waited for after a connection to it has closed.
const EXIT_WAIT: Duration = Duration::from_millis(100);

/// A request to a process, which is answered before the process is stopped.
struct InProgress {
    shared: Arc<Shared>,
    key: Key,
    number: ProcessNumber,
    port: u16,
    id: Option<u32>,
    life: watch::Receiver<Life>,
    is_answered: bool,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let actions = state.fleet.finished(&self.key, self.number, self.is_answered, Instant::now());
        self.shared.carry_out(&mut state, actions);
    }
}

impl Programs {
    /// Waits until a program is ready, and keeps it from being stopped.
    pub(in crate::edge::upstream) fn lease(
        &self,
        manifest: &Arc<Manifest>,
    ) -> BoxFuture<'static, Result<Lease, Failure>> {
        let (shared, manifest) = (Arc::clone(&self.0), Arc::clone(manifest));
        async move {
            loop {
                match shared.request(&manifest)? {
                    Ok(in_progress) => return Ok(Box::new(in_progress) as Lease),
                    // It fails if the program is gone, which the next round finds out.
                    Err(mut woken) => drop(woken.changed().await),
                }
            }
        }
        .boxed()
    }

    /// Whether a program is being started, and does not answer meanwhile.
    pub(in crate::edge::upstream) fn is_being_started(&self, manifest: &Manifest) -> bool {
        let state = self.0.state();
        state.fleet.program(&key(manifest)).is_some_and(|program| program.state() == ProgramState::Starting)
    }

    /// The port of a program that answers.
    #[must_use]
    pub fn port(&self, manifest: &Manifest) -> Option<u16> {
        let state = self.0.state();
        let number = state.fleet.program(&key(manifest))?.shown()?;
        state.slots.get(&key(manifest))?.processes.get(&number)?.port
    }

    /// Sends a request to a program that is ready, by way of `http`.
    pub(in crate::edge::upstream) fn ask(
        &self,
        mut request: UpstreamRequest,
        url: &Url,
        http: &Arc<dyn Upstream>,
    ) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let prepared = self.prepare(&mut request, url);
        let http = Arc::clone(http);
        async move {
            let mut in_progress = prepared?;
            let UpstreamResponse { status, headers, body } = match http.send(request).await {
                Ok(response) => response,
                Err(failure) => return Err(in_progress.explain(failure).await),
            };
            let body = stream::unfold(Some((body, in_progress)), |open| async move {
                let (mut body, mut in_progress) = open?;
                match body.next().await {
                    Some(Ok(chunk)) => Some((Ok(chunk), Some((body, in_progress)))),
                    Some(Err(failure)) => Some((Err(in_progress.explain(failure).await), None)),
                    None => {
                        in_progress.is_answered = true;
                        None
                    }
                }
            });
            Ok(UpstreamResponse { status, headers, body: body.boxed() })
        }
        .boxed()
    }

    /// Addresses a request to the process that answers now.
    fn prepare(&self, request: &mut UpstreamRequest, url: &Url) -> Result<InProgress, Failure> {
        let manifest = request.manifest.as_ref();
        let manifest =
            manifest.ok_or_else(|| Failure::new(Reason::Internal, "a program is requested by its manifest"))?;
        // Its lease has kept it from being stopped, so it has crashed since.
        let crashed = |_| Failure::new(Reason::Crashed, "its program ended before the request was sent");
        let in_progress = self.0.request(manifest)?.map_err(crashed)?;
        let mut url = url.clone();
        url.set_ip_host([127, 0, 0, 1].into()).expect("an HTTP URL can have any host");
        url.set_port(Some(in_progress.port)).expect("an HTTP URL can have any port");
        request.address = Address::Http(url);
        Ok(in_progress)
    }
}

impl Shared {
    /// Asks for a program: the process that answers, or what wakes the request once it should ask again.
    fn request(self: &Arc<Self>, manifest: &Arc<Manifest>) -> Result<Result<InProgress, watch::Receiver<()>>, Failure> {
        let key = key(manifest);
        let mut state = self.state();
        if !state.slots.contains_key(&key)
            && let Some(declared) = state.declared.get(&key).cloned()
        {
            state.slots.insert(Arc::clone(&key), Slot::new(&declared));
            let actions = state.fleet.declare(&key, program(&declared).rules, Instant::now());
            self.carry_out(&mut state, actions);
        }
        let (reply, actions) = state.fleet.request(&key, Instant::now());
        let woken = state.slots.get(&key).map(|slot| slot.woken.subscribe());
        self.carry_out(&mut state, actions);
        let slot = state.slots.get(&key);
        match reply {
            Reply::Serve(number) => {
                let process = slot.and_then(|slot| slot.processes.get(&number));
                let process = process.and_then(|process| Some((process, process.port?)));
                let (process, port) = process.expect("only a process that has a port gets ready");
                let (id, life) = (process.ids.map(|ids| ids.program), process.life.subscribe());
                Ok(Ok(InProgress { shared: Arc::clone(self), key, number, port, id, life, is_answered: false }))
            }
            Reply::Wait => Ok(Err(woken.expect("a program that starts has a slot"))),
            Reply::Failing(pause) => {
                let crash = slot.and_then(|slot| slot.crash.as_deref());
                let crash = crash.map_or_else(|| "its program did not start".to_owned(), ToString::to_string);
                let pause =
                    units::show(Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) + 1));
                Err(Failure::new(Reason::Crashed, format!("to be tried again in {pause}: {crash}")))
            }
            Reply::Overloaded => Err(Failure::new(Reason::Overloaded, TOO_MANY)),
            Reply::Gone => Err(Failure::new(Reason::Unknown, "its program is declared no longer")),
        }
    }
}

impl InProgress {
    /// The failure of a request, which is a crash if the program has ended. A connection breaks a moment before its program
    /// is known to have ended.
    async fn explain(&mut self, failure: Failure) -> Failure {
        if matches!(failure.reason, Reason::TooLarge | Reason::Internal) {
            return failure;
        }
        let exited = timeout(EXIT_WAIT, self.life.wait_for(|life| !matches!(life, Life::Running))).await.is_ok();
        if !exited && !self.id.is_some_and(is_gone) {
            return failure;
        }
        let over = timeout(EXIT_WAIT, self.life.wait_for(|life| matches!(life, Life::Over(_)))).await;
        let detail = match over.ok().and_then(Result::ok).as_deref() {
            Some(Life::Over(crash)) => crash.to_string(),
            _ => "its program ended".to_owned(),
        };
        Failure::new(Reason::Crashed, detail)
    }
}

/// Whether a process has ended, although nobody may have noticed yet.
fn is_gone(id: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { return true };
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}
