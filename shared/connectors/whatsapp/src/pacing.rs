//! How fast an account sends. Numbers that send much, at once, soon after they were linked are banned first.
//!
//! A bucket of `messages` refills within `window`. In the first days after pairing it is smaller: a quarter on the first, growing
//! evenly to the whole at the end of the warm-up.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use shared::config::Pace;
use tokio::time::Instant;

const DAY: i64 = 86_400;

pub(crate) struct Pacing {
    pace: Option<Pace>,
    bucket: Mutex<Option<Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Pacing {
    pub(crate) fn new(pace: Option<Pace>) -> Self {
        Self { pace, bucket: Mutex::new(None) }
    }

    /// Takes a place for one message, or says how long to wait for one. `age`: seconds since the account was paired.
    pub(crate) fn take(&self, age: i64) -> Result<(), Duration> {
        let Some(pace) = self.pace else { return Ok(()) };
        let size = (f64::from(pace.messages) * warmth(pace.warm_up_days, age)).max(1.0);
        let rate = size / pace.window.as_secs_f64();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let left =
            bucket.map_or(size, |bucket| bucket.left + at.duration_since(bucket.at).as_secs_f64() * rate).min(size);
        if left < 1.0 {
            *bucket = Some(Bucket { left, at });
            return Err(Duration::from_secs_f64((1.0 - left) / rate));
        }
        *bucket = Some(Bucket { left: left - 1.0, at });
        Ok(())
    }
}

/// How much of the full pace there is that many seconds after pairing.
fn warmth(days: u32, age: i64) -> f64 {
    let whole = i64::from(days) * DAY;
    if age >= whole {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "days in seconds")]
    let part = age.max(0) as f64 / whole as f64;
    0.25 + 0.75 * part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacing(messages: u32, warm_up_days: u32) -> Pacing {
        Pacing::new(Some(Pace { messages, window: Duration::from_secs(60), warm_up_days }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_out_and_the_rest_waits() {
        let pacing = pacing(60, 7);
        let later = 100 * DAY;
        for _ in 0..60 {
            assert_eq!(pacing.take(later), Ok(()));
        }
        let wait = pacing.take(later).expect_err("the bucket is empty");
        assert!(wait <= Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1001)).await;
        assert_eq!(pacing.take(later), Ok(()));
        assert!(pacing.take(later).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_account_sends_a_quarter() {
        let (new, older) = (pacing(40, 8), pacing(40, 8));
        assert_eq!((0..40).filter(|_| new.take(0).is_ok()).count(), 10);
        assert_eq!((0..40).filter(|_| older.take(4 * DAY).is_ok()).count(), 25);
        assert!(Pacing::new(None).take(0).is_ok());
    }
}
