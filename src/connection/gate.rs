//! Places for connections: a maximum overall, and a maximum per peer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Limit;

/// How often refusals are logged. Otherwise a client that keeps trying would cause a line for every attempt.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// An IPv6 host usually has all addresses with its first 64 bits.
const HOST_BITS: u32 = 64;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    in_all: u32,
    per_peer: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    in_all: u32,
    /// The counts of peers that have a connection.
    by_peer: HashMap<IpAddr, u32>,
    told: Option<Instant>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// The limit of the process.
    #[error("the process has as many connections as --max-connections allows")]
    InAll,
    /// The limit of the peer.
    #[error("the peer has as many connections as --max-connections-per-peer allows")]
    PerPeer,
}

impl Full {
    pub(super) fn limit(self) -> Limit {
        match self {
            Self::InAll => Limit::MaxConnections,
            Self::PerPeer => Limit::MaxConnectionsPerPeer,
        }
    }
}

impl Gate {
    pub(super) fn new(in_all: u32, per_peer: u32) -> Self {
        Self(Arc::new(Shared { in_all, per_peer, taken: Mutex::default() }))
    }

    /// Takes a place for a connection from this address. It is free again when it is dropped.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, Full> {
        let peer = peer(address);
        let mut taken = self.taken();
        if taken.in_all >= self.0.in_all {
            return Err(Full::InAll);
        }
        let of_peer = taken.by_peer.entry(peer).or_default();
        if *of_peer >= self.0.per_peer {
            return Err(Full::PerPeer);
        }
        *of_peer += 1;
        taken.in_all += 1;
        Ok(Place { gate: self.clone(), peer })
    }

    /// Whether to log a refusal now: not if one was logged a moment ago.
    pub(super) fn tells(&self) -> bool {
        let mut taken = self.taken();
        let tells = taken.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if tells {
            taken.told = Some(Instant::now());
        }
        tells
    }

    /// The counts are consistent at any moment, so a panic elsewhere does not make them wrong.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    gate: Gate,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.gate.taken();
        taken.in_all -= 1;
        if let Entry::Occupied(mut of_peer) = taken.by_peer.entry(self.peer) {
            *of_peer.get_mut() -= 1;
            if *of_peer.get() == 0 {
                of_peer.remove();
            }
        }
    }
}

/// Returns the peer of an address: an IPv4 address is the same in its IPv6 form, and an IPv6 address is one of many
/// of its host.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let host = address.to_bits() >> HOST_BITS << HOST_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(host))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_place_is_taken_until_it_is_dropped() {
        let gate = Gate::new(3, 2);
        let (here, there) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = gate.enter(here).expect("room");
        let _second = gate.enter(here).expect("room");
        assert_eq!(gate.enter(here).err(), Some(Full::PerPeer));
        let other = gate.enter(there).expect("room for another peer");
        assert_eq!(gate.enter(there).err(), Some(Full::InAll));
        drop(first);
        let _third = gate.enter(here).expect("the place is free");
        drop(other);
        assert_eq!(gate.taken().by_peer.len(), 1, "a peer without connections is forgotten");
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let gate = Gate::new(1, 1);
        let place = gate.enter(address("10.0.0.1")).expect("room");
        for _ in 0..3 {
            assert_eq!(gate.enter(address("10.0.0.2")).err(), Some(Full::InAll));
        }
        drop(place);
        assert!(gate.taken().by_peer.is_empty());
        gate.enter(address("10.0.0.2")).expect("room");
    }

    #[test]
    fn a_host_has_one_name() {
        assert_eq!(peer(address("::ffff:10.0.0.1")), address("10.0.0.1"));
        assert_eq!(peer(address("2001:db8::1")), peer(address("2001:db8::ffff:2")));
        assert_ne!(peer(address("2001:db8::1")), peer(address("2001:db8:0:1::1")));
    }

    #[test]
    fn the_operator_is_told_once_in_a_while() {
        let gate = Gate::new(1, 1);
        assert!(gate.tells());
        assert!(!gate.tells());
    }
}
