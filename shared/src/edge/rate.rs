//! `RATE_LIMIT`: a token bucket per credential, in this process. (On AWS, API Gateway's throttle stands before it.)

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    config::RateLimit,
    error::{Error, Kind, Result},
};

/// Buckets that are kept before full ones, which say nothing, are dropped.
const MANY: usize = 10_000;

/// A bucket holds `requests` tokens and fills up within `window`.
pub struct RateLimiter {
    limit: Option<RateLimit>,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl RateLimiter {
    /// `None`: no limit.
    pub fn new(limit: Option<RateLimit>) -> Self {
        Self { limit, buckets: Mutex::default() }
    }

    /// Takes a token of this credential at the monotonic time `now`.
    ///
    /// Errors with `RateLimited`, and when the next token is there.
    pub fn take(&self, credential: &str, now: Duration) -> Result<()> {
        let Some(limit) = self.limit else { return Ok(()) };
        let full = f64::from(limit.requests);
        let per_second = full / limit.window.as_secs_f64();
        let filled = |bucket: &Bucket| {
            let passed = now.saturating_sub(bucket.at).as_secs_f64();
            passed.mul_add(per_second, bucket.tokens).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY && !buckets.contains_key(credential) {
            buckets.retain(|_, bucket| filled(bucket) < full);
        }
        let bucket = buckets.entry(credential.to_owned()).or_insert(Bucket { tokens: full, at: now });
        let tokens = filled(bucket);
        if tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - tokens) / per_second);
            return Err(
                Error::new(Kind::RateLimited, "RATE_LIMITED", "Too many requests, please slow down").after(wait)
            );
        }
        *bucket = Bucket { tokens: tokens - 1.0, at: now };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let limiter = RateLimiter::new(Some(RateLimit { requests: 2, window: Duration::from_secs(10) }));
        let at = Duration::from_secs;
        assert!(limiter.take("a", at(0)).is_ok() && limiter.take("a", at(0)).is_ok());
        let refused = limiter.take("a", at(1)).expect_err("empty");
        assert_eq!(refused.kind, Kind::RateLimited);
        assert_eq!(refused.retry_after, Some(at(4)));
        assert!(limiter.take("b", at(1)).is_ok(), "another credential");
        assert!(limiter.take("a", at(5)).is_ok());
        assert!(limiter.take("a", at(5)).is_err());
        assert!(RateLimiter::new(None).take("a", at(0)).is_ok());
    }
}
