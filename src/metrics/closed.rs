//! Closed sets: the only values that labels have.
//!
//! A label whose values come from outside has as many series as somebody sends values, until neither this
//! process nor Prometheus has memory left. So a label is an enum here, or a name of the contract.

use std::ops::Index;

/// A closed set of label values.
pub trait Closed: Copy + 'static {
    /// The label.
    const LABEL: &'static str;
    /// All values.
    const ALL: &'static [Self];

    /// How the value is written.
    fn word(self) -> &'static str;

    /// The place of the value in [`Closed::ALL`].
    fn place(self) -> usize;
}

/// What there is of each value of a closed set. It is found by its place: nothing is looked up by name.
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
    /// What refuses a call or a connection. Named like the setting, without dashes, where there is one.
    Limit, "limit":
    /// Unary calls in flight.
    MaxCalls = "max_calls",
    /// Unary calls of a tenant in flight.
    MaxCallsPerTenant = "max_calls_per_tenant",
    /// Open streams.
    MaxStreams = "max_streams",
    /// Open streams of a tenant.
    MaxStreamsPerTenant = "max_streams_per_tenant",
    /// Calls of a tenant in a second.
    TenantRate = "tenant_rate",
    /// Calls of a tenant that are much work and wait for their turn.
    MaxWaitingCallsPerTenant = "max_waiting_calls_per_tenant",
    /// How long a transaction waits for a connection to Postgres.
    DatabaseWait = "database_wait",
    /// Writes, while Postgres does not answer a COMMIT: it may wait for a synchronous standby that is lost.
    LateCommit = "late_commit",
    /// Topics of a tenant that wait to be committed apart.
    WaitingApart = "waiting_apart",
    /// Metadata of a call.
    Metadata = "metadata",
    /// Connections of clients.
    MaxConnections = "max_connections",
    /// Connections of clients from one address.
    MaxConnectionsPerPeer = "max_connections_per_peer",
}

closed! {
    /// What calls in flight are counted as.
    CallKind, "kind":
    /// Calls with one answer.
    Unary = "unary",
    /// Calls that stay open.
    Stream = "stream",
}

closed! {
    /// What a connection to Postgres does.
    Use, "state":
    /// Some work has it.
    InUse = "in_use",
    /// It waits for work.
    Idle = "idle",
}

closed! {
    /// Where a read was done whose caller allows what is a little old.
    ReadPlace, "place":
    /// At the standby.
    Standby = "standby",
    /// At the primary: the standby was away, too old for the caller, or failed.
    Primary = "primary",
}

closed! {
    /// A part of a batch that goes to Postgres and back at once.
    Flight, "flight":
    /// BEGIN, and the statements that read.
    Begin = "begin",
    /// What is asked in between, in a few batches.
    More = "more",
    /// The statements that write, and COMMIT.
    Commit = "commit",
}

closed! {
    /// Where items wait to go together.
    Lane, "lane":
    /// Writes to messages.
    Messages = "messages",
    /// Customers that are looked up by id.
    Lookups = "lookups",
}

closed! {
    /// What became of a write to a message.
    Written, "effect":
    /// Nothing: it was there already.
    Repeated = "repeated",
    /// A message was added, whole or in progress.
    Added = "added",
    /// Text of a message in progress was stored.
    Extended = "extended",
    /// A message in progress was taken over by another stream, or begins anew.
    Held = "held",
    /// A message in progress was closed.
    Closed = "closed",
    /// The write was refused, or failed.
    Failed = "failed",
}

closed! {
    /// From where a watch goes on.
    WatchStart, "start":
    /// From now.
    Now = "now",
    /// After a sequence.
    Sequence = "sequence",
    /// From a token of an earlier watch.
    Resume = "resume",
}

closed! {
    /// How this replica stands to the others.
    BusState, "state":
    /// It has not been connected yet.
    Connecting = "connecting",
    /// It hears them and is heard.
    Connected = "connected",
    /// It has no connection.
    Lost = "lost",
    /// A pooler hands sessions around, so that nobody is heard: it is left at that, and no illness.
    Deaf = "deaf",
}

closed! {
    /// Which way signals between replicas went.
    Signals, "direction":
    /// To others.
    Sent = "sent",
    /// From others.
    Heard = "heard",
}

closed! {
    /// Why signals between replicas were lost.
    LostSignals, "cause":
    /// Too many waited to be sent.
    Unsent = "unsent",
    /// Too many were heard and waited to be taken.
    Untaken = "untaken",
    /// Longer than a notification may be.
    TooLong = "too_long",
}

closed! {
    /// What is remembered.
    CacheName, "cache":
    /// API keys, by their hashes.
    ApiKeys = "api_keys",
    /// Tokens that were verified.
    Tokens = "tokens",
    /// Client certificates that were read.
    Certificates = "certificates",
    /// How long texts are for a model.
    TokenCounts = "token_counts",
}

closed! {
    /// What became of a look into a cache.
    Lookup, "outcome":
    /// It was there.
    Hit = "hit",
    /// It was not.
    Miss = "miss",
}

closed! {
    /// What became of spans.
    SpanEnd, "end":
    /// The collector took them.
    Exported = "exported",
    /// The collector did not take them.
    Failed = "failed",
    /// Too many waited to be sent.
    Dropped = "dropped",
}

closed! {
    /// How the service is.
    State, "state":
    /// It does not serve yet.
    Starting = "starting",
    /// It serves.
    Ready = "ready",
    /// It serves, but something is not as it must be: see [`Cause`].
    Degraded = "degraded",
    /// Postgres does not answer, so nobody is served.
    Unavailable = "unavailable",
    /// It ends: calls may finish, and new ones go elsewhere.
    Draining = "draining",
}

closed! {
    /// Why the service is degraded.
    Cause, "cause":
    /// Replicas do not hear each other.
    Bus = "bus",
    /// A batch takes longer than a second.
    Lane = "lane",
    /// Calls wait for a connection to Postgres, all of which are in use.
    Pool = "pool",
    /// A commit waits for a standby that does not answer.
    Standby = "standby",
}
