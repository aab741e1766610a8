//! A server with one thread of its own, and what it takes of a processor.

use super::Outcome;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// By which its threads are found. Linux keeps 15 bytes of it.
    name: &'static str,
    runtime: Runtime,
}

impl Server {
    /// Serves on a free port by one thread of this name.
    pub(crate) fn start<F>(name: &'static str, serve: impl FnOnce(TcpListener) -> F) -> Outcome<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let serving = {
            let _entered = runtime.enter();
            serve(listener)
        };
        runtime.spawn(serving);
        Ok(Self { address, name, runtime })
    }

    /// What its threads have had of a processor so far, in seconds, the system's work for them with it.
    pub(crate) fn cpu_seconds(&self) -> Outcome<f64> {
        let mut sum = 0.0;
        for thread in std::fs::read_dir("/proc/self/task")? {
            let folder = thread?.path();
            if std::fs::read_to_string(folder.join("comm"))?.trim_end() == self.name {
                let told = std::fs::read_to_string(folder.join("schedstat"))?;
                sum += told.split_whitespace().next().ok_or("no such field")?.parse::<f64>()?;
            }
        }
        Ok(sum / 1e9)
    }

    /// Ends without waiting for requests.
    pub(crate) fn stop(self) {
        self.runtime.shutdown_background();
    }
}
