//! Layouts: what an editor writes, read and assembled into the templates that pages are planned from.
//! All errors of a layout are reported at once, and a layout with an error does not go live.
//!
//! A file is read in two steps: [`syntax`] reads one file on its own, and [`assemble`] joins files with each other and
//! with the catalogue into a [`template`].

pub mod syntax;

pub mod template;

pub mod assemble;

pub use syntax::file::LayoutFile;
pub use template::Template;
pub use template::composition::Composition;
pub use template::fragment::{Candidates, FragmentSource, FragmentUse};
pub use template::segment::Segment;
