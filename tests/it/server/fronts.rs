//! The layer and the filters before the same upstream that stands behind the server, on hyper alone.

use super::client::PATIENCE;
use super::world::{Told, World, upstream};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rolegate::engine::{Engine, Permit};
use rolegate::filters::{self, Filters};
use rolegate::path::TARGET_MAX_BYTES;
use rolegate::server::Limits;
use rolegate::tower::GuardLayer;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{Layer as _, Service};
use warp::Filter as _;

/// What stands before the routes instead of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    Layer,
    Filters,
}

impl World {
    /// This front around this engine.
    pub(super) fn start_before(engine: Engine, front: Front) -> Self {
        let engine = Arc::new(engine);
        Self::start_serving("127.0.0.1:0", move |listener, record, clock, told| async move {
            let observer = Arc::clone(&record) as _;
            match front {
                Front::Layer => {
                    let layer = GuardLayer::before_routing(engine).with_clock(clock).with_observer(observer);
                    let routes = warp::service(upstream(record, warp::ext::get::<Permit>()));
                    serve(listener, layer.layer(routes), told).await;
                }
                Front::Filters => {
                    let filters = Filters::new(engine).with_clock(clock).with_observer(observer);
                    let routes = upstream(record, filters.permitted()).recover(filters::answer);
                    serve(listener, warp::service(routes), told).await;
                }
            }
        })
    }
}

/// Serves as the server does, as far as hyper knows its limits.
async fn serve<S, B>(listener: TcpListener, service: S, mut told: Told)
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: hyper::body::Body<Data = hyper::body::Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = &mut told => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let head_bytes = Limits::HEADER_MAX_BYTES + TARGET_MAX_BYTES + 1024;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_header_size(head_bytes)
            .max_buf_size(64 * 1024)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone()));
        connections.spawn(connection);
    }
}
