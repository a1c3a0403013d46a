//! Limits of connections and calls.

use std::time::Duration;

use clap::Args;

use super::milliseconds;

/// What clients may hold open.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits of connections")]
pub struct ConnectionLimits {
    /// Connections at the same time; one more is refused. One with an idle stream takes some 25 KB and a file of the
    /// process.
    #[arg(long, env = "CRM_MAX_CONNECTIONS", default_value_t = 10_000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Connections at the same time from one address (with IPv6, from one network of 64 bits), so that no machine
    /// takes them all. A proxy or NAT in front of the service is one address for many clients: hence a tenth of all,
    /// and not less.
    #[arg(long, env = "CRM_MAX_CONNECTIONS_PER_PEER", default_value_t = 1_000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections_per_peer: u32,

    /// How long a client may take until it begins to speak HTTP, the TLS handshake included: a client connects
    /// because it wants to call.
    #[arg(long, env = "CRM_OPENING_MS", default_value = "5000", value_name = "MS", value_parser = milliseconds)]
    pub opening: Duration,

    /// Age of a connection, give or take a tenth, at which its client is asked to open a new one, which may reach a
    /// new replica. Open calls and streams continue until they end.
    #[arg(long, env = "CRM_MAX_CONNECTION_AGE_MS", default_value = "1800000", value_name = "MS", value_parser = milliseconds)]
    pub max_connection_age: Duration,

    /// How long a connection of HTTP/1 may wait for a request, and a request for the rest of its headers. Longer than
    /// proxies keep a connection (60 s), so that none sends a request just when it ends. HTTP/2 has pings instead.
    #[arg(long, env = "CRM_HTTP1_IDLE_MS", default_value = "75000", value_name = "MS", value_parser = milliseconds)]
    pub http1_idle: Duration,

    /// How long a client of HTTP/1 may take nothing of what was sent, or be out of reach: HTTP/1 has no pings. A client
    /// that reads slowly takes something within this time. (Linux; other systems have limits of their own.)
    #[arg(long, env = "CRM_HTTP1_STALL_MS", default_value = "60000", value_name = "MS", value_parser = milliseconds)]
    pub http1_stall: Duration,

    /// How long a stream of events (SSE) is silent at most: then it has a comment. Less than the minute after which
    /// proxies give a connection up.
    #[arg(long, env = "CRM_SSE_KEEP_ALIVE_MS", default_value = "20000", value_name = "MS", value_parser = milliseconds)]
    pub sse_keep_alive: Duration,

    /// Streams at the same time on one connection, so that one client cannot use up the memory.
    #[arg(long, env = "CRM_MAX_STREAMS_PER_CONNECTION", default_value_t = 256, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams_per_connection: u32,
}

/// What callers may have in progress. A tenant has a part of the whole, so that it does not block others.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits of calls")]
pub struct CallLimits {
    /// Unary calls in progress. More would only wait for the database, and reach their deadline there.
    #[arg(long, env = "CRM_MAX_CALLS", default_value_t = 1_024, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls: u32,

    /// Unary calls of one tenant in progress.
    #[arg(long, env = "CRM_MAX_CALLS_PER_TENANT", default_value_t = 256, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_calls_per_tenant: u32,

    /// Calls at the same time that sum a tenant's rows, such as those of a dashboard; by default half of this
    /// machine's cores. Half of Postgres's cores is best. For batches, rankings and contexts it is four times as
    /// many. A tenant has at most half of them, and further calls wait in turns.
    #[arg(long, env = "CRM_MAX_COSTLY_CALLS", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_costly_calls: Option<u32>,

    /// Calls of one tenant that may wait for such a place; for batches, rankings and contexts four times as many. A
    /// dashboard call takes tenths of a second, so the last of these is answered within the default deadline.
    #[arg(long, env = "CRM_MAX_WAITING_CALLS_PER_TENANT", default_value_t = 64, value_name = "COUNT")]
    pub max_waiting_calls_per_tenant: u32,

    /// Open streams. An idle one takes some 10 KB.
    #[arg(long, env = "CRM_MAX_STREAMS", default_value_t = 32_768, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams: u32,

    /// Open streams of one tenant.
    #[arg(long, env = "CRM_MAX_STREAMS_PER_TENANT", default_value_t = 16_384, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams_per_tenant: u32,

    /// Bytes that streams have read and not answered. HTTP/2 holds back the rest. A decoded message takes several
    /// times its bytes: this default fits into a machine of 4 GiB.
    #[arg(long, env = "CRM_MAX_STREAM_BYTES", default_value_t = 256 << 20, value_name = "BYTES")]
    pub max_stream_bytes: usize,

    /// Bytes that streams of one tenant have read and not answered: four tenants must use all of theirs before others
    /// become slower.
    #[arg(long, env = "CRM_MAX_STREAM_BYTES_PER_TENANT", default_value_t = 64 << 20, value_name = "BYTES")]
    pub max_stream_bytes_per_tenant: usize,

    /// Calls of one tenant per second, including streams that it opens but not their messages; 0 for no limit. Off by
    /// default: a tenant's rate depends on what was agreed with it, and the limits of calls in progress protect the
    /// machine.
    #[arg(long, env = "CRM_TENANT_RATE", default_value_t = 0, value_name = "CALLS")]
    pub tenant_rate: u32,

    /// Calls that a tenant may make at once after a pause; by default the same as --tenant-rate.
    #[arg(long, env = "CRM_TENANT_BURST", value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..))]
    pub tenant_burst: Option<u32>,
}
