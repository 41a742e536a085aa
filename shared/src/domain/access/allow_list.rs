//! Lists of networks that a credential works from.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::{Error, Result};

/// Networks per list at the most.
const MAX: usize = 100;

/// Reads addresses and CIDRs that a user gave as `field`, and answers them as CIDRs.
pub fn parse(field: &'static str, texts: &[String]) -> Result<Vec<String>> {
    if texts.len() > MAX {
        return Err(Error::invalid(field, format!("{field} must have at most {MAX} entries")));
    }
    let network = |text: &String| {
        network(text).map(|network| network.trunc().to_string()).ok_or_else(|| {
            Error::invalid(field, format!("{field} must list IP addresses or networks such as 203.0.113.0/24"))
        })
    };
    texts.iter().map(network).collect()
}

/// Errors with `Forbidden` unless the list is empty or holds the peer. An unknown peer is on no list.
pub fn check(list: &[String], peer: Option<IpAddr>) -> Result<()> {
    let on_list = |peer: IpAddr| list.iter().filter_map(|text| network(text)).any(|network| network.contains(&peer));
    if list.is_empty() || peer.is_some_and(|peer| on_list(peer.to_canonical())) {
        Ok(())
    } else {
        Err(Error::forbidden("This credential must not be used from your address").code("IP_NOT_ALLOWED"))
    }
}

fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address.to_canonical())),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_addresses_and_networks() {
        let list = parse("allowedIps", &["203.0.113.7".into(), "10.1.2.3/8".into(), "2001:db8::/32".into()]);
        let list = list.expect("parses");
        assert_eq!(list, ["203.0.113.7/32", "10.0.0.0/8", "2001:db8::/32"]);
        let from = |peer: &str| check(&list, Some(peer.parse().expect("an address"))).is_ok();
        assert!(from("203.0.113.7") && from("10.200.0.1") && from("2001:db8::1") && from("::ffff:10.0.0.1"));
        assert!(!from("203.0.113.8") && !from("127.0.0.1") && !from("::1"));
        assert!(check(&list, None).is_err() && check(&[], None).is_ok());
        assert!(parse("allowedIps", &["10.0.0.0/33".into()]).is_err());
    }
}
