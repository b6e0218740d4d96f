//! Which characters are percent-encoded in the components of a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// In a segment of a path, and in the value of a query parameter: all but the unreserved ones (RFC 3986, 2.3).
pub const IN_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In a path that was decoded before (RFC 3986, 3.3).
pub const IN_PATH: &AsciiSet = &IN_SEGMENT.remove(b'/');
