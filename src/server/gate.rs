//! The gate that every request passes, be it for a route of this server or told by a proxy: it is read in one
//! spelling, decided by the engine, and counted, logged and recorded, whatever becomes of it.

use super::access::Line;
use super::attempts::{Attempt, Attempts, Client, TooMany};
use super::metrics::Metrics;
use crate::engine::{Answer, Engine, Forbidden, Permit};
use crate::front::reply::{self, Failure, Reply};
use crate::front::{HeaderLimits, Observe, explain};
use crate::policy::PolicySet;
use crate::request::{Malformed, Request};
use crate::time::Timestamp;
use crate::tokens::Unauthenticated;
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How often an answer with 429 lets others go first. It costs nothing while there are none.
const TURNS_GIVEN: usize = 16;

/// What decides on requests, with all that is told of a decision.
pub(super) struct Gate {
    pub(super) engine: Arc<Engine>,
    pub(super) header_limits: HeaderLimits,
    pub(super) attempts: Attempts,
    pub(super) observers: Vec<Arc<dyn Observe>>,
    pub(super) metrics: Arc<Metrics>,
    /// Which paths are those of the program's own administration, where a denial has an entry in the audit log.
    pub(super) is_admin: fn(&str) -> bool,
    /// Room for denials that wait for the audit log.
    pub(super) denials: Arc<Semaphore>,
    /// How long a denial waits for the audit log.
    pub(super) record_timeout: Duration,
}

/// A request without its body.
pub(super) struct Head<'a> {
    pub(super) method: Method,
    pub(super) uri: &'a Uri,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) origin: Origin,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// From the other end of the connection.
    Peer(IpAddr),
    /// From a client of a proxy that asks about it. It never reaches a route of this server.
    Told { by: IpAddr, client_ip: Option<IpAddr> },
}

/// A request that is permitted.
pub(super) struct Admitted {
    pub(super) request: Request,
    pub(super) permit: Permit,
}

/// What becomes of a request that is not permitted.
pub(super) enum Halted {
    Refused(Box<Refused>),
    /// Something has to be done before it is refused, which takes time.
    Waits(Box<Later>),
}

/// What has to be done before a refusal.
pub(super) enum Later {
    /// Others go first.
    GiveTurns(Reply),
    /// The denial goes into the audit log.
    Record { denied: Forbidden, request: Request, reply: Reply },
}

/// What a request is answered with instead.
pub(super) enum Refused {
    /// It can be read in two ways, and no policy saw it.
    Malformed(Failure),
    /// It was decided.
    Decided(Reply),
}

impl From<Refused> for Halted {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

impl From<Later> for Halted {
    fn from(later: Later) -> Self {
        Self::Waits(Box::new(later))
    }
}

impl Gate {
    /// Decides on a request by these policies, without waiting for anything: most requests are permitted, and those that
    /// are not mostly at once.
    pub(super) fn judge(
        &self,
        head: Head<'_>,
        now: Timestamp,
        policies: &Arc<PolicySet>,
        line: &mut Line,
    ) -> Result<Admitted, Halted> {
        let Head { method, uri, version, headers, origin } = head;
        if let Err(limit) = self.header_limits.check(&headers) {
            line.note(&limit);
            self.metrics.malformed();
            return Err(Refused::Malformed(limit.into()).into());
        }
        let request = match Request::read(method, uri, version, headers, origin.client_ip()) {
            Ok(request) => request.with_id(Arc::clone(&line.request_id)),
            Err(cause) => return Err(self.malformed(cause, line).into()),
        };
        line.path = Some(request.path().clone());
        let answer = self.engine.check_by(policies, &request, now);
        self.metrics.decided(&answer, policies);
        line.decided(&answer, policies);
        if let Some(refused) = self.count_failure(&answer, origin.counted(), line) {
            return Err(Later::GiveTurns(reply::too_many(refused.retry_after)).into());
        }
        self.observe(|observer| observer.decided(&request, &answer, policies));
        match answer {
            Answer::Permitted(permit) => Ok(Admitted { request, permit }),
            Answer::Unauthenticated(_) => Err(Refused::Decided(reply::unauthenticated()).into()),
            Answer::Forbidden(denied) => {
                let reply = explain(&request, &denied, policies).reply(&denied.id.to_string(), now);
                Err(if origin.is_ours() && (self.is_admin)(request.path().as_str()) {
                    Later::Record { denied, request, reply }.into()
                } else {
                    Refused::Decided(reply).into()
                })
            }
        }
    }

