//! Reads the time of day from the operating system.
//! Nothing else in the program does, so tests can replace it.

use jiff::Timestamp;

use crate::engine::port::Clock;

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the time of day is read")]
    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
}
