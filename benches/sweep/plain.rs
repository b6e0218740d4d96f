//! A bare hyper server that sends the requested number of bytes from memory: the limit, and the nanoservices.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

/// The first argument that makes this program a plain server.
pub(crate) const ARGUMENT: &str = "plain";
/// The largest size that can be requested.
const MOST: usize = 16 << 20;

/// A plain server as a process of its own. The process ends when this is dropped.
pub(crate) struct Plain {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Plain {
    /// Starts a plain server on these cores, in the notation of taskset.
    pub(crate) fn start(cores: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new("taskset");
        command.args(["-c", cores]).arg(program).arg(ARGUMENT).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Serves until the process is killed: `?s=200` gets 200 bytes.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let memory = Bytes::from(vec![b'x'; MOST]);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _set = stream.set_nodelay(true);
            let memory = memory.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = response(&request, &memory);
                    async { Ok::<_, Infallible>(response) }
                });
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
}

fn response(request: &Request<Incoming>, memory: &Bytes) -> Response<Full<Bytes>> {
    let query = request.uri().query().unwrap_or_default();
    let size = query.split('&').find_map(|pair| pair.strip_prefix("s=")?.parse().ok()).unwrap_or(0);
    let mut response = Response::new(Full::new(memory.slice(..size)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
