//! The reasons why a part of a page is not fresh, with the names that logs, metrics, explain, the overlay and the console share.
//! The list is closed: no other reason can occur.

/// Declares an enum whose variants have names, as which they are displayed and serialised. They are ordered as they are listed.
macro_rules! words {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Their names.
            pub const WORDS: &'static [&'static str] = &[$($text,)*];

            /// Its name in logs, metrics and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

impl Reason {
    /// Whether something went wrong. A part is as it should be if its condition does not hold, its nanoservice has nothing to
    /// show or is being started, an operator has switched it off, or a new response is being fetched; and if a client asks for
    /// what does not exist, nobody has to be woken.
    #[must_use]
    pub const fn is_incident(self) -> bool {
        !matches!(
            self,
            Self::Condition
                | Self::Empty
                | Self::Gone
                | Self::NotAllowed
                | Self::Revalidating
                | Self::Starting
                | Self::SwitchedOff
        )
    }
}

words! {
    /// Why a part is not fresh.
    Reason {
        /// The fragment's own time limit was reached.
        Timeout = "timeout",
        /// The page's time limit was reached.
        Budget = "budget",
        /// There was no connection, or it broke before the response began.
        Connect = "connect",
        /// The response had a status that counts as a failure.
        Status = "status",
        /// The response was cut short.
        Incomplete = "incomplete",
        /// The response was larger than allowed.
        TooLarge = "too-large",
        /// The response was not HTML.
        NotHtml = "not-html",
        /// The response could not be decoded.
        Encoding = "encoding",
        /// The circuit of the nanoservice is open after repeated failures.
        CircuitOpen = "circuit-open",
        /// The concurrency limit of the nanoservice was reached, and no slot became free in time.
        Overloaded = "overloaded",
        /// The program of the nanoservice was started, and was not ready in time.
        Starting = "starting",
        /// The program or component of the nanoservice ended before it answered.
        Crashed = "crashed",
        /// An operator has switched the nanoservice off.
        SwitchedOff = "switched-off",
        /// The fragment is nested too deeply.
        Depth = "depth",
        /// The fragment is nested in itself.
        Cycle = "cycle",
        /// The page has more fragments than it may have.
        TooMany = "too-many",
        /// A value that the client sent is not one that the nanoservice accepts.
        NotAllowed = "not-allowed",
        /// The manifest gives no address that this version can request.
        Unknown = "unknown",
        /// The layout's condition for the part does not hold.
        Condition = "condition",
        /// The nanoservice has nothing to show.
        Empty = "empty",
        /// The nanoservice reports that there is no fragment at this address.
        Gone = "gone",
        /// A stale response is shown while a new one is fetched.
        Revalidating = "revalidating",
        /// The compositor failed.
        Internal = "internal",
    }
}
