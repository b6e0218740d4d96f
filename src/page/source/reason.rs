//! Why a part of a page is not fresh: the words that logs, metrics, explain, the overlay and the console share.
//! A reason that a build does not know cannot occur: the list is closed.

use std::fmt;

use serde::{Serialize, Serializer};

/// Makes an enum whose variants are words: displayed and serialised as they are written here.
macro_rules! words {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $doc])* $variant,)* }

        impl $name {
            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Why it is not fresh.
    Reason {
        /// The fragment's own time was over.
        Timeout = "timeout",
        /// The page's time was over.
        Budget = "budget",
        /// No connection, or one that broke before the answer began.
        Connect = "connect",
        /// A status that is a failure.
        Status = "status",
        /// The answer was cut short.
        Incomplete = "incomplete",
        /// The answer was larger than allowed.
        TooLarge = "too-large",
        /// The answer was no HTML.
        NotHtml = "not-html",
        /// The answer could not be decoded.
        Encoding = "encoding",
        /// The service is shut out for a while.
        CircuitOpen = "circuit-open",
        /// Too much is asked of the service: the time was over before it was this request's turn.
        Overloaded = "overloaded",
        /// Nested too deep.
        Depth = "depth",
        /// Nested in itself.
        Cycle = "cycle",
        /// More fragments than a page may have.
        TooMany = "too-many",
        /// What a reader sent is not what the service takes.
        NotAllowed = "not-allowed",
        /// The service cannot be reached by any means that is known.
        Unknown = "unknown",
        /// A condition does not hold.
        Condition = "condition",
        /// The service has nothing to show.
        Empty = "empty",
        /// The service says that there is no fragment here.
        Gone = "gone",
        /// An old copy is shown while a new one is fetched.
        Revalidating = "revalidating",
        /// A fault of the compositor.
        Internal = "internal",
    }
}
