//! Which addresses a user-given URL may lead to: `OUTBOUND_ALLOW`, read and applied.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use url::Host;

use super::net::{Class, classify, unwrapped};
use crate::error::{Error, Result};

/// One entry of `OUTBOUND_ALLOW`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// `public`: always there, said or not.
    Public,
    /// `loopback`: 127.0.0.0/8 and ::1.
    Loopback,
    /// `private`: RFC 1918 and unique local addresses; neither carrier-grade NAT nor metadata services.
    Private,
    /// A network. It opens link-local and metadata addresses only if it lies within them: 0.0.0.0/0 does not.
    Net(IpNet),
    /// A host name, lower case: it may resolve to anything but link-local and metadata addresses.
    Host(String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Loopback => f.write_str("loopback"),
            Self::Private => f.write_str("private"),
            Self::Net(net) => net.fmt(f),
            Self::Host(name) => f.write_str(name),
        }
    }
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(
                "OUTBOUND_ALLOW",
                format!("OUTBOUND_ALLOW: `{text}` is neither public, loopback, private, a network nor a host name"),
            )
        };
        match text.to_ascii_lowercase().as_str() {
            "public" => return Ok(Self::Public),
            "loopback" => return Ok(Self::Loopback),
            "private" => return Ok(Self::Private),
            _ => {}
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net(net.trunc()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        match Host::parse(text).map_err(|_| wrong())? {
            Host::Domain(name) => Ok(Self::Host(without_dot(&name).to_owned())),
            Host::Ipv4(address) => Ok(Self::Net(IpAddr::from(address).into())),
            Host::Ipv6(address) => Ok(Self::Net(IpAddr::from(address).into())),
        }
    }
}

/// `example.com.` is `example.com`.
fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// What is allowed beside public addresses. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub allow: Vec<Rule>,
}

impl FromStr for Policy {
    type Err = Error;

    /// Entries with commas or spaces between; the empty text allows public addresses alone.
    fn from_str(text: &str) -> Result<Self> {
        let entries = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        Ok(Self { allow: entries.map(str::parse).collect::<Result<_>>()? })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("public")?;
        for rule in self.allow.iter().filter(|rule| **rule != Rule::Public) {
            write!(f, ",{rule}")?;
        }
        Ok(())
    }
}

impl Policy {
    /// The default of a server that listens on loopback only: a developer's own receiver works.
    pub fn loopback() -> Self {
        Self { allow: vec![Rule::Loopback] }
    }

    /// Whether a connection to `address` may be made. `host` is the name that resolved to it, `None` for a literal.
    /// The error is the class of address that is in the way.
    pub fn permits(&self, host: Option<&str>, address: IpAddr) -> std::result::Result<(), Class> {
        let class = classify(address);
        let address = unwrapped(address);
        let host = host.map(without_dot);
        let allowed = match class {
            Class::Public => true,
            // Nothing answers there but this machine under another name, or many machines at once.
            Class::Unspecified | Class::Multicast => false,
            Class::LinkLocal | Class::Metadata => self.allow.iter().any(|rule| match rule {
                Rule::Net(net) => net.contains(&address) && is_special(net),
                Rule::Public | Rule::Loopback | Rule::Private | Rule::Host(_) => false,
            }),
            Class::Loopback
            | Class::Private
            | Class::SharedNat
            | Class::Documentation
            | Class::Benchmarking
            | Class::Reserved => self.allow.iter().any(|rule| match rule {
                Rule::Public => false,
                Rule::Loopback => class == Class::Loopback,
                Rule::Private => class == Class::Private,
                Rule::Net(net) => net.contains(&address),
                Rule::Host(name) => host.is_some_and(|host| host.eq_ignore_ascii_case(name)),
            }),
        };
        if allowed { Ok(()) } else { Err(class) }
    }
}

/// Whether the network was meant for such addresses: both of its ends are.
fn is_special(net: &IpNet) -> bool {
    [net.network(), net.broadcast()].into_iter().all(|end| matches!(classify(end), Class::LinkLocal | Class::Metadata))
}
