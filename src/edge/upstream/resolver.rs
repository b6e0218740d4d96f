//! Resolves the names of services, on request to public addresses only.
//! A name without an address that may be used fails to resolve, and the request is not sent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::vec;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

/// Resolves names. The client resolves a name each time it connects, so a name cannot point to another address after it was
/// checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolver {
    /// To all their addresses.
    Any,
    /// Leaves out addresses that are not public.
    PublicOnly,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = *self;
        async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let may_use = |address: &SocketAddr| resolver == Self::Any || is_public(address.ip());
            let addresses: Vec<SocketAddr> = found.filter(may_use).collect();
            if addresses.is_empty() && resolver == Self::PublicOnly {
                let why = format!("{name} has no public address, and [upstreams] private is off");
                return Err(io::Error::other(why));
            }
            Ok(addresses.into_iter())
        }
        .boxed()
    }
}

/// Whether an address is outside the loopback, private, link-local and other special-purpose ranges of RFC 6890. The
/// metadata services of cloud providers have link-local addresses.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public(IpAddr::V4(ip)),
            // Global unicast is 2000::/3; 6to4 and Teredo addresses contain others, which may be private.
            None => {
                let first = ip.segments()[0];
                first & 0xe000 == 0x2000 && first != 0x2002 && !(first == 0x2001 && ip.segments()[1] < 0x0200)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn only_public_addresses_are_public() {
        for (address, public) in [
            ("93.184.216.34", true),
            ("2606:4700::1111", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("2002:7f00:1::", false),
        ] {
            assert_eq!(is_public(address.parse().expect("an address")), public, "{address}");
        }
    }
}
