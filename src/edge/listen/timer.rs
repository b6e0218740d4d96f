//! A timeout that begins often and is reached seldom.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The end of a wait. A wait that ends before its timeout leaves the alarm as it is; the next wait resets it when it
/// rings, since most waits are far shorter than their timeout.
#[derive(Default)]
pub(super) struct Timer {
    end: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Whether this timeout is reached. The wait begins now if none is running.
    pub(super) fn is_over(&mut self, timeout: Duration, context: &mut Context<'_>) -> bool {
        let end = *self.end.get_or_insert_with(|| Instant::now() + timeout);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if alarm.deadline() > end {
            alarm.as_mut().reset(end);
        }
        while alarm.as_mut().poll(context).is_ready() {
            if alarm.deadline() >= end {
                return true;
            }
            alarm.as_mut().reset(end);
        }
        false
    }

    /// Whether a wait is running.
    pub(super) const fn is_running(&self) -> bool {
        self.end.is_some()
    }

    /// Ends the wait.
    pub(super) fn stop(&mut self) {
        self.end = None;
    }
}
