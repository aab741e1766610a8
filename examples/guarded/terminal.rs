//! Where a server of an example listens, and when it ends, by whoever starts it in a terminal.

use std::error::Error;
use std::io::{Write as _, stdout};
use tokio::net::TcpListener;

/// A listener at the address of the first argument, which it tells.
pub(crate) async fn listen() -> Result<TcpListener, Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let listener = TcpListener::bind(address).await?;
    writeln!(stdout(), "listening  http://{}", listener.local_addr()?)?;
    Ok(listener)
}

/// Ends when Ctrl-C is pressed.
pub(crate) async fn interrupted() {
    // Without a signal handler the program still serves; it then ends without draining.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
