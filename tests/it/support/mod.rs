//! What tests are made with: a compositor with upstreams in this process, and real processes.

pub(crate) mod browser;
pub(crate) mod compositor;
pub(crate) mod process;
pub(crate) mod service;
