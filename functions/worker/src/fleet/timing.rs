//! How long what takes. One place, since safety follows from the order of these durations.

use std::time::Duration;

/// Durations of the protocol.
///
/// `lease` < `watch` is what keeps two workers apart: a holder counts its lease from *before* it sent the renewal that was
/// acknowledged last; whoever watches it counts from *after* it saw that renewal, and so ends later. The difference is for
/// clocks that do not go at the same rate.
///
/// A dead worker's shards are taken at the latest `look` + `watch` after its last renewal, and the requests that it takes: 13 s.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// From one renewal to the next, at the most.
    pub beat: Duration,
    /// From one look at the others to the next, at the most.
    pub look: Duration,
    /// How long a renewal is trusted by who made it.
    pub lease: Duration,
    /// How long another worker's counter must have stood still before it counts as dead.
    pub watch: Duration,
    /// How long one request may take before it is made anew.
    pub patience: Duration,
    /// Pause before a request is made anew.
    pub again: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(5),
            look: Duration::from_millis(2500),
            lease: Duration::from_secs(9),
            watch: Duration::from_millis(10_500),
            patience: Duration::from_millis(1500),
            again: Duration::from_millis(400),
        }
    }
}

/// Up to a tenth shorter, so that workers that were started together drift apart. `chance` in 0.0..1.0.
pub(super) fn jittered(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(1.0 - 0.1 * chance.clamp(0.0, 1.0))
}
