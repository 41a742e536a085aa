//! What kind of network an address belongs to. Sources: the IANA special-purpose address registries for IPv4 and IPv6,
//! and the addresses at which cloud providers serve credentials to whoever asks from inside.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Where an address leads. Only [`Class::Public`] is reachable without being allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Public,
    Loopback,
    /// RFC 1918 and unique local addresses.
    Private,
    /// Carrier-grade NAT, 100.64.0.0/10.
    SharedNat,
    LinkLocal,
    /// Where a cloud hands out credentials or configuration.
    Metadata,
    Multicast,
    /// `0.0.0.0/8` and `::`, which reach this very machine, and the broadcast address.
    Unspecified,
    Documentation,
    Benchmarking,
    /// Everything else that is not globally routed.
    Reserved,
}

impl Class {
    /// For messages: "is a … address".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::SharedNat => "shared (carrier-grade NAT)",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Multicast => "multicast",
            Self::Unspecified => "unspecified",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Reserved => "reserved",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The address that packets really go to: IPv4 in an IPv6 coat (mapped, NAT64, 6to4) is taken out of it.
///
/// A NAT64 gateway (RFC 6052) or a 6to4 relay forwards to the address inside, so the address inside is what must be judged.
pub(super) fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let s = v6.segments();
    let inside = match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    match inside {
        Some((high, low)) => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Ipv4Addr::new(a, b, c, d).into()
        }
        None => address,
    }
}

/// Classifies an address, whatever coat it wears.
pub fn classify(address: IpAddr) -> Class {
    match unwrapped(address) {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // Azure's wire server and Alibaba's metadata live outside of link-local; the latter, in shared address space.
        [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Class::Metadata,
        [0, ..] | [255, 255, 255, 255] => Class::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Private,
        [100, 64..=127, ..] => Class::SharedNat,
        [127, ..] => Class::Loopback,
        [169, 254, 169, 254] | [169, 254, 170, 2 | 23] => Class::Metadata,
        [169, 254, ..] => Class::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [198, 18..=19, ..] => Class::Benchmarking,
        [224..=239, ..] => Class::Multicast,
        // IETF protocol assignments, the old 6to4 relays, and class E.
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => Class::Reserved,
        _ => Class::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> Class {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // Amazon's metadata service and DNS, inside the unique local range; Google's and Oracle's.
        [0xfd00, 0xec2, ..] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe] => {
            Class::Metadata
        }
        [0xfc00..=0xfdff, ..] => Class::Private,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Documentation,
        [0x2001, 2, 0, ..] => Class::Benchmarking,
        // IETF protocol assignments, Teredo and ORCHID among them.
        [0x2001, 0..=0x01ff, ..] => Class::Reserved,
        [0x2000..=0x3fff, ..] => Class::Public,
        // All else is unassigned, deprecated (`::a.b.c.d`, site-local) or translated by rules of a network (64:ff9b:1::/48).
        _ => Class::Reserved,
    }
}
