//! Reads files for tower-http, which asks for a file and for those that hold it in an encoding.
//! A file without a true time has no validators.

use std::future::{Ready, ready};
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::ServeDir;
use tower_http::services::fs::{self, Backend, ServeFileSystemResponseBody};

use super::OpenFile;

/// The body of a response with a file.
pub(super) type ResponseBody = ServeFileSystemResponseBody;

/// Times before 1990, in seconds since 1970, are not those of a change: tools that build the same bytes each time write 1970
/// or 1980. Taken for validators, they would make different files of one length the same.
const FIRST_TRUE_TIME: Duration = Duration::from_secs(631_152_000);

/// Reads a file by its path, which the URI of the request has, too.
///
/// # Errors
/// The file cannot be read, although there may be one.
pub(super) async fn read(
    open: &Arc<OpenFile>,
    path: &str,
    request: Request<Body>,
) -> io::Result<Response<ResponseBody>> {
    let asked: Arc<Path> = PathBuf::from(path.trim_start_matches('/')).into();
    // First, so that of a file that does not exist, no encodings are looked for.
    let file = opened(Arc::clone(open), Arc::clone(&asked)).await?;
    let modified = file.facts.modified;
    let reading = Reading { open: Arc::clone(open), asked, modified, file: Arc::new(Mutex::new(Some(file))) };
    let files = ServeDir::with_backend("", reading).append_index_html_on_directories(false);
    files.precompressed_br().precompressed_zstd().precompressed_gzip().try_call(request).await
}

/// Opens files for one request.
#[derive(Clone)]
struct Reading {
    open: Arc<OpenFile>,
    /// The file that the request is for. Any other path is that of the same file in an encoding.
    asked: Arc<Path>,
    /// When that file was changed last.
    modified: SystemTime,
    /// That file, until it is used.
    file: Arc<Mutex<Option<OpenedFile>>>,
}

/// An open file.
struct OpenedFile {
    file: tokio::fs::File,
    facts: Facts,
}

/// What the reply to a request for a file depends on beside its content.
#[derive(Debug, Clone, Copy)]
struct Facts {
    length: u64,
    modified: SystemTime,
}

impl Backend for Reading {
    type File = OpenedFile;
    type Metadata = Facts;
    type OpenFuture = BoxFuture<'static, io::Result<OpenedFile>>;
    type MetadataFuture = Ready<io::Result<Facts>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let path: Arc<Path> = path.strip_prefix(".").unwrap_or(&path).into();
        if path == self.asked {
            let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
            return ready(file.ok_or_else(|| io::ErrorKind::NotFound.into())).boxed();
        }
        let (open, modified) = (Arc::clone(&self.open), self.modified);
        async move {
            let file = opened(open, path).await?;
            // Whoever changes a file may forget to compress it again.
            if file.facts.modified < modified { Err(io::ErrorKind::NotFound.into()) } else { Ok(file) }
        }
        .boxed()
    }

    /// It is asked for only to see whether there is a folder, and folders are not served.
    fn metadata(&self, _: PathBuf) -> Self::MetadataFuture {
        ready(Err(io::ErrorKind::NotFound.into()))
    }
}

async fn opened(open: Arc<OpenFile>, path: Arc<Path>) -> io::Result<OpenedFile> {
    let opening = tokio::task::spawn_blocking(move || {
        let file = open(&path)?;
        let metadata = file.metadata()?;
        let facts = Facts { length: metadata.len(), modified: metadata.modified()? };
        Ok(OpenedFile { file: file.into(), facts })
    });
    opening.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl fs::File for OpenedFile {
    type Metadata = Facts;
    type MetadataFuture<'a> = Ready<io::Result<Facts>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.facts))
    }
}

impl fs::Metadata for Facts {
    fn is_dir(&self) -> bool {
        false
    }

    fn modified(&self) -> io::Result<SystemTime> {
        let is_true = self.modified.duration_since(UNIX_EPOCH).is_ok_and(|time| time >= FIRST_TRUE_TIME);
        if is_true { Ok(self.modified) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn len(&self) -> u64 {
        self.length
    }
}

impl AsyncRead for OpenedFile {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(context, into)
    }
}

impl AsyncSeek for OpenedFile {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(context)
    }
}
