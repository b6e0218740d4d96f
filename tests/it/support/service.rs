//! A nanoservice on a real socket whose responses a test determines to the byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A nanoservice that counts its requests, and responds with the same bytes each time or with those of a closure.
pub(crate) struct RawService {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

/// The target and the headers of a request.
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

    /// The same request without a header.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?')?.1;
        form_urlencoded::parse(query.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

impl RawService {
    /// Sends these bytes after a pause, and closes the connection.
    pub(crate) async fn start(pause: Duration, response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::listen(pause, false, move |_| Some(response.clone())).await
    }

    /// Sends these bytes, and then nothing more; the connection stays open.
    pub(crate) async fn stalling(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::listen(Duration::ZERO, true, move |_| Some(response.clone())).await
    }

    /// Sends the response of a closure and closes the connection. On `None` it sends nothing and leaves the connection open.
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
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, response) = (Arc::clone(&requests), Arc::new(response));
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
                    let is_silent = response.is_none();
                    let _gone = stream.write_all(&response.unwrap_or_default()).await;
                    if is_silent || stalls {
                        // Until the client closes the connection.
                        let _gone = stream.read_u8().await;
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// Responds with a complete HTML response.
    pub(crate) async fn html(pause: Duration, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        Self::start(pause, head + body).await
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Serves an axum router on a real socket. Returns its address.
pub(crate) async fn serve_router(router: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
