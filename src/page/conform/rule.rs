//! The rules of the fragment contract that can be seen from outside, each with its cure.
//! An id is stable: programs and people's notes refer to it.

macro_rules! rules {
    ($($(#[doc = $title:literal])* $name:ident = $id:literal, $contract:literal, $cure:literal;)*) => {
        /// One rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule { $($(#[doc = $title])* $name,)* }

        impl Rule {
            /// All of them, in the order in which they are told.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its stable name.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// What it asks for, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => concat!($($title),*).trim_ascii(),)* }
            }

            /// The sentence of the contract that it stands for.
            #[must_use]
            pub const fn contract(self) -> &'static str {
                match self { $(Self::$name => $contract,)* }
            }

            /// What to do where it is broken.
            #[must_use]
            pub const fn cure(self) -> &'static str {
                match self { $(Self::$name => $cure,)* }
            }
        }
    };
}

rules! {
    /// there is a request to ask with
    Example = "example",
        "`[[examples]]` are requests that work: for people, and to try the service with.",
        "add `[[examples]]` with `params = { … }` to the manifest, or give `--param name=value`";
    /// it is there, and answers HTTP
    Reachable = "reachable",
        "A nanoservice answers `GET` with one HTML fragment.",
        "start the service, and see that the address is the one that it listens on";
    /// the whole answer comes in time
    InTime = "in-time",
        "`[limits] timeout` is the time from the request to the last byte of the answer.",
        "answer sooner (`Fragment-Timeout-Ms` says how long there is), or declare a longer `[limits] timeout`";
    /// an example is answered with 200 or 204
    Status = "status",
        "200 is the fragment, 204 is nothing to show; redirects are never followed, and all else is no fragment.",
        "answer 200, or 204 where there is nothing to show; put the address that answers into `endpoint`";
    /// it says that it is HTML
    ContentType = "content-type",
        "The fragment is `text/html`.",
        "send `Content-Type: text/html; charset=utf-8`";
    /// its bytes are text in the charset that it says
    Charset = "charset",
        "Fragments are UTF-8; another charset that is named is converted.",
        "send UTF-8, or name the charset: `Content-Type: text/html; charset=iso-8859-1`";
    /// it ends where it says that it ends
    Complete = "complete",
        "A body that is cut short or stalls is a failure: never a part of a fragment is shown.",
        "let `Content-Length` be the number of bytes that are sent, and end a chunked body with its last chunk";
    /// it is no longer than the manifest allows
    Size = "size",
        "A body over `max_bytes` is a failure.",
        "send less, or declare a larger `[limits] max_bytes`";
    /// it is compressed only as was offered
    Coding = "coding",
        "`Accept-Encoding` says which codings are undone; what is not decodable is a failure.",
        "compress as `Accept-Encoding` allows, or not at all, and once only";
    /// 304 comes only where it was asked for
    NotUnasked304 = "not-unasked-304",
        "304 answers only a conditional request.",
        "answer 304 only to `If-None-Match` or `If-Modified-Since`";
    /// it sets no cookie but those declared
    Cookies = "cookies",
        "`Set-Cookie` is dropped unless the manifest names the cookie; then the answer is not kept.",
        "do not set it (many frameworks start a session unasked), or name it in `cookies` in the manifest";
    /// what it says of caching can be understood
    CacheControl = "cache-control",
        "`Cache-Control`, `Expires` and `Age` are read as RFC 9111 says; what is doubtful is read as the shorter.",
        "say each thing once, and with whole seconds: `Cache-Control: public, max-age=60`";
    /// it says how long it is good
    Freshness = "freshness",
        "An answer is kept as long as it says, else as the layout's or the manifest's `ttl` says, else not at all.",
        "send `Cache-Control: max-age=…` (or `no-store`), or declare `[cache] ttl` in the manifest";
    /// it varies on nothing but what is declared
    Vary = "vary",
        "`Vary` may name declared context only; naming anything else makes the answer uncacheable.",
        "declare it in `context`, or take it out of `Vary`";
    /// what is held can be renewed by 304
    Validation = "validation",
        "304 says that what is held is still good.",
        "send an `ETag` in double quotes, and answer 304 with the same tag where `If-None-Match` holds it";
    /// it depends on nothing but what is declared
    Context = "context",
        "A nanoservice sees only the context that it declares, and what it declares is its cache key.",
        "declare it in `context`, which makes it a part of the key, or do not read it";
    /// it can be purged by its keys
    SurrogateKeys = "surrogate-keys",
        "`Surrogate-Key`, `Cache-Tag` and `xkey` name keys to purge it by, at most 64.",
        "send at most 64 keys, of visible ASCII";
    /// its assets can be read
    Links = "links",
        "`Link` with `rel=stylesheet`, `preload`, `modulepreload` or `preconnect` moves assets to the page's head.",
        "write `Link: </weather.css>; rel=stylesheet`";
    /// it stays within its place
    Balanced = "balanced",
        "A fragment cannot break out of its place: what it left open is closed, and stray ends are dropped.",
        "close what you open and send no part of a page's frame; or declare `html = \"raw\"`";
    /// it asks only for the fragments that it declares
    Composes = "composes",
        "`<fragment name=…>` in its HTML is acted on where `composes` lists the name.",
        "list the name in `composes` in the manifest";
    /// it asks for ESI only where that is declared
    Esi = "esi",
        "`Surrogate-Control: content=\"ESI/1.0\"` is acted on if the manifest says `esi = true`.",
        "declare `esi = true`, or do not send it";
    /// what it says of its end can be understood
    Deprecation = "deprecation",
        "`Deprecation` (RFC 9745) and `Sunset` (RFC 8594) are shown to those who use it.",
        "write `Deprecation: @1767225600` and `Sunset: Thu, 31 Dec 2026 23:59:59 GMT`";
    /// it refuses parameters that it does not take
    BadParameter = "bad-parameter",
        "The manifest protects layouts; the service protects itself.",
        "answer 400 (or 404 where there is no such thing) to a parameter that the manifest refuses";
    /// a failure says what is wrong
    Problem = "problem",
        "`application/problem+json` of a failure goes into the error log.",
        "answer failures with `application/problem+json`: `title`, `status`, `detail` (RFC 9457)";
    /// many who ask at once get the same
    Together = "together",
        "Up to `[limits] concurrency` requests are sent at once.",
        "look for what requests share: a lock, a pool, a variable; or a listener with a short queue";
    /// a connection can be used again
    KeepAlive = "keep-alive",
        "Connections are kept and used again.",
        "keep the connection open, or say `Connection: close` where it is closed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kebab_case_and_each_stands_once() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            let id = rule.id();
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{id}");
            assert!(Rule::ALL[..index].iter().all(|other| other.id() != id), "{id} stands twice");
            assert!(!rule.title().is_empty() && rule.contract().ends_with('.') && !rule.cure().ends_with('.'), "{id}");
        }
    }
}
