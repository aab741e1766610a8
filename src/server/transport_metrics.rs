//! How connections begin, counted.

use super::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// What became of the start of a connection, where it takes more than its first request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opening {
    /// It speaks HTTP.
    Done,
    /// It began with no TLS, or with none that we speak, or without a certificate that was asked for.
    Tls,
    /// Its header of the PROXY protocol is missing or malformed.
    Proxy,
    /// It took too long.
    Late,
}

/// Counters of how connections begin.
#[derive(Clone, Debug, Default)]
pub(super) struct TransportMetrics {
    openings: Family<[(&'static str, &'static str); 1], Counter>,
}

impl TransportMetrics {
    /// The counters, from now on part of these metrics.
    pub(super) fn within(metrics: &Metrics) -> Self {
        let own = Self::default();
        for opening in [Opening::Done, Opening::Tls, Opening::Proxy, Opening::Late] {
            drop(own.openings.get_or_create(&[("outcome", opening.name())]));
        }
        metrics.register(|registry| {
            let help = "Connections with TLS or the PROXY protocol, by what became of their start";
            registry.register("handshakes", help, own.openings.clone());
        });
        own
    }

    /// Counts one.
    pub(super) fn count(&self, opening: Opening) {
        self.openings.get_or_create(&[("outcome", opening.name())]).inc();
    }
}

impl Opening {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Tls => "tls_failed",
            Self::Proxy => "proxy_header_refused",
            Self::Late => "late",
        }
    }
}
