//! Adapters between the engine and the world.
//! They never import each other; `cli` wires them together.

pub mod listen;

pub mod server;

pub mod admin;

pub mod upstream;
pub mod versions;

pub mod store;

pub mod cluster;

pub mod discovery;

pub mod files;

pub mod observe;

pub mod clock;
