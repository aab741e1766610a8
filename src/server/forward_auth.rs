//! The endpoint that a proxy asks whether it may hand a request on. It answers with a status and, when the request
//! is permitted, with who it comes from.
//!
//! The proxy tells of the request that it holds in one of two ways (`told` decides which fact comes from where):
//! nginx, Caddy, Traefik and HAProxy ask at the endpoint's path and tell method and target in header fields; Envoy
//! appends the target to the path, and asks with the method itself.

mod identity;
mod told;

use super::access::Line;
use super::connection::ClientCertificate;
use super::gate::{Admitted, Gate, Halted, Head, Later, Origin, Refused};
use crate::front::reply::{self, Failure, Reply};
use crate::network::{Network, Networks, PEER_PREFIX_MIN};
use crate::path::{CanonicalPath, PathError};
use crate::policy::PolicySet;
use crate::time::Timestamp;
use http::{StatusCode, Uri, Version, request};
use std::net::IpAddr;
use std::sync::Arc;
use told::{Asked, Told, Untold};

/// The longest path of the endpoint, in bytes.
pub const FORWARD_AUTH_PATH_MAX_BYTES: usize = 256;
/// Clients act upon these: they would send another credential, or come back later.
const ACTED_UPON: [StatusCode; 3] =
    [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED, StatusCode::TOO_MANY_REQUESTS];

/// Where proxies ask about the requests that they hold, and which ones are believed.
///
/// ```
/// # use rolegate::server::{ForwardAuth, Networks};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let peers = Networks::new(vec!["10.0.7.0/24".parse()?, "::1".parse()?])?;
/// let forward_auth = ForwardAuth::new("/forward-auth", peers)?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    path: Box<str>,
    peers: Networks,
    malformed_status: StatusCode,
}

/// Why there cannot be such an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardAuthError {
    /// A path that could be read differently, or is too long.
    #[error("`{path}` is no path for the endpoint: {cause}")]
    Path {
        /// The path.
        path: Box<str>,
        /// Why not.
        cause: PathError,
    },
    /// A path in another spelling than the one that requests are compared in.
    #[error("`{path}` is no path for the endpoint; write it as `{canonical}`")]
    Spelling {
        /// The path.
        path: Box<str>,
        /// The same in canonical spelling.
        canonical: CanonicalPath,
    },
    /// A path under which everything would be, or one that ends with a slash.
    #[error("`{0}` is no path for the endpoint; it needs a name, and no slash at its end")]
    NoName(Box<str>),
    /// Longer than [`FORWARD_AUTH_PATH_MAX_BYTES`].
    #[error("the path of the endpoint has at most {FORWARD_AUTH_PATH_MAX_BYTES} bytes")]
    PathTooLong,
    /// Nobody who would be believed.
    #[error("no peers are listed, so that nobody could ask")]
    NoPeers,
    /// A network that is not one operator's.
    #[error(
        "`{0}` is too wide: every address of it is believed whatever it tells; list the proxies themselves, or networks of at least {PEER_PREFIX_MIN} bits"
    )]
    TooWide(Network),
    /// A status that is no refusal, or one that clients act upon.
    #[error("{0} is no status for malformed requests; take one from 400 to 499 other than 401, 407 and 429")]
    Status(StatusCode),
}

impl ForwardAuth {
    /// The status of malformed requests unless another one is chosen: nginx makes a 500 of every other one but 401.
    pub const MALFORMED_STATUS: StatusCode = StatusCode::FORBIDDEN;

    /// An endpoint at this path, and below it, for these peers. Nothing that begins with the path reaches a route.
    ///
    /// # Errors
    /// When the path can be read differently, or the peers are nobody or anybody.
    pub fn new(path: &str, peers: Networks) -> Result<Self, ForwardAuthError> {
        check_path(path)?;
        if peers.is_empty() {
            return Err(ForwardAuthError::NoPeers);
        }
        if let Some(network) = peers.iter().find(|network| network.prefix() < PEER_PREFIX_MIN) {
            return Err(ForwardAuthError::TooWide(*network));
        }
        Ok(Self { path: path.into(), peers, malformed_status: Self::MALFORMED_STATUS })
    }

    /// The same endpoint answering malformed requests with another status.
    ///
    /// # Errors
    /// When it is no refusal, or one that clients act upon.
    pub fn with_malformed_status(mut self, status: StatusCode) -> Result<Self, ForwardAuthError> {
        if !status.is_client_error() || ACTED_UPON.contains(&status) {
            return Err(ForwardAuthError::Status(status));
        }
        self.malformed_status = status;
        Ok(self)
    }

    /// Whether a target is the endpoint's: its path, and all that begins with it, since a proxy may append anything.
    pub(super) fn is_asked(&self, target: &Uri) -> bool {
        self.below(target).is_some()
    }

