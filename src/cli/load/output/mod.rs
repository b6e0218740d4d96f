//! What is shown of the results: for people in a terminal, as JSON, and as a page of HTML.

pub(super) mod table;

mod verdict;
mod waterfalls;

pub(super) mod html;
