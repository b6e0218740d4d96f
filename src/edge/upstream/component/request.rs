//! One request to a component: an instance for it, which is gone when the response is.
//! A trap, too much memory and an end without an answer are failures with the reason `crashed`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, WasiHttpView as _};

use crate::edge::upstream::decoding::decode;
use crate::edge::upstream::output::Output;
use crate::engine::port::{Observer, UpstreamRequest, UpstreamResponse};
use crate::page::manifest::on_demand::EnvValue;
use crate::page::response::parsed::Failure;
use crate::page::source::reason::Reason;
use crate::page::source::units;
use crate::secrets::credentials;

use super::guest::Guest;
use super::machine::Running;
use super::outbound::Outbound;
use super::registry::{Components, Known, Shared};

/// How long an instance may go on once it has sent all of its response, to write a line of output or the like.
const AFTERWARDS: Duration = Duration::from_millis(100);

/// What the guest's thread is given.
struct Call {
    known: Arc<Known>,
    output: Output,
    env: Vec<(String, String)>,
    outbound: Outbound,
    request: Request<Full<Bytes>>,
    response: oneshot::Sender<Result<Response<HyperOutgoingBody>, ErrorCode>>,
    /// How the instance ended. Set before its body ends.
    end: Arc<OnceLock<Result<(), Failure>>>,
    /// Cancelled once all of its response was read.
    is_read: CancellationToken,
    running: InFlight,
}

/// A request that is counted until it is dropped, however the instance ends.
struct InFlight {
    known: Arc<Known>,
    observer: Arc<dyn Observer>,
    began: Instant,
    _running: Running,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.known.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.observer.component_ran(&self.known.manifest, self.began.elapsed());
    }
}

impl Components {
    /// Sends a request to a component, and decodes its response.
    pub(in crate::edge::upstream) fn ask(
        &self,
        request: UpstreamRequest,
        url: &Url,
    ) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let max_bytes = request.max_bytes;
        let response = self.ask_undecoded(request, url);
        async move {
            let UpstreamResponse { status, mut headers, body } = response.await?;
            let body = decode(body, &mut headers, max_bytes).await;
            Ok(UpstreamResponse { status, headers, body })
        }
        .boxed()
    }

    /// Sends a request to a component. Its instance ends when the future, or the body of its response, is dropped.
    pub(super) fn ask_undecoded(
        &self,
        request: UpstreamRequest,
        url: &Url,
    ) -> BoxFuture<'static, Result<UpstreamResponse, Failure>> {
        let started = self.0.start(request, url);
        async move {
            let Started { receiver, task, end, is_read } = started?;
            let response = match receiver.await {
                Ok(Ok(response)) => response,
                Ok(Err(code)) => return Err(Failure::new(Reason::Crashed, format!("its component gave up: {code:?}"))),
                Err(_) => return Err(ended(&end, "its component ended without an answer")),
            };
            let (head, body) = response.into_parts();
            let open = Some((body.into_data_stream(), task));
            let body = stream::unfold(open, move |open| {
                let (end, is_read) = (Arc::clone(&end), is_read.clone());
                async move {
                    let (mut body, task) = open?;
                    match body.next().await {
                        Some(Ok(chunk)) => Some((Ok(chunk), Some((body, task)))),
                        Some(Err(error)) => Some((Err(cut_short(&end, &error)), None)),
                        None => match end.get() {
                            Some(Err(failure)) => Some((Err(failure.clone()), None)),
                            _ => {
                                is_read.cancel();
                                drop(task.detach());
                                None
                            }
                        },
                    }
                }
            });
            Ok(UpstreamResponse { status: head.status, headers: head.headers, body: body.boxed() })
        }
        .boxed()
    }
}

/// An instance that runs.
struct Started {
    receiver: oneshot::Receiver<Result<Response<HyperOutgoingBody>, ErrorCode>>,
    /// Ends the instance when it is dropped.
    task: AbortOnDropHandle<()>,
    end: Arc<OnceLock<Result<(), Failure>>>,
    is_read: CancellationToken,
}

