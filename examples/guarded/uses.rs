//! Writing down the uses of tokens, which layer and filters count in memory alone.

use rolegate::Engine;
use std::io::{Write as _, stderr};
use std::sync::Arc;
use std::time::Duration;

/// How often they are written down. What was not written when the program dies is lost.
const WRITTEN_EVERY: Duration = Duration::from_secs(30);

/// Writes them down for ever. It may wait for a disk, and so it has a thread for itself.
pub(crate) async fn write_uses(engine: Arc<Engine>) {
    let mut every = tokio::time::interval(WRITTEN_EVERY);
    loop {
        every.tick().await;
        let engine = Arc::clone(&engine);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || engine.flush_uses()).await {
            let _nobody_reads_it = writeln!(stderr(), "uses wait on: {error}");
        }
    }
}
