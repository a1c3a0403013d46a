//! Bytes that streams have read and not answered, of a tenant and in all.
//!
//! A stream holds its client back by itself (`messages::session`), but there may be ten thousands of streams. So
//! the body of each asks here before it takes more from its connection, and what it does not take, HTTP/2 holds
//! back. Counted is what a body has given out: parts of a message that is not whole yet, which wait for the
//! rest, and whole ones until they are answered.
//!
//! Whole messages are answered whatever other streams do, so a stream that waits for them never waits for ever.
//! Parts could wait for each other: where a tenant has nothing but parts, one stream at a time goes on reading
//! until its message is whole. So a tenant is never more than one message above its limit, beside a frame, and
//! streams of other tenants are never kept from going on.
//!
//! When there is room again, all streams that wait are woken, and not one that would wake the next: a stream that
//! is woken may have other things to do than to read, for as long as its client likes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use uuid::Uuid;

/// The part of the bytes, in all and of a tenant, that must be free again before streams that waited for them read
/// on, so that they are not all woken for every answer.
const FREE_AGAIN: usize = 4;

/// Bytes before a message in a body: whether it is compressed, and how long it is.
const HEADER: usize = 5;

/// Bytes that streams share. Cheap to clone.
#[derive(Clone)]
pub struct Room(Arc<Shared>);

struct Shared {
    in_all: usize,
    of_tenant: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: Level,
    tenants: HashMap<Uuid, Tenant>,
    /// The number of the next stream.
    next: u64,
}

#[derive(Default)]
struct Tenant {
    streams: usize,
    level: Level,
    /// Of its bytes, those of whole messages.
    whole: usize,
    /// The stream that reads on where there is nothing but parts.
    turn: Option<u64>,
    /// Streams that may not read.
    waiting: HashMap<u64, Waker>,
}

/// Bytes that are counted against a limit.
#[derive(Default)]
struct Level {
    bytes: usize,
    /// Whether nothing is read until enough is free again.
    is_full: bool,
}

impl Level {
    /// Counts a change. Returns whether there is room now where there was none.
    fn change(&mut self, limit: usize, (before, after): (Held, Held)) -> bool {
        self.bytes = self.bytes + after.sum() - before.sum();
        let was_full = self.is_full;
        let most = if was_full { limit - limit / FREE_AGAIN } else { limit.saturating_sub(1) };
        self.is_full = self.bytes > most;
        was_full && !self.is_full
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Room").field("in_all", &self.0.in_all).finish_non_exhaustive()
    }
}

impl Room {
    /// Room for so many bytes in all, and of a tenant.
    pub fn new(in_all: usize, of_tenant: usize) -> Self {
        Self(Arc::new(Shared { in_all, of_tenant, taken: Mutex::default() }))
    }

    /// Bytes of all streams.
    pub fn bytes(&self) -> usize {
        self.taken().all.bytes
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

    /// Counts a change of what a stream holds, and wakes the streams that may read after it.
    fn change(&self, tenant: Uuid, id: u64, change: (Held, Held)) {
        let (before, after) = change;
        let mut taken = self.taken();
        let Taken { all, tenants, next: _ } = &mut *taken;
        let Some(of_tenant) = tenants.get_mut(&tenant) else { return };
        of_tenant.whole = of_tenant.whole + after.whole - before.whole;
        if of_tenant.turn == Some(id) && (after.parts == 0 || after.whole > 0) {
            of_tenant.turn = None;
        }
        let has_room = of_tenant.level.change(self.0.of_tenant, change);
        let has_turn = of_tenant.whole == 0 && of_tenant.turn.is_none();
        let wakers: Vec<Waker> = if all.change(self.0.in_all, change) {
            tenants.values_mut().flat_map(Tenant::take_waiting).collect()
        } else if has_room || has_turn {
            of_tenant.take_waiting().collect()
        } else {
            Vec::new()
        };
        drop(taken);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Tenant {
    fn take_waiting(&mut self) -> impl Iterator<Item = Waker> + use<> {
        std::mem::take(&mut self.waiting).into_values()
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
        let Taken { all, tenants, next: _ } = &mut *taken;
        let Some(of_tenant) = tenants.get_mut(tenant) else { return Poll::Ready(()) };
        let has_room = !all.is_full && !of_tenant.level.is_full;
        if has_room || of_tenant.level.bytes == 0 {
            return Poll::Ready(());
        }
        // Nobody answers parts of messages. A turn lasts until the message is whole, also where others have whole
        // ones by then.
        let may_take_turn = of_tenant.whole == 0 && of_tenant.turn.is_none();
        if is_amid && (may_take_turn || of_tenant.turn == Some(*id)) {
            of_tenant.turn = Some(*id);
            return Poll::Ready(());
        }
        of_tenant.waiting.insert(*id, context.waker().clone());
        Poll::Pending
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
        // What it held in parts is gone, so a turn of its own ends with this.
        self.room.change(self.tenant, self.id, (held, Held::default()));
        let mut taken = self.room.taken();
        let Some(of_tenant) = taken.tenants.get_mut(&self.tenant) else { return };
        of_tenant.streams -= 1;
        of_tenant.waiting.remove(&self.id);
        if of_tenant.streams == 0 {
            taken.tenants.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests;
