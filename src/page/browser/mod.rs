//! Everything that runs in browsers: scripts for late and lazy parts and for the overlay, and the policies that allow
//! them. A page that needs no script gets none.

pub mod scripts;

pub mod csp;

pub mod late;
pub mod lazy;
pub mod lazy_address;
