//! Counts calls by the stable conventions of OpenTelemetry for RPC, and by the two counters of
//! go-grpc-middleware that existing dashboards use.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use super::families::{self, Label};

/// The table that the build made from the protos.
mod generated {
    use super::{Kind, Rpc};

    include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));
}

/// The requests of agents (MCP): messages of JSON-RPC, whose tools make calls of the contract.
const AGENTS: Rpc = Rpc { name: "mcp", kind: Kind::Unary };

/// RPCs outside of the contract. The last entry stands for all unknown paths.
const FOREIGN: [Rpc; 6] = [
    Rpc { name: "grpc.health.v1.Health/Check", kind: Kind::Unary },
    Rpc { name: "grpc.health.v1.Health/Watch", kind: Kind::ServerStream },
    Rpc { name: "grpc.reflection.v1.ServerReflection/ServerReflectionInfo", kind: Kind::BidiStream },
    Rpc { name: "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kind: Kind::BidiStream },
    AGENTS,
    OTHER,
];

/// The single name for all unknown paths, as OpenTelemetry defines it.
const OTHER: Rpc = Rpc { name: "_OTHER", kind: Kind::Unary };

/// The codes in order, as OpenTelemetry and as Go write them.
const CODES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("CANCELLED", "Canceled"),
    ("UNKNOWN", "Unknown"),
    ("INVALID_ARGUMENT", "InvalidArgument"),
    ("DEADLINE_EXCEEDED", "DeadlineExceeded"),
    ("NOT_FOUND", "NotFound"),
    ("ALREADY_EXISTS", "AlreadyExists"),
    ("PERMISSION_DENIED", "PermissionDenied"),
    ("RESOURCE_EXHAUSTED", "ResourceExhausted"),
    ("FAILED_PRECONDITION", "FailedPrecondition"),
    ("ABORTED", "Aborted"),
    ("OUT_OF_RANGE", "OutOfRange"),
    ("UNIMPLEMENTED", "Unimplemented"),
    ("INTERNAL", "Internal"),
    ("UNAVAILABLE", "Unavailable"),
    ("DATA_LOSS", "DataLoss"),
    ("UNAUTHENTICATED", "Unauthenticated"),
];

/// How many messages a call has in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One request, one answer.
    Unary,
    /// Many requests, one answer.
    #[expect(dead_code, reason = "the contract has no RPC of this kind yet")]
    ClientStream,
    /// One request, many answers.
    ServerStream,
    /// Many requests, many answers.
    BidiStream,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ClientStream => "client_stream",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// An RPC, as series name it.
#[derive(Debug)]
struct Rpc {
    /// `package.Service/Method`.
    name: &'static str,
    kind: Kind,
}

/// The index of an RPC in the table, by which its counters are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Called(usize);

impl Called {
    /// Returns the RPC of a path outside of the contract.
    pub fn foreign(path: &str) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        let place = FOREIGN.iter().position(|rpc| rpc.name == name).unwrap_or(FOREIGN.len() - 1);
        Self(generated::RPCS.len() + place)
    }

    /// Returns the RPC of the contract with this index in the generated table.
    pub fn of_contract(place: usize) -> Self {
        Self(place.min(generated::RPCS.len()))
    }

    /// `package.Service/Method`, or `_OTHER`.
    pub fn name(self) -> &'static str {
        rpcs().nth(self.0).map_or(OTHER.name, |rpc| rpc.name)
    }

    /// Whether its calls are streams.
    pub fn is_stream(self) -> bool {
        rpcs().nth(self.0).is_some_and(|rpc| rpc.kind != Kind::Unary)
    }
}

/// All RPCs that series may name.
fn rpcs() -> impl Iterator<Item = &'static Rpc> {
    generated::RPCS.iter().chain(&FOREIGN)
}

/// Counts calls.
#[derive(Debug)]
pub struct Calls {
    rows: Box<[Row]>,
    handled: Family<[Label; 4], Counter>,
    durations: Family<[Label; 4], Histogram>,
}

/// The counters of an RPC.
#[derive(Debug)]
struct Row {
    rpc: &'static Rpc,
    started: Counter,
    /// By code. Created when a call first ends with the code: most codes never occur.
    ended: [OnceLock<(Counter, Histogram)>; CODES.len()],
}

impl Rpc {
    /// The system, as OpenTelemetry names it.
    fn system(&self) -> &'static str {
        if self.name == AGENTS.name { "jsonrpc" } else { "grpc" }
    }

    /// The labels of go-grpc-middleware.
    fn labels(&self) -> [Label; 3] {
        let (service, method) = self.name.split_once('/').unwrap_or((self.name, self.name));
        [("grpc_type", self.kind.word()), ("grpc_service", service), ("grpc_method", method)]
    }
}

impl Calls {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let started = Family::<[Label; 3], Counter>::default();
        let handled = Family::<[Label; 4], Counter>::default();
        let durations = Family::<[Label; 4], Histogram>::new_with_constructor(families::seconds);
        registry.register_with_unit(
            "rpc_server_call_duration",
            "How long calls took, from their metadata to the end of their answer",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("grpc_server_started", "Calls that began", started.clone());
        registry.register("grpc_server_handled", "Calls that ended, refused ones included", handled.clone());
        let row = |rpc: &'static Rpc| Row {
            rpc,
            started: started.get_or_create_owned(&rpc.labels()),
            ended: std::array::from_fn(|_| OnceLock::new()),
        };
        Self { rows: rpcs().map(row).collect(), handled, durations }
    }

    /// Counts the beginning of a call.
    pub fn began(&self, called: Called) {
        if let Some(row) = self.rows.get(called.0) {
            row.started.inc();
        }
    }

    /// Counts the end of a call.
    pub fn ended(&self, called: Called, code: Code, took: Duration) {
        let Some(row) = self.rows.get(called.0) else { return };
        let Some((ended, words)) = row.ended.get(code as usize).zip(CODES.get(code as usize)) else { return };
        let (handled, duration) = ended.get_or_init(|| self.series(row.rpc, *words));
        handled.inc();
        duration.observe(took.as_secs_f64());
    }

    fn series(
        &self,
        rpc: &'static Rpc,
        (code, go_code): (&'static str, &'static str),
    ) -> (Counter, Histogram) {
        let [kind, service, method] = rpc.labels();
        let handled = self.handled.get_or_create_owned(&[kind, service, method, ("grpc_code", go_code)]);
        let error = if code == "OK" { "" } else { code };
        let duration = self.durations.get_or_create_owned(&[
            ("rpc_system_name", rpc.system()),
            ("rpc_method", rpc.name),
            ("rpc_status_code", code),
            ("error_type", error),
        ]);
        (handled, duration)
    }
}

/// Returns a code as OpenTelemetry writes it.
pub fn code_word(code: Code) -> &'static str {
    CODES.get(code as usize).map_or("UNKNOWN", |(word, _)| word)
}
