//! When to try again, and when to give up (spec/http.md, "Webhooks out"). Pure arithmetic.

use std::time::Duration;

use crate::{clock::Millis, domain::endpoint::Pacing};

/// The longest pause between two attempts.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// From the first attempt to the last.
pub const LONGEST_SPAN: Duration = Duration::from_secs(5 * 86_400);
/// An endpoint that is down is probed at least that often, unless its settings ask for longer pauses.
const LONGEST_PROBE: Duration = Duration::from_secs(3600);
/// Jitter adds up to one part in so many.
const JITTER: u64 = 10;

/// `interval`, doubled for each attempt after the first, at most `longest`.
fn doubled(interval: Duration, tries: u32, longest: Duration) -> Duration {
    let factor = 2u32.checked_pow(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    interval.saturating_mul(factor).min(longest)
}

/// Up to a tenth more, so that what failed together does not come back together.
fn jittered(pause: Duration, longest: Duration) -> Duration {
    let most = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) / JITTER;
    // Without randomness there is no jitter, which is no reason to fail.
    let chance = getrandom::u64().unwrap_or(0);
    let extra = if most == 0 { 0 } else { chance % (most + 1) };
    pause.saturating_add(Duration::from_millis(extra)).min(longest)
}

/// When the next attempt is due after `tries` attempts that failed, the first at `since`; `None`: never.
pub(crate) fn next_attempt(
    pacing: Pacing,
    tries: u32,
    since: Millis,
    now: Millis,
    retry_after: Option<Duration>,
) -> Option<Millis> {
    if tries > pacing.max_retries {
        return None;
    }
    let pause = doubled(Duration::from_millis(pacing.retry_interval), tries, LONGEST_PAUSE);
    let pause = pause.max(retry_after.unwrap_or_default());
    let due = now.plus(jittered(pause, LONGEST_PAUSE));
    (due <= since.plus(LONGEST_SPAN)).then_some(due)
}

/// When an endpoint that has failed `probes` probes is probed next.
pub(crate) fn next_probe(pacing: Pacing, probes: u32, now: Millis) -> Millis {
    let interval = Duration::from_millis(pacing.retry_interval);
    let longest = interval.clamp(LONGEST_PROBE, LONGEST_PAUSE);
    now.plus(jittered(doubled(interval, probes, longest), longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max_retries: u32, retry_interval: u64) -> Pacing {
        Pacing { max_retries, retry_interval }
    }

    fn pause(settings: Pacing, tries: u32, retry_after: Option<u64>) -> Option<i64> {
        next_attempt(settings, tries, Millis(0), Millis(0), retry_after.map(Duration::from_secs)).map(|due| due.0)
    }

    #[test]
    fn pauses_double_and_jitter_only_adds() {
        let settings = settings(3, 60_000);
        for (tries, least) in [(1, 60_000), (2, 120_000), (3, 240_000)] {
            let due = pause(settings, tries, None).expect("another attempt");
            assert!((least..=least + least / 10).contains(&due), "{tries}: {due}");
        }
        assert_eq!(pause(settings, 4, None), None, "the first attempt and three more");
        assert_eq!(pause(self::settings(0, 1000), 1, None), None);
    }

    #[test]
    fn pauses_and_the_span_are_bounded() {
        let longest = i64::try_from(LONGEST_PAUSE.as_millis()).expect("fits");
        assert_eq!(pause(settings(20, 60_000), 20, None), Some(longest));
        assert_eq!(pause(settings(20, 86_400_000), 1, None), Some(longest));
        assert_eq!(pause(settings(20, 60_000), 1, Some(7 * 3600)), Some(longest));
        let late = Millis(0).plus(LONGEST_SPAN).minus(Duration::from_secs(30));
        assert_eq!(next_attempt(settings(20, 60_000), 5, Millis(0), late, None), None);
    }

    #[test]
    fn retry_after_is_honoured_when_it_is_longer() {
        let due = pause(settings(3, 1000), 1, Some(30)).expect("another attempt");
        assert!((30_000..=33_000).contains(&due), "{due}");
        let due = pause(settings(3, 60_000), 1, Some(1)).expect("another attempt");
        assert!(due >= 60_000, "{due}");
    }

    #[test]
    fn probes_come_at_least_hourly() {
        assert!(next_probe(settings(3, 1000), 30, Millis(0)) <= Millis(3_600_000));
        assert!(next_probe(settings(3, 7_200_000), 3, Millis(0)) >= Millis(7_200_000));
    }
}
