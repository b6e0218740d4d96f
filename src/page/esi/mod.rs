//! ESI 1.0 (W3C Note of 2001-08-04): texts with variables in them, and the tests of `<esi:when>`.
//! Which variables a text or a test reads is known before any value is.

pub mod mistake;

mod cursor;
mod number;

pub mod agent;
pub mod text;
pub mod variables;

pub mod expr;
mod grammar;
mod node;
mod tokens;
