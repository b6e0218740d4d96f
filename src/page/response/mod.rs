//! What a nanoservice returned: read, classified, and made into the outcome of a part.
//! A response that is not a usable fragment is a failure with a reason; its body is never shown.

pub mod classify;

pub mod outcome;
pub mod parsed;

pub mod wire;
