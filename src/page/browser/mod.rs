//! What runs in the browser: late and lazy parts, the overlay, their scripts, and the policies that allow these.
//! A page that needs no script gets none.

pub mod scripts;

pub mod csp;

pub mod late;
pub mod lazy;
