//! A page, as it leaves: its status, its bytes, its headers, and the record of what happened.
//! A page that is not whole is never cacheable downstream.

pub mod verdict;

pub mod stitch;

pub mod headers;

pub mod record;
