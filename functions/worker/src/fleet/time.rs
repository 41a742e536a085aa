//! The fleet's time: monotonic, and going on while the machine sleeps.

use std::{pin::Pin, time::Duration};

/// Where the lease takes its time from. Nothing of it is ever stored.
pub trait Time: Send + Sync + 'static {
    /// Since an arbitrary moment.
    fn now(&self) -> Duration;

    /// Returns at that time or soon after; perhaps before it, where sleeping and counting disagree.
    fn sleep_until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The machine's clock since its start. On Linux it counts the time that a suspended machine sleeps, which the usual monotonic
/// clock does not: a lease must not outlast that.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootTime;

impl Time for BootTime {
    fn now(&self) -> Duration {
        #[cfg(target_os = "linux")]
        const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(CLOCK);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
    }

    fn sleep_until(&self, at: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(at.saturating_sub(self.now())))
    }
}
