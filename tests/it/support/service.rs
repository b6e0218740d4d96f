//! A nanoservice on a real socket that does what a test wants, down to the byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Counts what it is asked, and answers the same bytes each time, or what a closure makes of a request.
pub(crate) struct RawService {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

/// A request, as far as tests want to know.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl ReceivedRequest {
    fn parse(request: &[u8]) -> Self {
        let text = String::from_utf8_lossy(request).into_owned();
        let mut lines = text.lines();
        let target = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self { target, headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect() }
    }

    /// The same without a header.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the query.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

impl RawService {
    /// Sends these bytes this long after each request, and closes.
    pub(crate) async fn start(pause: Duration, response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::listen(pause, false, move |_| Some(response.clone())).await
    }

    /// Sends these bytes after each request, and then nothing more.
    pub(crate) async fn stalling(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::listen(Duration::ZERO, true, move |_| Some(response.clone())).await
    }

    /// Sends at once what a closure makes of each request, and closes. On `None` it says nothing and keeps the line.
    pub(crate) async fn responding(
        response: impl Fn(&ReceivedRequest) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Duration::ZERO, false, response).await
    }

    async fn listen(
        pause: Duration,
        stalls: bool,
        response: impl Fn(&ReceivedRequest) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, response) = (Arc::clone(&asked), Arc::new(response));
        tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let (count, response) = (Arc::clone(&count), Arc::clone(&response));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => request.push(byte),
                            Err(_) => return,
                        }
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(pause).await;
                    let response = response(&ReceivedRequest::parse(&request));
                    let silent = response.is_none();
                    let _gone = stream.write_all(&response.unwrap_or_default()).await;
                    if silent || stalls {
                        // Until the other side is tired of it.
                        let _gone = stream.read_u8().await;
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// A whole answer of HTML.
    pub(crate) async fn html(pause: Duration, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        Self::start(pause, head + body).await
    }

    pub(crate) fn requests(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A nanoservice of axum's on a real socket. Returns its address.
pub(crate) async fn serve_router(router: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
