//! Closed sets: the only values of labels.
//!
//! A label with values from outside gets a series for every value that a client sends, until this process or
//! Prometheus runs out of memory. So every label is an enum here, or a name of the contract.

use std::ops::Index;

/// A closed set of label values.
pub trait Closed: Copy + 'static {
    /// The label's name.
    const LABEL: &'static str;
    /// All values.
    const ALL: &'static [Self];

    /// The value's text.
    fn word(self) -> &'static str;

    /// The index of the value in [`Closed::ALL`].
    fn place(self) -> usize;
}

/// One item for each value of a closed set. It is found by index, without a lookup by name.
#[derive(Debug)]
pub struct Each<E: Closed, M> {
    of: Box<[M]>,
    values: std::marker::PhantomData<fn(E)>,
}

impl<E: Closed, M> Each<E, M> {
    pub(super) fn new(of: impl Fn(E) -> M) -> Self {
        Self { of: E::ALL.iter().map(|value| of(*value)).collect(), values: std::marker::PhantomData }
    }
}

impl<E: Closed, M> Index<E> for Each<E, M> {
    type Output = M;

    fn index(&self, value: E) -> &M {
        &self.of[value.place()]
    }
}

macro_rules! closed {
    ($(#[$doc:meta])* $name:ident, $label:literal: $($(#[$of:meta])* $value:ident = $word:literal,)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $value,)+
        }

        impl Closed for $name {
            const LABEL: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}

closed! {
    /// What refuses a call or a connection. Named like its setting, without dashes, if there is one.
    Limit, "limit":
    /// Unary calls in flight.
    MaxCalls = "max_calls",
    /// Unary calls of a tenant in flight.
    MaxCallsPerTenant = "max_calls_per_tenant",
    /// Open streams.
    MaxStreams = "max_streams",
    /// Open streams of a tenant.
    MaxStreamsPerTenant = "max_streams_per_tenant",
    /// Calls of a tenant per second.
    TenantRate = "tenant_rate",
    /// Costly calls of a tenant that wait for their turn.
    MaxWaitingCallsPerTenant = "max_waiting_calls_per_tenant",
    /// How long a transaction waits for a connection to Postgres.
    DatabaseWait = "database_wait",
    /// Writes, while Postgres does not answer a COMMIT: it may wait for a synchronous standby that is lost.
    LateCommit = "late_commit",
    /// Topics of a tenant that wait to be committed apart.
    WaitingApart = "waiting_apart",
    /// The size of a call's metadata.
    Metadata = "metadata",
    /// Connections of clients.
    MaxConnections = "max_connections",
    /// Connections of clients from one address.
    MaxConnectionsPerPeer = "max_connections_per_peer",
}

closed! {
    /// The kinds by which calls in progress are counted.
    CallKind, "kind":
    /// Calls with one answer.
    Unary = "unary",
    /// Calls that stay open.
    Stream = "stream",
}

closed! {
    /// The state of a connection to Postgres.
    Use, "state":
    /// A transaction uses it.
    InUse = "in_use",
    /// It waits for work.
    Idle = "idle",
}

closed! {
    /// Where a read was done whose caller accepts slightly old data.
    ReadPlace, "place":
    /// At the standby.
    Standby = "standby",
    /// At the primary: the standby was away, too old for the caller, or failed.
    Primary = "primary",
}

closed! {
    /// A part of a batch that takes one round trip to Postgres.
    Flight, "flight":
    /// BEGIN, and the statements that read.
    Begin = "begin",
    /// Further statements in between, in a few batches.
    More = "more",
    /// The statements that write, and COMMIT.
    Commit = "commit",
    /// BEGIN, the statements, and COMMIT, in small batches.
    Only = "only",
}

closed! {
    /// Where items wait to be handled in a batch.
    Lane, "lane":
    /// Writes to messages.
    Messages = "messages",
    /// Customers that are looked up by id.
    Lookups = "lookups",
}

closed! {
    /// The outcome of a write to a message.
    Written, "effect":
    /// No effect: the same content was stored already.
    Repeated = "repeated",
    /// A message was added, whole or in progress.
    Added = "added",
    /// Text of a message in progress was stored.
    Extended = "extended",
    /// A message in progress was taken over by another stream, or restarted.
    Held = "held",
    /// A message in progress was closed.
    Closed = "closed",
    /// The write was refused, or failed.
    Failed = "failed",
}

closed! {
    /// Where a watch continues.
    WatchStart, "start":
    /// From now.
    Now = "now",
    /// After a sequence.
    Sequence = "sequence",
    /// From a token of an earlier watch.
    Resume = "resume",
}

closed! {
    /// The connection of this replica to the others.
    BusState, "state":
    /// It has not been connected yet.
    Connecting = "connecting",
    /// It can send to and hear the others.
    Connected = "connected",
    /// It has no connection.
    Lost = "lost",
    /// A pooler moves clients between sessions, so that no notification arrives. This is accepted, and is not a
    /// failure.
    Deaf = "deaf",
}

closed! {
    /// The direction of signals between replicas.
    Signals, "direction":
    /// To other replicas.
    Sent = "sent",
    /// From other replicas.
    Heard = "heard",
}

closed! {
    /// Why signals between replicas were lost.
    LostSignals, "cause":
    /// Too many waited to be sent.
    Unsent = "unsent",
    /// Too many were received and not processed.
    Untaken = "untaken",
    /// The signal was longer than a notification may be.
    TooLong = "too_long",
}

closed! {
    /// The kinds of cached values.
    CacheName, "cache":
    /// API keys, by their hashes.
    ApiKeys = "api_keys",
    /// Tokens that were verified.
    Tokens = "tokens",
    /// Client certificates that were read.
    Certificates = "certificates",
    /// The token counts of texts.
    TokenCounts = "token_counts",
}

closed! {
    /// The outcome of a lookup in a cache.
    Lookup, "outcome":
    /// The value was there.
    Hit = "hit",
    /// The value was not there.
    Miss = "miss",
}

closed! {
    /// The outcome of spans.
    SpanEnd, "end":
    /// The collector accepted them.
    Exported = "exported",
    /// The collector did not accept them.
    Failed = "failed",
    /// Too many waited to be sent.
    Dropped = "dropped",
}

closed! {
    /// The state of the service.
    State, "state":
    /// It does not serve yet.
    Starting = "starting",
    /// It serves.
    Ready = "ready",
    /// It serves, but there is a problem: see [`Cause`].
    Degraded = "degraded",
    /// Postgres does not answer, so no call is served.
    Unavailable = "unavailable",
    /// It ends: calls may finish, and new calls go to other replicas.
    Draining = "draining",
}

closed! {
    /// Why the service is degraded.
    Cause, "cause":
    /// Replicas do not hear each other.
    Bus = "bus",
    /// A batch takes longer than a second.
    Lane = "lane",
    /// Calls wait for a connection to Postgres, and all are in use.
    Pool = "pool",
    /// A commit waits for a standby that does not answer.
    Standby = "standby",
}
