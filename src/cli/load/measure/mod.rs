//! The pure parts of the load lab: when requests leave, what is counted, and what follows from it. Values in, values out.

pub(super) mod arrivals;
pub(super) mod log_file;

pub(super) mod statistics;

pub(super) mod bootstrap;
pub(super) mod gates;
pub(super) mod sweep;
