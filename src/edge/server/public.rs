//! The files of the site's folder `public/`, served at `/` where no layout has a route: a favicon, style sheets, pictures.
//! What cannot be served is reported as a status, which is 404 if there is no such file.
//!
//! tower-http chooses the encoding, the media type and the `ETag`, and reads the file. Conditions and ranges are decided
//! here: it ignores `If-Range`, refuses ranges that have to be ignored, and does not know that a file may be compressed
//! while it is sent.

mod reading;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use percent_encoding::utf8_percent_encode;

use crate::page::http::encoding::IN_PATH;
use crate::page::http::fields::http_date;
use crate::page::http::range::{Wanted, wanted};
use crate::page::policy::cache::content_hash::has_content_hash;
use crate::page::policy::cache::validation::is_not_modified;

use super::body::ReplyBody;
use super::coding::{self, Compression};
use super::reply::{Head, Reply};

/// Larger files are not compressed while they are sent: that takes its time at each request, and what was broken off could
/// not be continued.
const MAX_COMPRESSED: u64 = 1 << 20;

/// Opens a file of the folder by its path in it. What must not be served is not found.
pub type OpenFile = dyn Fn(&Path) -> io::Result<File> + Send + Sync;

/// The files of the folder `public/`.
#[derive(Clone)]
pub struct PublicFiles {
    /// Opens one of them.
    pub open: Arc<OpenFile>,
    /// How long browsers and caches may use a file without asking again. `None`: they always ask.
    pub max_age: Option<Duration>,
}

impl PublicFiles {
    /// The reply with the file at a normalised path.
    ///
    /// # Errors
    /// The status of the reply without it.
    pub(super) async fn reply(&self, path: &str, request: &Parts, offered: Compression) -> Result<Reply, StatusCode> {
        // The file system would take them for one slash, and each file would have many addresses.
        if path.contains("//") {
            return Err(StatusCode::NOT_FOUND);
        }
        let mut asked = HeaderMap::new();
        for name in [ACCEPT_ENCODING, IF_MATCH, IF_UNMODIFIED_SINCE] {
            for value in request.headers.get_all(&name) {
                asked.append(&name, value.clone());
            }
        }
        let (parts, body) = self.read(path, asked.clone()).await?.into_parts();
        let mut headers = parts.headers;
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: u64 = length.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        self.describe(path, &mut headers);
        let is_compressed_here = (coding::MIN_BYTES..=MAX_COMPRESSED).contains(&length)
            && offered.any()
            && coding::is_worth_it(StatusCode::OK, &headers, &body);
        let strong = headers.get(ETAG).cloned();
        if is_compressed_here {
            // A strong tag is that of the same bytes, so what is sent in several encodings has a weak one.
            let weak = strong.as_ref().and_then(|tag| HeaderValue::try_from(format!("W/{}", tag.to_str().ok()?)).ok());
            set(&mut headers, ETAG, weak);
            coding::add_vary(&mut headers);
        }
        if is_held(&request.headers, &headers) {
            headers.remove(CONTENT_LENGTH);
            return Ok(Reply::unless_held(true, Head::Own(StatusCode::OK, headers), ReplyBody::default));
        }
        let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        match wanted(&request.method, &request.headers, usize::try_from(length).unwrap_or(usize::MAX), tag) {
            Wanted::Part(part) => {
                if let Some(part) = self.part(path, asked, part, strong).await {
                    for name in [CONTENT_LENGTH, CONTENT_RANGE] {
                        set(&mut headers, name.clone(), part.headers().get(&name).cloned());
                    }
                    let body = ReplyBody::Streamed(Body::new(part.into_body()));
                    return Ok(Reply::new(StatusCode::PARTIAL_CONTENT, headers, body).encodable(false));
                }
            }
            Wanted::Unsatisfiable => {
                for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
                    headers.remove(name);
                }
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                set(&mut headers, CONTENT_RANGE, HeaderValue::try_from(format!("bytes */{length}")).ok());
                return Ok(Reply::new(StatusCode::RANGE_NOT_SATISFIABLE, headers, ReplyBody::default()));
            }
            Wanted::Whole => {}
        }
        let body = ReplyBody::Streamed(Body::new(body));
        Ok(Reply::new(StatusCode::OK, headers, body).encodable(is_compressed_here))
    }

    /// The response with a file, in an encoding that is there and accepted.
    ///
    /// # Errors
    /// The status of the reply without it.
    async fn read(&self, path: &str, asked: HeaderMap) -> Result<Response<reading::ResponseBody>, StatusCode> {
        let mut request = Request::new(Body::empty());
        *request.headers_mut() = asked;
        *request.uri_mut() =
            utf8_percent_encode(path, IN_PATH).to_string().parse().map_err(|_| StatusCode::NOT_FOUND)?;
        match reading::read(&self.open, path, request).await {
            Ok(response) if response.status().is_success() => Ok(response),
            Ok(response) => Err(response.status()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StatusCode::NOT_FOUND),
            Err(error) => {
                tracing::warn!(path, %error, "a file of public/ cannot be read");
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// The response with a part of the file that has this tag. `None`: the file is another one by now.
    async fn part(
        &self,
        path: &str,
        mut asked: HeaderMap,
        part: Range<usize>,
        tag: Option<HeaderValue>,
    ) -> Option<Response<reading::ResponseBody>> {
        asked.insert(IF_MATCH, tag?);
        asked.insert(RANGE, HeaderValue::try_from(format!("bytes={}-{}", part.start, part.end - 1)).ok()?);
        self.read(path, asked).await.ok().filter(|response| response.status() == StatusCode::PARTIAL_CONTENT)
    }

    /// Adds what a client should know of a file beside its content.
    fn describe(&self, path: &str, headers: &mut HeaderMap) {
        let cache = match self.max_age {
            None => "no-cache".to_owned(),
            Some(_) if has_content_hash(path.rsplit('/').next().unwrap_or_default()) => {
                "public, max-age=31536000, immutable".to_owned()
            }
            Some(max_age) => format!("public, max-age={}", max_age.as_secs()),
        };
        set(headers, CACHE_CONTROL, HeaderValue::try_from(cache).ok());
        // Browsers must not detect another type, such as a script in an image.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let media_type = headers.get(CONTENT_TYPE).and_then(|media_type| media_type.to_str().ok());
        // Without it, browsers take text for that of a document's encoding, or for Latin-1.
        let text = media_type.filter(|media_type| media_type.starts_with("text/") && !media_type.contains(';'));
        let text = text.and_then(|media_type| HeaderValue::try_from(format!("{media_type}; charset=utf-8")).ok());
        set(headers, CONTENT_TYPE, text);
    }
}

/// Replaces a header, if there is a value.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// Whether a client has a file with these headers already (RFC 9110, 13.2.2).
fn is_held(request: &HeaderMap, file: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let tag = file.get(ETAG).and_then(|tag| tag.to_str().ok());
        return tag.is_some_and(|tag| is_not_modified(request, tag));
    }
    let dates = request.get(IF_MODIFIED_SINCE).and_then(http_date).zip(file.get(LAST_MODIFIED).and_then(http_date));
    dates.is_some_and(|(since, modified)| modified <= since)
}
