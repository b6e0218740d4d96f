//! Waits for a moment more precisely than tokio's timer, which counts whole milliseconds: with a timer of the kernel where there
//! is one (Linux), otherwise with tokio's.

use std::time::Instant;

#[cfg(target_os = "linux")]
mod kernel {
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    pub(super) struct KernelTimer(AsyncFd<OwnedFd>);

    impl KernelTimer {
        pub(super) fn new() -> std::io::Result<Self> {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            #[expect(
                deprecated,
                reason = "unsound only for types that close their descriptor elsewhere, which an `OwnedFd` does not; its \
                          successor is unsafe"
            )]
            let timer = AsyncFd::new(timer)?;
            Ok(Self(timer))
        }

        pub(super) async fn until(&self, moment: Instant) -> std::io::Result<()> {
            loop {
                let left = moment.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(());
                }
                timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once_after(left))?;
                let mut ready = self.0.readable().await?;
                let mut expirations = [0; 8];
                // It may not have expired: readiness of the wait before is reported late.
                let _expired = rustix::io::read(self.0.get_ref(), &mut expirations);
                ready.clear_ready();
            }
        }
    }

    fn once_after(left: Duration) -> Itimerspec {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() } }
    }
}

/// Waits for moments.
pub(super) struct Timer {
    #[cfg(target_os = "linux")]
    kernel: Option<kernel::KernelTimer>,
}

impl Timer {
    /// A timer of the present runtime.
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            kernel: kernel::KernelTimer::new().ok(),
        }
    }

    /// Waits until a moment.
    pub(super) async fn until(&self, moment: Instant) {
        #[cfg(target_os = "linux")]
        if let Some(kernel) = &self.kernel
            && kernel.until(moment).await.is_ok()
        {
            return;
        }
        tokio::time::sleep_until(moment.into()).await;
    }
}
