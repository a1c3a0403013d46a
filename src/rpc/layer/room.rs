//! Bytes that streams have read and not answered, of a tenant and in all.
//!
//! A stream holds its client back by itself (`messages::session`), but there may be ten thousands of streams. So
//! the body of each asks here before it takes more from its connection, and what it does not take, HTTP/2 holds
//! back. Counted is what a body has given out: parts of a message that is not whole yet, which wait for the
//! rest, and whole ones until they are answered.
//!
//! Whole messages are answered whatever other streams do, so who waits for them never waits for ever. Parts
//! could wait for each other: where a tenant has nothing but parts, one stream at a time goes on reading until
//! its message is whole. So a tenant is never more than one message above its limit, beside a frame, and
//! streams of other tenants are never kept from going on.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use uuid::Uuid;

/// The part of all bytes that must be free again before streams that waited for it read on, so that they are not
/// all woken for every answer.
const FREE_AGAIN: usize = 4;

/// Bytes before a message in a body: whether it is compressed, and how long it is.
const HEADER: usize = 5;

/// Bytes that streams share. Cheap to clone.
#[derive(Clone)]
pub struct Room(Arc<Shared>);

struct Shared {
    in_all: usize,
    of_tenant: usize,
    free_again: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    /// Whether nothing is read until enough is free again.
    is_full: bool,
    tenants: HashMap<Uuid, Tenant>,
    /// The number of the next stream.
    next: u64,
}

#[derive(Default)]
struct Tenant {
    streams: usize,
    bytes: usize,
    /// Of these, the bytes of whole messages.
    whole: usize,
    /// The stream that reads on where there is nothing but parts.
    turn: Option<u64>,
    /// Streams that may not read.
    waiting: BTreeMap<u64, Waker>,
}

impl fmt::Debug for Room {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Room").field("in_all", &self.0.in_all).finish_non_exhaustive()
    }
}

impl Room {
    /// Room for so many bytes in all, and of a tenant.
    pub fn new(in_all: usize, of_tenant: usize) -> Self {
        let free_again = in_all / FREE_AGAIN;
        Self(Arc::new(Shared { in_all, of_tenant, free_again, taken: Mutex::default() }))
    }

    /// A stream of a tenant that has read nothing.
    pub fn stream(&self, tenant: Uuid) -> Meter {
        let mut taken = self.taken();
        let id = taken.next;
        taken.next += 1;
        taken.tenants.entry(tenant).or_default().streams += 1;
        Meter(Arc::new(Stream { room: self.clone(), tenant, id, read: Mutex::default() }))
    }

