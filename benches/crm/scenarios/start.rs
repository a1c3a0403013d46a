//! The start of the service on a database that has all its tables, and whose caches are warm.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crm_testkit::meter;
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::measure::milliseconds;
use crate::report::{self, Figure, Measured};
use crate::service::{self, Service};
use crate::stage::Stage;
use crate::{NotAvailable, Result, client};

/// The starts of a round: each takes little time.
const STARTS: u32 = 2;

/// The time between the two readings of the memory.
const REST: Duration = Duration::from_secs(1);

/// How long the service may take until it says that it serves.
const LIMIT: Duration = Duration::from_secs(10);

/// The bytes of a megabyte and of a mebibyte.
const MB: f64 = 1e6;
const MIB: f64 = 1_048_576.0;

/// `start`, `start_memory` and `binary_size`.
pub(crate) async fn measure(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    stage.settle().await?;
    let (mut starts, mut first, mut later) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..stage.options.rounds * STARTS {
        let started = Started::measure(stage).await?;
        starts.push(started.milliseconds);
        first.push(started.memory);
        later.push(started.memory_later);
    }
    let (first, later) = (Figure::of(&first)?, Figure::of(&later)?);
    eprintln!("memory: {:.1} MiB once it serves, {:.1} MiB after a second", first.value, later.value);
    Ok(vec![
        Measured::rounds("start", &starts)?,
        Measured::new("start_memory", later),
        Measured::new("binary_size", Figure::once(binary_size()?)),
    ])
}

/// A start of the service.
struct Started {
    /// From before its process is made until it takes a connection.
    milliseconds: f64,
    /// The resident memory in MiB, once it says that it serves, and after [`REST`].
    memory: f64,
    memory_later: f64,
}

impl Started {
    async fn measure(stage: &Stage<'_>) -> Result<Self> {
        let began = Instant::now();
        let service = Service::start(stage.database, &stage.options.auth)?;
        let address = service.address().await?;
        drop(TcpStream::connect(address).await?);
        let milliseconds = milliseconds(began.elapsed());
        let channel = client::channel(address).await?;
        tokio::time::timeout(LIMIT, serving(HealthClient::new(channel))).await??;
        let memory = memory(&service)?;
        tokio::time::sleep(REST).await;
        let memory_later = self::memory(&service)?;
        service.stop().await?;
        Ok(Self { milliseconds, memory, memory_later })
    }
}

/// Waits until the service says that it serves.
async fn serving(mut health: HealthClient<tonic::transport::Channel>) -> Result<()> {
    loop {
        let answer = health.check(HealthCheckRequest::default()).await?.into_inner();
        if answer.status() == ServingStatus::Serving {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns the resident memory in MiB.
fn memory(service: &Service) -> Result<f64> {
    let bytes =
        meter::memory(service.pid()).ok_or_else(|| NotAvailable("memory is read from /proc".to_owned()))?;
    Ok(bytes as f64 / MIB)
}

/// Returns the megabytes of the program that is shipped, if it was built, and otherwise of the one that is measured.
fn binary_size() -> Result<f64> {
    let shipped = report::target()?.join("dist").join("crm-backend");
    let path = if shipped.is_file() { shipped } else { PathBuf::from(service::PROGRAM) };
    eprintln!("binary_size is of {}", path.display());
    Ok(std::fs::metadata(path)?.len() as f64 / MB)
}
