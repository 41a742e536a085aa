//! How long to wait before a line is opened again.

use std::time::Duration;

/// Doubling pauses, with jitter so that the accounts of a platform that was away do not all come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl Backoff {
    pub(crate) fn new((first, most): (Duration, Duration)) -> Self {
        Self { first, most, attempt: 0 }
    }

    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The next pause. `chance` in 0.0..1.0 moves it by up to a fifth either way.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        let plain =
            self.first.saturating_mul(1u32.checked_shl(self.attempt.min(20)).unwrap_or(u32::MAX)).min(self.most);
        self.attempt = self.attempt.saturating_add(1);
        plain.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
    }
}

/// A number in 0.0..1.0.
pub(crate) fn chance() -> f64 {
    let bytes = shared::crypto::random().unwrap_or_default();
    f64::from(u16::from_be_bytes([bytes[0], bytes[1]])) / 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new((Duration::from_secs(1), Duration::from_secs(300)));
        let pauses: Vec<u64> = (0..11).map(|_| backoff.next(0.5).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.next(0.0), Duration::from_millis(800));
    }
}
