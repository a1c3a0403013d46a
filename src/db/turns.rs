//! Places that tenants take in turns.
//!
//! A semaphore that is fair to tenants. A free place goes to the waiting tenant that has the fewest places, and among
//! equals to the one that has waited longest for its turn. No tenant has more than its share, so a tenant with slow
//! work leaves places for others. The number of a tenant's callers that wait is bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;

/// The sizes of a [`Turns`].
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// The total number of places.
    pub places: usize,
    /// The maximum number of places of one tenant.
    pub share: usize,
    /// The maximum number of waiting callers of one tenant.
    pub waiting: usize,
}

impl Room {
    /// This many places, of which one tenant has at most half, and may always have one.
    pub fn halved(places: usize, waiting: usize) -> Self {
        let places = places.max(1);
        Self { places, share: places.div_ceil(2), waiting }
    }
}

/// The error if the maximum number of the tenant's callers wait already.
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
    /// The tenants that have a place or wait for one.
    tenants: HashMap<Uuid, Tenant>,
    /// The tenants that wait and have less than their share, in the order in which they are served.
    next: BTreeSet<Standing>,
    /// A counter of callers and turns, which gives both an order.
    tickets: u64,
}

#[derive(Debug, Default)]
struct Tenant {
    held: usize,
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
    /// The rank of the tenant among those that wait for a turn.
    standing: Option<Standing>,
}

/// The rank of a tenant: first by its places, then by when its turn came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    held: usize,
    since: u64,
    tenant: Uuid,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub struct Turn {
    shared: Arc<Shared>,
    tenant: Uuid,
}

impl Turns {
    /// Creates as many free places as `room` says.
    pub fn new(room: Room) -> Self {
        Self { shared: Arc::new(Shared { room, state: Mutex::default() }) }
    }

    /// Waits for a place. A caller that stops waiting takes no place.
    ///
    /// # Errors
    ///
    /// `Full`, at once.
    pub async fn take(&self, tenant: Uuid) -> Result<Turn, Full> {
        let mut waiting = match self.shared.ask(tenant)? {
            Answer::Now(turn) => return Ok(turn),
            Answer::Later(ticket, turn) => Waiting { shared: &self.shared, tenant, ticket, turn },
        };
        // The sender is dropped only together with its turn, or with this wait.
        (&mut waiting.turn).await.map_err(|_| Full)
    }
}

enum Answer {
    Now(Turn),
    Later(u64, oneshot::Receiver<Turn>),
}

impl Shared {
    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        // Nothing in here panics half way, so the state behind a poisoned lock is consistent.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ask(self: &Arc<Self>, tenant: Uuid) -> Result<Answer, Full> {
        self.with(|state| {
            let Tenant { held, waiting, .. } = state.tenants.entry(tenant).or_default();
            // If a place is free, no tenant that may have it waits.
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

    /// Changes the state, and gives away the places that are free then. A caller that has left meanwhile gives its
    /// turn back, which takes the lock again, so the lock must not be held here.
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
    /// Assigns the free places to the tenants that are next.
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

    /// Updates the rank of a tenant after its places or callers changed. It keeps its position in the line, unless it
    /// has just had a turn.
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

/// A caller that waits for a place.
struct Waiting<'t> {
    shared: &'t Arc<Shared>,
    tenant: Uuid,
    ticket: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // A caller that was served is no longer among those that wait. A turn that it did not take is dropped with
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
