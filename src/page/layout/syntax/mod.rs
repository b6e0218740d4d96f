//! Parses one layout file: its front matter, and its HTML as nodes with their positions.
//! An error in a file is a diagnostic beside the nodes that could be read.

pub mod node;

pub mod outline;

pub mod front_matter;
pub mod markup;

pub mod file;
