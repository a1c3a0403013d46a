//! Places that tenants take in turns.
//!
//! A semaphore that is fair to tenants. A place that becomes free goes to the waiting tenant that has the
//! fewest, and among equals to the one that has waited longest for its turn. No tenant has more than its
//! share, so that one whose work takes long leaves places for others, and no more than a bounded number of
//! a tenant's callers wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;

/// How much room there is.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Places in all.
    pub places: usize,
    /// Places of one tenant at most.
    pub share: usize,
    /// Callers of one tenant that may wait.
    pub waiting: usize,
}

impl Room {
    /// So many places, of which one tenant has half at most, and one at least.
    pub fn halved(places: usize, waiting: usize) -> Self {
        let places = places.max(1);
        Self { places, share: places.div_ceil(2), waiting }
    }
}

/// As many of the tenant's callers wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many of the tenant's callers wait for a place as may")]
pub struct Full;

/// See the module.
#[derive(Debug, Clone)]
pub struct Turns {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    room: Room,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Only those that have a place or wait for one.
    tenants: HashMap<Uuid, Tenant>,
    /// The tenants that wait and have less than their share, by the order in which they are served.
    next: BTreeSet<Standing>,
    /// Counts callers and turns, so that both have an order.
    tickets: u64,
}

#[derive(Debug, Default)]
struct Tenant {
    held: usize,
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
    /// The place of the tenant among those that wait for a turn.
    standing: Option<Standing>,
}

/// When a tenant is served: by the places that it has, then by when its turn came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    held: usize,
    since: u64,
    tenant: Uuid,
}

/// A place, free again when this is dropped.
#[derive(Debug)]
pub struct Turn {
    shared: Arc<Shared>,
    tenant: Uuid,
}

impl Turns {
    /// Places as `room` says, all of them free.
    pub fn new(room: Room) -> Self {
        Self { shared: Arc::new(Shared { room, state: Mutex::default() }) }
    }

    /// Waits for a place. A caller that stops waiting takes none.
    ///
    /// # Errors
    ///
    /// `Full`, at once.
    pub async fn take(&self, tenant: Uuid) -> Result<Turn, Full> {
        let mut waiting = match self.shared.ask(tenant)? {
            Answer::Now(turn) => return Ok(turn),
            Answer::Later(ticket, turn) => Waiting { shared: &self.shared, tenant, ticket, turn },
        };
        // The other end goes only with its turn, or with this wait.
        (&mut waiting.turn).await.map_err(|_| Full)
    }
}

enum Answer {
    Now(Turn),
    Later(u64, oneshot::Receiver<Turn>),
}

impl Shared {
    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        // Nothing in here panics half way, so a poisoned state is whole.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ask(self: &Arc<Self>, tenant: Uuid) -> Result<Answer, Full> {
        self.with(|state| {
            let Tenant { held, waiting, .. } = state.tenants.entry(tenant).or_default();
            // Where a place is free, nobody waits that may have it.
            if state.taken < self.room.places && *held < self.room.share {
                *held += 1;
                state.taken += 1;
                return Ok(Answer::Now(self.turn(tenant)));
            }
            let outcome = if waiting.len() < self.room.waiting {
                let (sender, receiver) = oneshot::channel();
                state.tickets += 1;
                waiting.insert(state.tickets, sender);
                Ok(Answer::Later(state.tickets, receiver))
            } else {
                Err(Full)
            };
            state.list(tenant, &self.room);
            outcome
        })
    }

    fn turn(self: &Arc<Self>, tenant: Uuid) -> Turn {
        Turn { shared: Arc::clone(self), tenant }
    }

    /// Changes the state, and gives away what is free then. A caller that has left meanwhile gives its turn
    /// back, so this must not hold the lock when it does.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let served = self.with(|state| {
            change(state);
            state.serve(&self.room)
        });
        for (tenant, caller) in served {
            drop(caller.send(self.turn(tenant)));
        }
    }
}

impl State {
    /// Takes the free places for those whose turn it is.
    fn serve(&mut self, room: &Room) -> Vec<(Uuid, oneshot::Sender<Turn>)> {
        let mut served = Vec::new();
        while self.taken < room.places
            && let Some(Standing { tenant: id, .. }) = self.next.pop_first()
        {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            tenant.standing = None;
            if let Some((_, caller)) = tenant.waiting.pop_first() {
                tenant.held += 1;
                self.taken += 1;
                served.push((id, caller));
            }
            self.list(id, room);
        }
        served
    }

    /// Puts a tenant where it belongs, after its places or callers changed. It keeps its place in line,
    /// unless it has just had a turn.
    fn list(&mut self, id: Uuid, room: &Room) {
        let Some(tenant) = self.tenants.get_mut(&id) else { return };
        let before = tenant.standing.take();
        if let Some(standing) = &before {
            self.next.remove(standing);
        }
        if tenant.held == 0 && tenant.waiting.is_empty() {
            self.tenants.remove(&id);
            return;
        }
        if !tenant.waiting.is_empty() && tenant.held < room.share {
            let since = before.map_or_else(
                || {
                    self.tickets += 1;
                    self.tickets
                },
                |standing| standing.since,
            );
            let standing = Standing { held: tenant.held, since, tenant: id };
            tenant.standing = Some(standing);
            self.next.insert(standing);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (shared, id) = (Arc::clone(&self.shared), self.tenant);
        shared.change(|state| {
            state.taken -= 1;
            if let Some(tenant) = state.tenants.get_mut(&id) {
                tenant.held -= 1;
            }
            state.list(id, &shared.room);
        });
    }
}

/// A wait for a place.
struct Waiting<'t> {
    shared: &'t Arc<Shared>,
    tenant: Uuid,
    ticket: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // A caller that was served is not among those that wait; a turn that it did not take goes with
        // the channel.
        self.shared.with(|state| {
            if let Some(tenant) = state.tenants.get_mut(&self.tenant) {
                drop(tenant.waiting.remove(&self.ticket));
            }
            state.list(self.tenant, &self.shared.room);
        });
    }
}

#[cfg(test)]
mod tests;
