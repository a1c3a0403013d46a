//! Limits the bytes that streams have read and not answered, per tenant and overall.
//!
//! Each stream limits its own client (`messages::session`), but there may be tens of thousands of streams. So the
//! body of each asks here before it takes more from its connection, and HTTP/2 holds back the rest. The counted bytes
//! are those that a body has passed on: parts of an incomplete message until it is complete, and complete messages
//! until they are answered.
//!
//! Complete messages are answered independently of other streams, so a stream that waits for them never waits for
//! ever. Parts could wait for each other. If a tenant has nothing but parts, one stream at a time reads on until its
//! message is complete. So a tenant is never more than one message and one frame above its limit, and it never blocks
//! streams of other tenants.
//!
//! When there is room again, all waiting streams are woken, and not one that would wake the next: a woken stream may
//! have other things to do than reading, for as long as its client likes.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use uuid::Uuid;

/// The fraction of a limit that must be free again before waiting streams read on, so that they are not all woken for
/// every answer.
const FREE_AGAIN: usize = 4;

/// The header of a message in a body: whether it is compressed, and its length.
const HEADER: usize = 5;

/// The room that streams share. Cheap to clone.
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
    /// The bytes of complete messages among those of `level`.
    whole: usize,
    /// The stream that may read on although the tenant has nothing but parts.
    turn: Option<u64>,
    /// The streams that wait until they may read.
    waiting: HashMap<u64, Waker>,
}

/// Bytes that count against a limit.
#[derive(Default)]
struct Level {
    bytes: usize,
    /// Whether reading is stopped until enough bytes are free again.
    is_full: bool,
}

impl Level {
    /// Counts a change. Returns whether there is room now although there was none before.
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
    /// Creates room for this many bytes overall, and per tenant.
    pub fn new(in_all: usize, of_tenant: usize) -> Self {
        Self(Arc::new(Shared { in_all, of_tenant, taken: Mutex::default() }))
    }

    /// The bytes of all streams.
    pub fn bytes(&self) -> usize {
        self.taken().all.bytes
    }

    /// Adds a stream of a tenant, which has read nothing yet.
    pub fn stream(&self, tenant: Uuid) -> Meter {
        let mut taken = self.taken();
        let id = taken.next;
        taken.next += 1;
        taken.tenants.entry(tenant).or_default().streams += 1;
        Meter(Arc::new(Stream { room: self.clone(), tenant, id, read: Mutex::default() }))
    }

    /// The counts are consistent at any moment, so a panic elsewhere does not make them wrong.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a change of a stream's bytes, and wakes the streams that may read after it.
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

/// The bytes of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    /// The bytes that its body passed on, of messages that the handler has not taken yet.
    parts: usize,
    /// The bytes of messages that were taken and are not answered yet.
    whole: usize,
}

impl Held {
    fn sum(self) -> usize {
        self.parts + self.whole
    }
}

/// Counts what a stream has read. Both its body and its handler have a clone. When the last clone is dropped, the
/// stream holds nothing.
#[derive(Clone)]
pub struct Meter(Arc<Stream>);

struct Stream {
    room: Room,
    tenant: Uuid,
    id: u64,
    read: Mutex<Read>,
}

/// What a stream has read so far.
#[derive(Default)]
struct Read {
    held: Held,
    /// The sizes of messages that began and were not taken, with their headers.
    sizes: VecDeque<usize>,
    header: Vec<u8>,
    /// The missing bytes of the current message.
    left: usize,
}

impl Read {
    /// Whether there is only a part of one message, which needs more bytes to be complete.
    fn is_amid(&self) -> bool {
        match self.sizes.len() {
            0 => !self.header.is_empty(),
            1 => self.left > 0,
            _ => false,
        }
    }
}

impl Meter {
    /// Whether the body may read more. Wakes the task when that may have changed.
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
        // Parts of messages are not answered, so they free nothing. A turn lasts until the message is complete, even
        // if other streams have complete messages by then.
        let may_take_turn = of_tenant.whole == 0 && of_tenant.turn.is_none();
        if is_amid && (may_take_turn || of_tenant.turn == Some(*id)) {
            of_tenant.turn = Some(*id);
            return Poll::Ready(());
        }
        of_tenant.waiting.insert(*id, context.waker().clone());
        Poll::Pending
    }

    /// Counts bytes that the body passes on.
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

    /// Sets how many bytes of the taken messages are not answered.
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
        // Its parts are gone, so this also ends its turn.
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
