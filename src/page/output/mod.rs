//! Makes a page of a plan and its outcomes: status, body, headers, and the record of what happened.
//! An incomplete page is never cacheable downstream.

pub mod verdict;

pub mod stitch;

pub mod headers;

pub mod record;

pub mod waterfall;
