//! The rules of the fragment contract that can be checked from outside, each with a fix.
//! A rule's id never changes: programs and documents refer to it.

macro_rules! rules {
    ($($name:ident = $id:literal, $title:literal, $contract:literal, $fix:literal;)*) => {
        /// One rule.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule {
            $(#[doc = concat!("The rule `", $id, "`: ", $title, ".")] $name,)*
        }

        impl Rule {
            /// All rules, in the order in which they are reported.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The rule's stable name.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// What the rule requires, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The sentence of the contract behind the rule.
            #[must_use]
            pub const fn contract(self) -> &'static str {
                match self { $(Self::$name => $contract,)* }
            }

            /// What to do if the rule is broken.
            #[must_use]
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$name => $fix,)* }
            }
        }
    };
}

rules! {
    Example = "example", "an example request is available",
        "`[[examples]]` are requests that work: for people, and for checking the service.",
        "add `[[examples]]` with `params = { … }` to the manifest, or give `--param name=value`";
    Reachable = "reachable", "the service is up",
        "A nanoservice answers `GET` with one HTML fragment.",
        "start the service, and check that it listens on this address";
    InTime = "in-time", "complete responses within the timeout",
        "`[limits] timeout` is the time from the request to the last byte of the response.",
        "respond sooner (`Fragment-Timeout-Ms` gives the time limit), or declare a longer `[limits] timeout`";
    Status = "status", "examples return 200 or 204",
        "200 is the fragment, 204 means nothing to show; redirects are never followed, and any other status is not a fragment.",
        "return 200, or 204 if there is nothing to show; set `endpoint` to the address that responds itself";
    ContentType = "content-type", "the Content-Type is HTML",
        "The fragment is `text/html`.",
        "send `Content-Type: text/html; charset=utf-8`";
    Charset = "charset", "the body is valid in its charset",
        "Fragments are UTF-8; another charset is converted if the Content-Type names it.",
        "send UTF-8, or name the charset: `Content-Type: text/html; charset=iso-8859-1`";
    Complete = "complete", "body length as announced",
        "A body that is cut short or stalls is a failure: part of a fragment is never shown.",
        "set `Content-Length` to the number of bytes that are sent, and end a chunked body with its last chunk";
    Size = "size", "the body is within the size limit",
        "A body over `max_bytes` is a failure.",
        "send less, or declare a larger `[limits] max_bytes`";
    Coding = "coding", "only content codings that were offered",
        "`Accept-Encoding` lists the supported codings; a body that cannot be decoded is a failure.",
        "compress as `Accept-Encoding` allows, or not at all, and only once";
    NotUnasked304 = "not-unasked-304", "304 only for conditional requests",
        "304 is a response only to a conditional request.",
        "send 304 only if the request has `If-None-Match` or `If-Modified-Since`";
    Cookies = "cookies", "only declared cookies are set",
        "`Set-Cookie` is dropped unless the manifest names the cookie; if it does, the response is not cached.",
        "do not set the cookie (many frameworks start sessions by default), or name it in `cookies` in the manifest";
    CacheControl = "cache-control", "the caching headers are valid",
        "`Cache-Control`, `Expires` and `Age` are read as in RFC 9111; if they are ambiguous, the shorter lifetime counts.",
        "state each directive once, in whole seconds: `Cache-Control: public, max-age=60`";
    Freshness = "freshness", "the lifetime is stated",
        "A response is cached for the lifetime that it states, otherwise for the `ttl` of the layout or the manifest, otherwise not at all.",
        "send `Cache-Control: max-age=…` (or `no-store`), or declare `[cache] ttl` in the manifest";
    Vary = "vary", "Vary names only declared context",
        "`Vary` may name declared context only; any other name makes the response uncacheable.",
        "declare it in `context`, or remove it from `Vary`";
    Validation = "validation", "a stored response can be revalidated",
        "304 means that the stored response is still valid.",
        "send an `ETag` in double quotes, and return 304 with the same tag if `If-None-Match` contains it";
    Context = "context", "the response depends only on declared context",
        "A nanoservice receives only the context that it declares, and that context is part of the cache key.",
        "declare it in `context`, which makes it part of the key, or do not read it";
    SurrogateKeys = "surrogate-keys", "the surrogate keys are valid",
        "`Surrogate-Key`, `Cache-Tag` and `xkey` name the keys to purge the response by, at most 64.",
        "send at most 64 keys, of visible ASCII";
    Links = "links", "the Link headers are valid",
        "`Link` with `rel=stylesheet`, `preload`, `modulepreload` or `preconnect` moves assets to the page's head.",
        "write `Link: </weather.css>; rel=stylesheet`";
    Balanced = "balanced", "all tags are closed",
        "Fragments cannot affect the page around them: unclosed tags are closed, stray end tags are dropped.",
        "close every tag that you open, and send no `<html>`, `<head>` or `<body>`; or declare `html = \"raw\"`";
    Ids = "ids", "no `id` attributes",
        "A page may contain a fragment several times, and beside others; an `id` exists once in a page.",
        "use classes with a prefix of your own, and put a control into its `<label>`";
    Composes = "composes", "nested fragments are declared",
        "`<fragment name=…>` in the HTML is replaced if `composes` lists the name.",
        "list the name in `composes` in the manifest";
    Esi = "esi", "ESI is requested only if declared",
        "`Surrogate-Control: content=\"ESI/1.0\"` is processed if the manifest has `esi = true`.",
        "declare `esi = true`, or do not send the header";
    Deprecation = "deprecation", "Deprecation and Sunset are valid",
        "`Deprecation` (RFC 9745) and `Sunset` (RFC 8594) are shown to those who use the nanoservice.",
        "write `Deprecation: @1767225600` and `Sunset: Thu, 31 Dec 2026 23:59:59 GMT`";
    BadParameter = "bad-parameter", "invalid parameters are refused",
        "The manifest protects layouts; the service protects itself.",
        "return 400 (or 404 if there is no such thing) for a parameter that the manifest refuses";
    Problem = "problem", "failures describe the problem",
        "The `application/problem+json` body of a failure is written to the error log.",
        "return failures as `application/problem+json`: `title`, `status`, `detail` (RFC 9457)";
    Together = "together", "concurrent requests get the same response",
        "Up to `[limits] concurrency` requests are sent at once.",
        "check what requests share: a lock, a pool, a variable; or a short listen backlog";
    KeepAlive = "keep-alive", "connections can be reused",
        "Connections are kept open and reused.",
        "keep the connection open, or send `Connection: close` before closing it";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kebab_case_and_unique() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            let id = rule.id();
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{id}");
            assert!(Rule::ALL[..index].iter().all(|other| other.id() != id), "{id} is used twice");
            assert!(!rule.title().is_empty() && rule.contract().ends_with('.') && !rule.fix().ends_with('.'), "{id}");
        }
    }
}
