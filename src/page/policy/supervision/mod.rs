//! When the programs of nanoservices are started, replaced, stopped and started again.
//! Only decided here: what is decided is carried out, and reported back, by `edge/upstream/process`.

pub mod output;

pub mod status;

pub mod program;

pub mod fleet;

#[cfg(test)]
mod tests;
