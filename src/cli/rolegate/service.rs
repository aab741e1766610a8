//! What a service manager is told: systemd, or another one that reads the same socket. Without one, nothing is sent.

use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::time::Duration;

/// The server answers.
pub(super) fn ready(address: SocketAddr) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {address}"))]);
}

/// Policies are loaded anew; [`reloaded`] comes next.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => untold(&error),
    }
}

/// The reload has ended, with whatever outcome: the last good policies decide.
pub(super) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The server finishes what is running, and ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("running requests finish")]);
}

/// Says that the server lives, twice as often as the manager asks for it; never ends. It runs among the requests, so that
/// a server that answers none says nothing either, and is started anew.
pub(super) async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| *limit >= Duration::from_millis(2)) else {
        return std::future::pending().await;
    };
    let mut beats = tokio::time::interval(limit / 2);
    loop {
        beats.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        untold(&error);
    }
}

/// A manager that does not listen is no reason to refuse requests.
fn untold(error: &std::io::Error) {
    tracing::warn!(%error, "the service manager cannot be told how the server is");
}
