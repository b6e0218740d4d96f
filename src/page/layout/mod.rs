//! Layouts: what an editor writes, read into what a page is planned from.
//! A layout with a mistake is told with all its mistakes, and does not go live.
//!
//! A file is read in two steps: [`mod@file`] reads one file by itself ([`front`] its front matter,
//! [`markup`] its HTML), and [`assemble`] joins files with each other and with the catalogue.

pub mod file;
pub mod front;
pub mod markup;
pub mod node;

pub mod composition;
pub mod template;

pub mod assemble;
mod esi;
mod frames;
mod ids;
pub mod lone;
mod needs;
mod nested;
mod parts;
mod place;
mod title;
mod uses;

pub use composition::{Composition, FragmentUse, Part, Service};
pub use file::LayoutFile;
pub use template::Template;