    /// Answers a proxy that asks about a request, or tells what has to be done before it is refused.
    pub(super) fn answer(
        &self,
        gate: &Gate,
        asked: request::Parts,
        has_body: bool,
        peer: IpAddr,
        (now, policies): (Timestamp, &Arc<PolicySet>),
        line: &mut Line,
    ) -> Result<Reply, Box<Later>> {
        // Whatever follows on a connection whose bodies nobody reads would be taken for a request.
        let end = |reply| if has_body { reply::closing(reply) } else { reply };
        if !self.peers.contains(peer) {
            gate.metrics.malformed();
            line.note(&"a peer that is not listed asked at the forward-auth endpoint");
            let strange = "this address is not listed among the peers of the forward-auth endpoint";
            return Ok(end(Failure::new(StatusCode::FORBIDDEN, strange).reply(&line.request_id, now)));
        }
        // Others may come without one. Who is believed has to prove that it is who it seems to be.
        if asked.extensions.get() == Some(&ClientCertificate::Missing) {
            gate.metrics.malformed();
            line.note(&"a peer without a client certificate asked at the forward-auth endpoint");
            let strange = "peers of the forward-auth endpoint need a client certificate";
            return Ok(end(Failure::new(StatusCode::FORBIDDEN, strange).reply(&line.request_id, now)));
        }
        let request::Parts { method, uri, mut headers, .. } = asked;
        let told = if has_body {
            Err(Untold::Body)
        } else {
            let appended = self.below(&uri).filter(|below| !below.is_empty() && !below.starts_with('?'));
            Told::take(Asked { method: &method, appended, authority: uri.authority() }, &mut headers)
        };
        let told = match told {
            Ok(told) => told,
            Err(untold) => {
                gate.metrics.malformed();
                line.note(&untold);
                let failure = Failure::new(self.malformed_status, untold.to_string());
                return Ok(end(failure.reply(&line.request_id, now)));
            }
        };
        line.told(&told.method);
        let head = Head {
            method: told.method,
            uri: &told.target,
            // Of its own version a proxy tells nothing, and every client of today names a host.
            version: Version::HTTP_11,
            headers,
            origin: Origin::Told { by: peer, client_ip: told.client_ip },
        };
        Ok(match gate.judge(head, now, policies, line) {
            Ok(Admitted { permit, .. }) => identity::reply(permit.principal(), &line.request_id)
                .unwrap_or_else(|| Failure::internal().reply(&line.request_id, now)),
            Err(Halted::Waits(later)) => return Err(later),
            Err(Halted::Refused(refused)) => match *refused {
                Refused::Decided(reply) => reply,
                Refused::Malformed(mut failure) => {
                    failure.status = self.malformed_status;
                    failure.reply(&line.request_id, now)
                }
            },
        })
    }

    /// What follows the path in a target, as it was sent.
    fn below<'a>(&self, target: &'a Uri) -> Option<&'a str> {
        target.path_and_query()?.as_str().strip_prefix(&*self.path)
    }
}

fn check_path(path: &str) -> Result<(), ForwardAuthError> {
    if path.len() > FORWARD_AUTH_PATH_MAX_BYTES {
        return Err(ForwardAuthError::PathTooLong);
    }
    let canonical =
        CanonicalPath::parse(path).map_err(|cause| ForwardAuthError::Path { path: path.into(), cause })?;
    if path.ends_with('/') {
        return Err(ForwardAuthError::NoName(path.into()));
    }
    if canonical.as_str() != path {
        return Err(ForwardAuthError::Spelling { path: path.into(), canonical });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(networks: &[&str]) -> Networks {
        Networks::new(networks.iter().map(|network| network.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn path_has_one_spelling_and_a_name() {
        let made = |path: &str| ForwardAuth::new(path, peers(&["10.0.0.1"])).map(|made| made.path);
        let longest = format!("/{}", "x".repeat(FORWARD_AUTH_PATH_MAX_BYTES - 1));
        for path in ["/forward-auth", "/a/b", &longest] {
            assert_eq!(made(path).as_deref(), Ok(path));
        }
        assert_eq!(made(&format!("{longest}x")), Err(ForwardAuthError::PathTooLong));
        for (path, hint) in [
            ("", "start with a slash"),
            ("auth", "start with a slash"),
            ("/", "needs a name"),
            ("/auth/", "no slash at its end"),
            ("/a//b", "an empty segment"),
            ("/a/../b", "dots alone"),
            ("/a?b", "must be encoded"),
            ("/%61uth", "write it as `/auth`"),
        ] {
            let wrong = made(path).unwrap_err().to_string();
            assert!(wrong.contains(hint), "{path}: {wrong}");
        }
    }

    #[test]
    fn peers_are_somebody_and_not_anybody() {
        let made = |networks: &[&str]| ForwardAuth::new("/auth", peers(networks)).map(|_| ());
        assert_eq!(made(&["10.0.0.0/8", "fd00::/8", "::1"]), Ok(()));
        assert_eq!(made(&[]), Err(ForwardAuthError::NoPeers));
        for wide in ["0.0.0.0/0", "::/0", "10.0.0.0/7", "128.0.0.0/1", "fc00::/7"] {
            let wrong = made(&["10.0.0.0/8", wide]).unwrap_err().to_string();
            assert!(wrong.starts_with(&format!("`{wide}` is too wide")), "{wrong}");
        }
    }

    #[test]
    fn status_of_malformed_requests_is_a_refusal_that_clients_leave_alone() {
        let made = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            let endpoint = ForwardAuth::new("/auth", peers(&["10.0.0.1"])).unwrap();
            endpoint.with_malformed_status(status).map(|made| made.malformed_status.as_u16())
        };
        for status in [400, 403, 404, 499] {
            assert_eq!(made(status), Ok(status));
        }
        for status in [200, 302, 399, 401, 407, 429, 500] {
            assert_eq!(made(status), Err(ForwardAuthError::Status(StatusCode::from_u16(status).unwrap())));
        }
    }
}
