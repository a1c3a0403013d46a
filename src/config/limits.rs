//! Limits of connections and calls.

use std::time::Duration;

use clap::Args;

use super::milliseconds;

/// What clients may hold open.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits of connections")]
pub struct ConnectionLimits {
    /// Connections at once; one more is refused. One with an idle stream takes some 25 KB, and a file of the process.
    #[arg(long, env = "CRM_MAX_CONNECTIONS", default_value_t = 10_000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Connections at once from one address (from one network of 64 bits with IPv6), so that no machine
    /// takes them all. A proxy or NAT in front of the service is one address for many clients: hence a
    /// tenth of all, and not less.
    #[arg(long, env = "CRM_MAX_CONNECTIONS_PER_PEER", default_value_t = 1_000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_peer: u32,

    /// How long a client may take to the first words of HTTP/2, the TLS handshake included: it has
    /// connected because it has something to say.
    #[arg(long, env = "CRM_OPENING_MS", default_value = "5000", value_name = "MS", value_parser = milliseconds)]
    pub opening: Duration,

    /// How old a connection gets, give or take a tenth, before its client is asked to open another one,
    /// and with it finds replicas that are new. Calls and streams that are open go on until they end.
    #[arg(long, env = "CRM_MAX_CONNECTION_AGE_MS", default_value = "1800000", value_name = "MS", value_parser = milliseconds)]
    pub max_connection_age: Duration,

    /// Streams at once on one connection, so that one client cannot hold all memory.
    #[arg(long, env = "CRM_MAX_STREAMS_PER_CONNECTION", default_value_t = 256, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams_per_connection: u32,
}

/// What callers may have in flight. A tenant has a part of all, so that it does not stand in the way of
/// others.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits of calls")]
pub struct CallLimits {
    /// Unary calls in flight. What is above it would only wait for the database, and run into its
    /// deadline there.
    #[arg(long, env = "CRM_MAX_CALLS", default_value_t = 1_024, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls: u32,

    /// Unary calls of one tenant in flight.
    #[arg(long, env = "CRM_MAX_CALLS_PER_TENANT", default_value_t = 256, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls_per_tenant: u32,

    /// Calls at once that add up a tenant's rows, such as those of a dashboard; half of the cores of this
    /// machine when not said, and half of Postgres's are best. Batches, rankings and contexts may be four
    /// times as many. A tenant has half of them at most, and the others wait in turns.
    #[arg(long, env = "CRM_MAX_COSTLY_CALLS", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_costly_calls: Option<u32>,

    /// Calls of one tenant that may wait for such a place; of batches, rankings and contexts four times as
    /// many. A call of a dashboard takes tenths of a second, so that the last of these is answered within
    /// the deadline of a call that brings none.
    #[arg(long, env = "CRM_MAX_WAITING_CALLS_PER_TENANT", default_value_t = 64, value_name = "COUNT")]
    pub max_waiting_calls_per_tenant: u32,

    /// Streams that are open. An idle one takes some 10 KB.
    #[arg(long, env = "CRM_MAX_STREAMS", default_value_t = 32_768, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams: u32,

    /// Streams of one tenant that are open.
    #[arg(long, env = "CRM_MAX_STREAMS_PER_TENANT", default_value_t = 16_384, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams_per_tenant: u32,

    /// Bytes that streams have read and not answered. What is above it, HTTP/2 holds back. A message that is decoded
    /// takes some times its bytes: this many leave a machine of 4 GiB alone.
    #[arg(long, env = "CRM_MAX_STREAM_BYTES", default_value_t = 256 << 20, value_name = "BYTES")]
    pub max_stream_bytes: usize,

    /// Bytes that streams of one tenant have read and not answered: four tenants have to use all of theirs before
    /// others get slower.
    #[arg(long, env = "CRM_MAX_STREAM_BYTES_PER_TENANT", default_value_t = 64 << 20, value_name = "BYTES")]
    pub max_stream_bytes_per_tenant: usize,

    /// Calls of one tenant in a second, streams that it opens included and their messages not; 0 for any
    /// number. Off unless set: what a tenant may do is what was agreed with it, and what the machine can
    /// do is seen to by the limits of what is in flight.
    #[arg(long, env = "CRM_TENANT_RATE", default_value_t = 0, value_name = "CALLS")]
    pub tenant_rate: u32,

    /// Calls that a tenant may make at once, after it made none for a while; as many as --tenant-rate
    /// when not said.
    #[arg(long, env = "CRM_TENANT_BURST", value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..))]
    pub tenant_burst: Option<u32>,
}
