//! To whom a bound applies.

use std::net::{IpAddr, Ipv6Addr};

use super::Principal;

/// Somebody who has no more than a share of what there is: who they said they are, or where nobody was asked, their address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    Named(Principal),
    /// `None`: a client at a unix socket.
    At(Option<IpAddr>),
}

impl Holder {
    pub fn of(principal: &Principal, address: Option<IpAddr>) -> Self {
        match principal {
            Principal::Anyone => Self::At(address.map(network)),
            known => Self::Named(known.clone()),
        }
    }
}

/// Who is to be counted as one: a network of IPv6 is handed out whole.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_for_more_than_an_address() {
        let at = |principal: &Principal, address: &str| Holder::of(principal, address.parse().ok());
        let token = Principal::Token("ci".into());
        assert_eq!(at(&token, "192.0.2.1"), at(&token, "192.0.2.2"));
        assert_ne!(at(&Principal::Anyone, "192.0.2.1"), at(&Principal::Anyone, "192.0.2.2"));
        assert_eq!(at(&Principal::Anyone, "::ffff:192.0.2.1"), at(&Principal::Anyone, "192.0.2.1"));
        assert_eq!(at(&Principal::Anyone, "2001:db8::1"), at(&Principal::Anyone, "2001:db8::2"));
        assert_ne!(token, Principal::User("ci".into()));
    }
}
