//! Support for tests: a compositor with nanoservices in this process, real processes, raw sockets and a real browser.

pub(crate) mod browser;
pub(crate) mod compositor;
pub(crate) mod dns;
pub(crate) mod imports;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod service;
