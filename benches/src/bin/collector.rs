//! A collector that counts spans and keeps none: what traces are sent to while their cost is measured. Says where it listens,
//! and when it is asked to end (SIGTERM), how many have come.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

#[tonic::async_trait]
impl TraceService for Count {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans;
        let count = spans.iter().flat_map(|from| &from.scope_spans).map(|scope| scope.spans.len()).sum();
        self.0.fetch_add(count, Ordering::Relaxed);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut asked_to_end = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("http://{}", listener.local_addr()?);
    let count = Count::default();
    let over = async {
        asked_to_end.recv().await;
    };
    let server = Server::builder().add_service(TraceServiceServer::new(count.clone()));
    server.serve_with_incoming_shutdown(TcpIncoming::from(listener), over).await?;
    println!("{}", count.0.load(Ordering::Relaxed));
    Ok(())
}
