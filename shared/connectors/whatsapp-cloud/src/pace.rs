//! Rate limits, as the platform lets an account feel them: pauses that double while they are hit, for the account and for each
//! recipient. Nothing is held back before.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// First and longest pause of the account as a whole.
const ACCOUNT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The same for one recipient: the platform asks for powers of four.
const PAIR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Recipients that are remembered.
const REMEMBERED: usize = 1000;

/// One limit that is being hit.
#[derive(Debug, Clone, Copy)]
struct Limit {
    pause: Duration,
    until: Instant,
}

impl Limit {
    fn after(
        last: Option<Self>,
        (first, most): (Duration, Duration),
        factor: u32,
        asked: Option<Duration>,
        now: Instant,
    ) -> Self {
        let grown = last.map_or(first, |last| (last.pause * factor).min(most));
        let pause = asked.map_or(grown, |asked| asked.max(grown)).min(most.max(asked.unwrap_or_default()));
        Self { pause, until: now + pause }
    }
}

#[derive(Debug, Default)]
struct Limits {
    account: Option<Limit>,
    pairs: HashMap<String, Limit>,
}

#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Limits>);

impl Pace {
    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait before anything is sent to this recipient.
    pub(crate) fn wait(&self, to: &str, now: Instant) -> Duration {
        let limits = self.limits();
        let until = limits.account.into_iter().chain(limits.pairs.get(to).copied()).map(|limit| limit.until).max();
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// The account is too fast; `asked`: the pause that the platform asks for. How long to wait.
    pub(crate) fn account_limit(&self, asked: Option<Duration>, now: Instant) -> Duration {
        let mut limits = self.limits();
        // Of several that were under way at the same time, the first counts.
        if let Some(known) = limits.account.filter(|known| known.until > now) {
            return known.until.saturating_duration_since(now);
        }
        let limit = Limit::after(limits.account, ACCOUNT, 2, asked, now);
        limits.account = Some(limit);
        limit.pause
    }

    /// Too much to one recipient. How long to wait.
    pub(crate) fn pair_limit(&self, to: &str, asked: Option<Duration>, now: Instant) -> Duration {
        let mut limits = self.limits();
        if limits.pairs.len() >= REMEMBERED {
            limits.pairs.retain(|_, limit| limit.until > now);
        }
        let limit = Limit::after(limits.pairs.get(to).copied(), PAIR, 4, asked, now);
        limits.pairs.insert(to.to_owned(), limit);
        limit.pause
    }

    /// Something went through: what was hit before is over.
    pub(crate) fn went(&self, to: &str, now: Instant) {
        let mut limits = self.limits();
        limits.pairs.remove(to);
        limits.account.take_if(|limit| limit.until <= now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_a_limit_is_hit_and_end_with_a_success() {
        let (pace, now) = (Pace::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(pace.wait("a", now), Duration::ZERO);
        let pauses: Vec<_> = (0..6).map(|_| pace.pair_limit("a", None, now).as_secs()).collect();
        assert_eq!(pauses, [1, 4, 16, 64, 256, 300]);
        assert_eq!((pace.wait("a", now).as_secs(), pace.wait("b", now)), (300, Duration::ZERO));
        pace.went("a", now);
        assert_eq!(pace.wait("a", now), Duration::ZERO);

        assert_eq!(pace.account_limit(None, now).as_secs(), 1);
        assert_eq!(pace.account_limit(None, now).as_secs(), 1, "both were under way at the same time");
        assert_eq!(pace.account_limit(None, later(1)).as_secs(), 2);
        assert_eq!(pace.account_limit(Some(Duration::from_secs(90)), later(3)).as_secs(), 90);
        assert_eq!(pace.wait("b", later(3)).as_secs(), 90);
        pace.went("b", later(4));
        assert_eq!(pace.wait("b", later(3)).as_secs(), 90, "an answer to what was sent before says nothing");
        pace.went("b", later(93));
        assert_eq!(pace.account_limit(None, later(94)).as_secs(), 1);
    }
}
