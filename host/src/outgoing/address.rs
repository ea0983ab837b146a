//! Which addresses a guest's request may reach, once its name is resolved.
//!
//! A name on the allow-list says who may be asked, not where that is: whoever owns the name, or answers for it, may
//! point it at the host's own network. So the address that is connected to is checked, and only what the whole internet
//! can reach passes, or what the operator named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use ipnet::IpNet;

/// Networks that are not for everybody: loopback, private, link-local (where clouds keep their metadata), shared,
/// reserved, for documentation, multicast, and ways of writing one of those as another address. From IANA's registries of
/// special-purpose addresses, IPv4 (RFC 6890 and later) and IPv6.
const SPECIAL: [&str; 32] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    // Not in the registries: where one cloud has its name server and its agent, reached from inside only.
    "168.63.129.16/32",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    // Teredo and others that carry addresses within addresses.
    "2001::/23",
    "2001:db8::/32",
    // 6to4: the next four bytes are an IPv4 address.
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    // IPv4 as IPv6, and translated by a gateway: what they mean is looked at as well.
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
];

/// True if a request may go to `address`: it is everybody's, or lies in one of `named`.
pub(super) fn may_reach(address: IpAddr, named: &[IpNet]) -> bool {
    let address = plain(address);
    named.iter().any(|network| network.contains(&address)) || is_everybodys(address)
}

fn is_everybodys(address: IpAddr) -> bool {
    static NETWORKS: OnceLock<Vec<IpNet>> = OnceLock::new();
    let special = NETWORKS.get_or_init(|| {
        SPECIAL.iter().map(|network| network.parse().expect("the table holds networks")).collect()
    });
    !special.iter().any(|network| network.contains(&address))
}

/// An IPv4 address that is written as an IPv6 one is meant.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => match (address.to_ipv4_mapped(), behind_gateway(address)) {
            (Some(inner), _) | (None, Some(inner)) => IpAddr::V4(inner),
            (None, None) => IpAddr::V6(address),
        },
        IpAddr::V4(_) => address,
    }
}

/// The IPv4 address that a gateway of NAT64 would connect to: RFC 6052.
fn behind_gateway(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x0064, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(address: &str, named: &[&str]) -> bool {
        let named: Vec<IpNet> = named.iter().map(|network| network.parse().unwrap()).collect();
        may_reach(address.parse().unwrap(), &named)
    }

    #[test]
    fn what_everybody_reaches_is_open() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(reaches(address, &[]), "{address}");
        }
    }

    #[test]
    fn the_hosts_own_world_is_closed_however_it_is_written() {
        for address in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "168.63.129.16",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:0:127.0.0.1",
        ] {
            assert!(!reaches(address, &[]), "{address}");
        }
    }

    #[test]
    fn what_is_named_is_open_and_nothing_beside_it() {
        let named = ["10.1.0.0/16", "::1/128", "169.254.169.254/32"];
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "::1", "169.254.169.254"] {
            assert!(reaches(address, &named), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.1", "169.254.169.253", "fd00::1"] {
            assert!(!reaches(address, &named), "{address}");
        }
    }
}
