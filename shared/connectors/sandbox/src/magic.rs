//! The magic numbers: see the table in the crate's documentation.

use std::time::Duration;

/// How a number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Ordinary,
    DoesNotExist,
    NeverDelivered,
    Slow,
    RateLimited,
    Echo,
    NeverRead,
}

pub(crate) const SLOW: Duration = Duration::from_secs(2);
pub(crate) const RATE_LIMIT: Duration = Duration::from_secs(1);

/// The number in an address of any platform, if there is one: `+999…`, `999…@s.whatsapp.net`, `S:999…`.
pub(crate) fn number(address: &str) -> Option<&str> {
    let local = address.split('@').next().unwrap_or(address);
    let local = local.strip_prefix("S:").unwrap_or(local);
    let digits = local.strip_prefix('+').unwrap_or(local);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

pub(crate) fn behaviour(address: &str) -> Behaviour {
    match number(address).and_then(|digits| digits.strip_prefix("999000")).and_then(|rest| rest.bytes().next()) {
        Some(b'1') => Behaviour::DoesNotExist,
        Some(b'2') => Behaviour::NeverDelivered,
        Some(b'3') => Behaviour::Slow,
        Some(b'4') => Behaviour::RateLimited,
        Some(b'5') => Behaviour::Echo,
        Some(b'6') => Behaviour::NeverRead,
        _ => Behaviour::Ordinary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_magic_number_is_known_in_every_spelling() {
        for address in ["99900010000@s.whatsapp.net", "+99900010000", "99900010000", "S:99900010000"] {
            assert_eq!(behaviour(address), Behaviour::DoesNotExist, "{address}");
        }
        for address in ["491711234567@s.whatsapp.net", "9990000", "@nobody", "120363@g.us", "-999000100"] {
            assert_eq!(behaviour(address), Behaviour::Ordinary, "{address}");
        }
        assert_eq!(behaviour("+99900050001"), Behaviour::Echo);
    }
}
