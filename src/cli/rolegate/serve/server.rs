//! The server, as the configuration has it.

use super::super::shadow::ShadowLoader;
use super::super::tls::TlsLoader;
use super::Failure;
use crate::config::Config;
use crate::server::{
    DecisionLog, FailedAuthentications, ForwardAuth, ForwardAuthError, Limits, Metrics, Server,
};
use http::StatusCode;
use std::io;
use std::sync::Arc;

/// The same server as the configuration has it.
pub(super) fn set_up(server: Server, config: &Config) -> Result<Server, Failure> {
    let mut server =
        server.with_limits(limits(&config.limits)).with_version_header(config.policy_version_header.value);
    if let Some(url) = &config.public_url {
        server = server.with_public_url(url.value.clone());
    }
    if let Some(said) = &config.forward_auth {
        server = server
            .with_forward_auth(forward_auth(said).map_err(|error| Failure::System(io::Error::other(error)))?);
    }
    Ok(server)
}

/// How connections begin, as the configuration has it.
pub(super) fn with_transport(server: Server, config: &Config, tls: Option<&TlsLoader>) -> Server {
    let server = server
        .with_cleartext_http2(config.http2.value == "always")
        .with_proxy_protocol(config.proxy_protocol.clone());
    match tls {
        Some(loader) => server.with_tls(Arc::clone(loader.tls())),
        None => server,
    }
}

/// Whoever is told of every decision.
pub(super) fn with_observers(
    mut server: Server,
    shadow: Option<&ShadowLoader>,
    decision_log: Option<&DecisionLog>,
    metrics: &Metrics,
) -> Server {
    if let Some(loader) = shadow {
        loader.shadow().count_in(metrics);
        server = server.with_shadow(Arc::clone(loader.shadow()));
    }
    if let Some(log) = decision_log {
        log.count_in(metrics);
        server = server.with_observer(Arc::new(log.clone()));
    }
    server
}

fn forward_auth(said: &crate::config::ForwardAuth) -> Result<ForwardAuth, ForwardAuthError> {
    let endpoint = ForwardAuth::new(&said.path, said.peers.clone())?;
    endpoint
        .with_malformed_status(StatusCode::from_u16(said.malformed_status).unwrap_or(StatusCode::FORBIDDEN))
}

fn limits(said: &crate::config::Limits) -> Limits {
    Limits {
        connections: said.connections,
        streams: said.streams,
        header_fields: said.header_fields,
        header_bytes: said.header_bytes,
        body_bytes: said.body_bytes,
        handshake_timeout: said.handshake_timeout,
        header_read_timeout: said.header_read_timeout,
        body_read_timeout: said.body_read_timeout,
        request_timeout: said.request_timeout,
        write_timeout: said.write_timeout,
        drain_timeout: said.drain_timeout,
        linger_timeout: said.linger_timeout,
        failed_authentications: said
            .failed_authentications
            .map(|said| FailedAuthentications { burst: said.burst, per_minute: said.per_minute }),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Input, Variables, load, read};
    use crate::server::Limits;

    #[test]
    fn limits_that_nobody_says_are_those_of_the_server() {
        let (files, variables) = (["config/rolegate.yaml".into()], Variables::default());
        let config = load(&Input { files: &files, variables: &variables, flags: &[], read: &read }).unwrap();
        assert_eq!(super::limits(&config.limits), Limits::default());
    }
}
