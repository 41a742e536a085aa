//! Time: milliseconds since 1970, UTC, as everything on the wire and in the store has it; and a clock that tests can turn.

use std::{
    fmt,
    sync::Mutex,
    time::{Duration, Instant},
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

/// Milliseconds of a UTC day.
pub const DAY_MS: i64 = 86_400_000;

impl Millis {
    /// ISO 8601, UTC, three digits of milliseconds, `Z` (spec/http.md, "Everywhere").
    pub fn iso(self) -> String {
        DateTime::<Utc>::from_timestamp_millis(self.0)
            .unwrap_or(DateTime::<Utc>::UNIX_EPOCH)
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// Reads ISO 8601 with an offset, or a bare date (its midnight, UTC).
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(Self(time.timestamp_millis()));
        }
        if let Ok(time) = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f") {
            return Some(Self(time.and_utc().timestamp_millis()));
        }
        let day = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(Self(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis()))
    }

    /// 00:00 UTC of the day that this moment is in.
    #[must_use]
    pub fn day(self) -> Self {
        Self(self.0.div_euclid(DAY_MS) * DAY_MS)
    }

    /// `yyyymmdd`, as rows have it in their keys.
    pub fn yyyymmdd(self) -> String {
        DateTime::<Utc>::from_timestamp_millis(self.0)
            .unwrap_or(DateTime::<Utc>::UNIX_EPOCH)
            .format("%Y%m%d")
            .to_string()
    }

    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long until `later`; zero if it is past.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0 - self.0).unwrap_or(0))
    }

    /// Thirteen digits, so that text order is time order.
    pub fn digits(self) -> String {
        format!("{:013}", self.0.max(0))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso())
    }
}

/// Where the program takes the time from.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time: for what is shown and stored.
    fn now(&self) -> Millis;
    /// Time that only goes forward: for leases and deadlines.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        Millis(Utc::now().timestamp_millis())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is turned.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<(Millis, Duration)>,
}

impl ManualClock {
    pub fn at(now: Millis) -> Self {
        Self { now: Mutex::new((now, Duration::ZERO)) }
    }

    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        now.0 = now.0.plus(by);
        now.1 += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_has_milliseconds_and_z() {
        assert_eq!(Millis(1_672_574_400_000).iso(), "2023-01-01T12:00:00.000Z");
        assert_eq!(Millis::parse("2023-01-01T12:00:00.000Z"), Some(Millis(1_672_574_400_000)));
        assert_eq!(Millis::parse("2023-01-01T14:00:00+02:00"), Some(Millis(1_672_574_400_000)));
        assert_eq!(Millis::parse("2023-01-01"), Some(Millis(1_672_531_200_000)));
        assert_eq!(Millis::parse("yesterday"), None);
    }

    #[test]
    fn days_start_at_midnight_utc_also_before_1970() {
        assert_eq!(Millis(1_672_574_400_000).day(), Millis(1_672_531_200_000));
        assert_eq!(Millis(-1).day(), Millis(-DAY_MS));
        assert_eq!(Millis(1_672_574_400_000).yyyymmdd(), "20230101");
    }
}