    /// Does what has to be done before a refusal.
    pub(super) async fn finish(&self, later: Later, now: Timestamp, line: &mut Line) -> Refused {
        Refused::Decided(match later {
            Later::GiveTurns(reply) => {
                // A pause would hold connections that others wait for; giving turns away slows a flood alone.
                for _ in 0..TURNS_GIVEN {
                    tokio::task::yield_now().await;
                }
                reply
            }
            Later::Record { denied, request, reply } => match self.record(denied, request, now).await {
                Ok(()) => reply,
                Err(late) => {
                    line.note(&late.message);
                    late.reply(&line.request_id, now)
                }
            },
        })
    }

    /// Takes note that a request can be read in two ways.
    pub(super) fn malformed(&self, cause: Malformed, line: &mut Line) -> Refused {
        line.note(&cause);
        self.metrics.malformed();
        self.observe(|observer| observer.refused(&cause));
        Refused::Malformed(cause.into())
    }

    /// Counts the request when its credential is no live token. Returns why it is answered with 429 instead of 401.
    ///
    /// It comes after the decision: who has a live token, or needs none, is let in however many attempts failed. And
    /// it counts every cause alike: a token that was live once would otherwise be told from one that never was.
    fn count_failure(&self, answer: &Answer, peer: IpAddr, line: &mut Line) -> Option<TooMany> {
        let cause = match answer {
            Answer::Unauthenticated(challenge) => challenge.cause,
            Answer::Permitted(permit) => permit.unauthenticated()?,
            Answer::Forbidden(_) => return None,
        };
        // Whoever brings nothing has guessed nothing.
        if cause == Unauthenticated::Missing {
            return None;
        }
        let client = Client::from(peer);
        self.metrics.failed_authentication(&cause);
        let attempt = self.attempts.failed(client);
        line.failed_authentication(client, attempt);
        match (answer, attempt) {
            (Answer::Unauthenticated(_), Attempt::TooMany(refused)) => {
                self.metrics.too_many_attempts(refused.is_shared);
                line.refused_attempt(refused);
                Some(refused)
            }
            _ => None,
        }
    }

    /// Has the denial in the audit log before it is answered. When the log cannot be written, the next entry that can
    /// says how many are missing, and the denial stays what it is; when the log does not answer, nobody waits for ever.
    async fn record(&self, denied: Forbidden, request: Request, now: Timestamp) -> Result<(), Failure> {
        let Some(entry) = self.engine.denial_entry(denied, request, now) else {
            self.metrics.audit_left_out();
            return Ok(());
        };
        let room = Arc::clone(&self.denials);
        let recorded = async move {
            // So that no denial takes the threads of those who change tokens. Nobody closes the room.
            let place = room.acquire_owned().await.ok();
            let record = move || {
                let _place = place;
                entry.record()
            };
            tokio::task::spawn_blocking(record).await
        };
        match tokio::time::timeout(self.record_timeout, recorded).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => {
                self.metrics.audit_lost();
                tracing::warn!(%error, "a denial has no entry in the audit log");
                Ok(())
            }
            // It panicked, which is told where panics are.
            Ok(Err(_)) => Ok(()),
            Err(_) => {
                let late = "the request is denied, and the audit log did not answer in time";
                Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, late))
            }
        }
    }

    fn observe(&self, tell: impl Fn(&dyn Observe)) {
        self.observers.iter().for_each(|observer| tell(&**observer));
    }
}

impl Origin {
    /// The client, when it is known. The address of a proxy is none: no rule about addresses means it.
    const fn client_ip(self) -> Option<IpAddr> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Told { client_ip, .. } => client_ip,
        }
    }

    /// Whose failed authentications it counts among.
    const fn counted(self) -> IpAddr {
        match self {
            Self::Peer(address) | Self::Told { client_ip: Some(address), .. } => address,
            Self::Told { by, client_ip: None } => by,
        }
    }

    /// Whether it asks for a route of this server.
    const fn is_ours(self) -> bool {
        matches!(self, Self::Peer(_))
    }
}