    /// The counts are whole at any moment, so a panic elsewhere does not make them wrong.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a change of what a stream holds, in parts and in whole messages, and wakes those who may read
    /// after it.
    fn change(&self, tenant: Uuid, id: u64, (before, after): (Held, Held)) {
        let mut taken = self.taken();
        let Taken { bytes, is_full, tenants, next: _ } = &mut *taken;
        let Some(of_tenant) = tenants.get_mut(&tenant) else { return };
        *bytes = *bytes + after.sum() - before.sum();
        of_tenant.bytes = of_tenant.bytes + after.sum() - before.sum();
        of_tenant.whole = of_tenant.whole + after.whole - before.whole;
        if of_tenant.turn == Some(id) && (after.parts == 0 || after.whole > 0) {
            of_tenant.turn = None;
        }
        let was_full = *is_full;
        *is_full =
            if was_full { *bytes + self.0.free_again > self.0.in_all } else { *bytes >= self.0.in_all };
        let mut wakers = Vec::new();
        if was_full && !*is_full {
            wakers.extend(tenants.values_mut().flat_map(Tenant::take_waiting));
        } else if after.sum() < before.sum() || after.whole < before.whole {
            let may_read = of_tenant.bytes < self.0.of_tenant && !*is_full;
            if may_read {
                wakers.extend(of_tenant.take_first());
            } else if of_tenant.whole == 0 && of_tenant.turn.is_none() {
                wakers.extend(of_tenant.take_waiting());
            }
        }
        drop(taken);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Tenant {
    fn take_waiting(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// The stream that waits for the longest time. When it has read, or has nothing to read, the next follows.
    fn take_first(&mut self) -> Option<Waker> {
        self.waiting.pop_first().map(|(_, waker)| waker)
    }
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    /// Bytes that its body gave out, of messages that nobody took yet.
    parts: usize,
    /// Bytes of messages that were taken and not answered.
    whole: usize,
}

impl Held {
    fn sum(self) -> usize {
        self.parts + self.whole
    }
}

/// Counts what a stream has read. Both its body and its handler have it; when the last of them is dropped, the
/// stream holds nothing.
#[derive(Clone)]
pub struct Meter(Arc<Stream>);

struct Stream {
    room: Room,
    tenant: Uuid,
    id: u64,
    read: Mutex<Read>,
}

/// What a stream has read.
#[derive(Default)]
struct Read {
    held: Held,
    /// The messages that began and were not taken, with their headers.
    sizes: VecDeque<usize>,
    header: Vec<u8>,
    /// Bytes of the present message that are yet to come.
    left: usize,
}

impl Read {
    /// Whether a part of a message is all there is, so that only more can make it whole.
    fn is_amid(&self) -> bool {
        match self.sizes.len() {
            0 => !self.header.is_empty(),
            1 => self.left > 0,
            _ => false,
        }
    }
}

impl Meter {
    /// Whether the body may give out more. Wakes the task when that may have changed.
    pub fn poll_may_read(&self, context: &Context<'_>) -> Poll<()> {
        let Stream { room, tenant, id, read: _ } = &*self.0;
        let is_amid = self.read().is_amid();
        let mut taken = room.taken();
        let is_full = taken.is_full;
        let Some(of_tenant) = taken.tenants.get_mut(tenant) else { return Poll::Ready(()) };
        let has_room = !is_full && of_tenant.bytes < room.0.of_tenant;
        // Nobody answers parts of messages.
        let is_stuck = of_tenant.whole == 0 && (of_tenant.turn.is_none() || of_tenant.turn == Some(*id));
        if has_room || of_tenant.bytes == 0 {
            return Poll::Ready(());
        }
        if is_stuck && is_amid {
            of_tenant.turn = Some(*id);
            return Poll::Ready(());
        }
        of_tenant.waiting.insert(*id, context.waker().clone());
        Poll::Pending
    }

    /// Has the next stream that waits look whether it may read: this one may, and has nothing to read.
    pub fn pass_on(&self) {
        let Stream { room, tenant, .. } = &*self.0;
        let mut taken = room.taken();
        let has_room = |of_tenant: &Tenant| of_tenant.bytes < room.0.of_tenant;
        let is_full = taken.is_full;
        let next = taken.tenants.get_mut(tenant).filter(|of_tenant| !is_full && has_room(of_tenant));
        let waker = next.and_then(Tenant::take_first);
        drop(taken);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Counts what the body gives out.
    pub fn read_on(&self, mut data: &[u8]) {
        let bytes = data.len();
        let mut read = self.read();
        while !data.is_empty() {
            let rest = read.left.min(data.len());
            if rest > 0 {
                read.left -= rest;
                data = data.get(rest..).unwrap_or_default();
                continue;
            }
            let (header, after) = data.split_at(data.len().min(HEADER - read.header.len()));
            read.header.extend_from_slice(header);
            data = after;
            if let [_, length @ ..] = read.header.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                read.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                let size = read.left.saturating_add(HEADER);
                read.sizes.push_back(size);
                read.header.clear();
            }
        }
        self.update(read, |held| held.parts += bytes);
    }

    /// Counts that the handler took a message.
    pub fn take(&self) {
        let mut read = self.read();
        let size = read.sizes.pop_front().unwrap_or(0);
        self.update(read, |held| {
            let size = size.min(held.parts);
            held.parts -= size;
            held.whole += size;
        });
    }

    /// Says how many bytes of the messages that were taken are not answered.
    pub fn hold(&self, bytes: usize) {
        self.update(self.read(), |held| held.whole = bytes);
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, mut read: MutexGuard<'_, Read>, change: impl FnOnce(&mut Held)) {
        let before = read.held;
        change(&mut read.held);
        let after = read.held;
        drop(read);
        if before != after {
            self.0.room.change(self.0.tenant, self.0.id, (before, after));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let held = self.read.get_mut().unwrap_or_else(PoisonError::into_inner).held;
        self.room.change(self.tenant, self.id, (held, Held::default()));
        let mut taken = self.room.taken();
        let Some(of_tenant) = taken.tenants.get_mut(&self.tenant) else { return };
        of_tenant.streams -= 1;
        of_tenant.waiting.remove(&self.id);
        if of_tenant.turn == Some(self.id) {
            of_tenant.turn = None;
        }
        // Whoever it was to wake is woken by another.
        let next = of_tenant.take_waiting();
        if of_tenant.streams == 0 {
            taken.tenants.remove(&self.tenant);
        }
        drop(taken);
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
