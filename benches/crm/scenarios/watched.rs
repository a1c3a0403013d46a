//! The cost of observation: a replica whose metrics are scraped, and one that sends a span of each call to a
//! collector, each compared with a replica without either.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::beside::Beside;
use super::{append, reads};
use crate::Result;
use crate::client::Server;
use crate::report::Measured;
use crate::service::Service;
use crate::stage::Stage;

/// The time between two scrapes: fifteen times as often as Prometheus does it by default.
const SCRAPED_EVERY: Duration = Duration::from_secs(1);

/// The service's output before the address of its metrics.
const METRICS: &str = "  metrics    http://";

/// `metered_append` and `metered_get_customer`.
pub(crate) async fn metered(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let arguments = ["--metrics-listen", "127.0.0.1:0"];
    let service = Service::start_with(stage.database, &stage.options.auth, &arguments)?;
    let server = Server::usual(service.address().await?);
    let place = service.says(METRICS).await?;
    let address: SocketAddr = place.strip_suffix("/metrics").ok_or("an odd address of metrics")?.parse()?;
    let mut scrapes = JoinSet::new();
    scrapes.spawn(scrape(address));
    compare(stage, Beside { service, server }, ["metered_append", "metered_get_customer"]).await
}

/// `traced_append` and `traced_get_customer`: every call has a span.
pub(crate) async fn traced(stage: &Stage<'_>) -> Result<Vec<Measured>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let mut collector = JoinSet::new();
    let serve = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector));
    collector.spawn(serve.serve_with_incoming(TcpIncoming::from(listener)));
    let arguments = ["--otlp-endpoint", &endpoint];
    let service = Service::start_with(stage.database, &stage.options.auth, &arguments)?;
    let server = Server::usual(service.address().await?);
    compare(stage, Beside { service, server }, ["traced_append", "traced_get_customer"]).await
}

async fn compare(
    stage: &Stage<'_>,
    watched: Beside,
    [append, get_customer]: [&'static str; 2],
) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    if stage.options.wants(append) {
        let conversations = append::conversations(stage);
        let load = async |server: &Server| {
            append::appending(stage, server.address, &conversations).await.map(|(load, _)| load)
        };
        measured.push(watched.compare(stage, append, load).await?);
    }
    if stage.options.wants(get_customer) {
        let shares = stage.shelf.customers(stage).await?;
        let load = async |server: &Server| reads::getting(server, &shares).await;
        measured.push(watched.compare(stage, get_customer, load).await?);
    }
    watched.stop().await?;
    Ok(measured)
}

/// Scrapes until it is dropped, or the service refuses the connection.
async fn scrape(address: SocketAddr) -> std::io::Result<()> {
    loop {
        let mut tcp = TcpStream::connect(address).await?;
        tcp.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
        tcp.read_to_end(&mut Vec::new()).await?;
        tokio::time::sleep(SCRAPED_EVERY).await;
    }
}

/// A collector that accepts everything and stores nothing.
struct Collector;

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> std::result::Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