impl Shared {
    fn start(&self, request: UpstreamRequest, url: &Url) -> Result<Started, Failure> {
        let internal = |why: String| Failure::new(Reason::Internal, why);
        let UpstreamRequest { method, mut headers, body, manifest, credentials, .. } = request;
        let manifest = manifest.ok_or_else(|| internal("a component is requested by its manifest".to_owned()))?;
        let cannot_run = || Failure::new(Reason::Crashed, "its component cannot be run; `pasteup check` states why");
        let known = self.find(&manifest).ok_or_else(cannot_run)?;
        let component = known.manifest.component().expect("only components are known");
        if let Some(auth) = known.manifest.auth.as_ref().filter(|_| credentials) {
            credentials::add(auth, &self.secrets, url, &mut headers).map_err(internal)?;
        }
        let value = |(name, value): &(String, EnvValue)| {
            let value = match value {
                EnvValue::Text(text) => text.clone(),
                EnvValue::Reference(reference) => {
                    let secret = self.secrets.get(reference);
                    let missing = |error| Failure::new(Reason::Crashed, format!("run.env.{name}: {error}"));
                    secret.map_err(missing)?.reveal().to_owned()
                }
            };
            Ok((name.clone(), value))
        };
        let env = component.env.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let machine = self.machine().map_err(internal)?;
        let client = (!known.outbound.is_empty()).then(|| self.client().cloned()).transpose().map_err(internal)?;
        let output = Output::new(known.log.clone());
        let outbound = Outbound { allowed: Arc::clone(&known.outbound), client, output: output.clone() };
        let request = message(method, url, headers, body).map_err(internal)?;
        let (response, receiver) = oneshot::channel();
        let (end, is_read) = (Arc::default(), CancellationToken::new());
        known.in_flight.fetch_add(1, Ordering::Relaxed);
        let running = InFlight {
            known: Arc::clone(&known),
            observer: Arc::clone(&self.observer),
            began: Instant::now(),
            _running: machine.running(),
        };
        let call = Call {
            known,
            output,
            env,
            outbound,
            request,
            response,
            end: Arc::clone(&end),
            is_read: is_read.clone(),
            running,
        };
        let task = machine.spawn(call.run());
        Ok(Started { receiver, task, end, is_read })
    }
}

impl Call {
    /// Runs an instance to its end. Dropping the future ends it at the next tick of the clock.
    async fn run(self) {
        let Self { known, output, env, outbound, request, response, end, is_read, running } = self;
        let component = known.manifest.component().expect("only components are known");
        let proxy = &known.compiled.proxy;
        let mut store = Guest::store(proxy.engine(), &env, &output, outbound, component.memory);
        let answer = async {
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(Scheme::Http, request)?;
            let response = http.new_response_outparam(response)?;
            let instance = proxy.instantiate_async(&mut store).await?;
            instance.wasi_http_incoming_handler().call_handle(&mut store, request, response).await
        };
        let too_long = async {
            is_read.cancelled().await;
            tokio::time::sleep(AFTERWARDS).await;
        };
        let result = tokio::select! {
            result = answer => result,
            () = too_long => Ok(()),
        };
        let result = result.map_err(|error| failure(&error, &store, component.memory, &output));
        // Before the store is dropped, and with it the response's body.
        let _is_first = end.set(result);
        drop(store);
        drop(running);
    }
}

fn message(method: Method, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = url.as_str().parse().map_err(|error| format!("{url} cannot be requested: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The failure of an instance that ended: its own, if it is known.
fn ended(end: &OnceLock<Result<(), Failure>>, otherwise: &str) -> Failure {
    match end.get() {
        Some(Err(failure)) => failure.clone(),
        _ => Failure::new(Reason::Crashed, otherwise),
    }
}

/// The failure of a response whose body ended early.
fn cut_short(end: &OnceLock<Result<(), Failure>>, error: &Error) -> Failure {
    match end.get() {
        Some(Err(failure)) => failure.clone(),
        _ => Failure::new(Reason::Incomplete, format!("its component did not finish the body: {error}")),
    }
}

/// What an instance ended with. The last lines of its output follow.
fn failure(error: &wasmtime::Error, store: &Store<Guest>, memory: u64, output: &Output) -> Failure {
    if error.is::<PoolConcurrencyLimitError>() {
        return Failure::new(Reason::Overloaded, "as many components run as have room");
    }
    let mut what = if store.data().exceeded_memory() {
        format!("its component wanted more than its {} of memory", units::show_size(memory))
    } else if let Some(I32Exit(status)) = error.downcast_ref() {
        format!("its component exited with status {status}")
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        format!("its component trapped: {}", trap.to_string().trim_start_matches("wasm trap: "))
    } else {
        format!("its component was stopped: {}", error.root_cause())
    };
    for line in output.last() {
        what.push('\n');
        what.push_str(&line);
    }
    Failure::new(Reason::Crashed, what)
}
