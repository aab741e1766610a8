//! Where it is known which tokens are live: the store that nobody has open, or the server that has.

use super::super::Failure;
use super::super::server::Server;
use crate::engine::{KnownSecret, LOOK_UPS_MAX};
use crate::store::embedded::StoreView;
use crate::time::Timestamp;
use crate::token::{SecretState, TokenDigest, TokenId};
use http::Method;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;

/// Digests that are looked up at once.
pub(super) const BATCH: usize = LOOK_UPS_MAX;
const PATH: &str = "/api/rolegate/tokens/lookup";

/// Who is asked.
pub(super) enum Source {
    Store(Box<StoreView>, Timestamp),
    Server(Box<Server>),
}

#[derive(Deserialize)]
struct Answer {
    tokens: Vec<Known>,
}

#[derive(Deserialize)]
struct Known {
    digest: String,
    id: u64,
    name: String,
    state: String,
    moment: Option<i64>,
}

impl Source {
    /// Those of at most [`BATCH`] digests that are known.
    pub(super) fn look_up(
        &self,
        digests: &[TokenDigest],
    ) -> Result<HashMap<TokenDigest, KnownSecret>, Failure> {
        match self {
            Self::Store(store, now) => look_up_in(store, *now, digests),
            Self::Server(server) => ask(server, digests),
        }
    }
}

fn look_up_in(
    store: &StoreView,
    now: Timestamp,
    digests: &[TokenDigest],
) -> Result<HashMap<TokenDigest, KnownSecret>, Failure> {
    let mut known = HashMap::new();
    for digest in digests {
        let Some(record) = store.token_by_digest(digest)? else { continue };
        let Some(state) = SecretState::of(&record, digest, now) else { continue };
        known.insert(*digest, KnownSecret { id: record.id, name: record.name, state });
    }
    Ok(known)
}

fn ask(server: &Server, digests: &[TokenDigest]) -> Result<HashMap<TokenDigest, KnownSecret>, Failure> {
    let hex: Vec<String> = digests.iter().map(hex).collect();
    let answer = server.call(&Method::POST, PATH, Some(&json!({ "digests": hex })))?;
    let answer: Answer = answer.json().map_err(Failure::Server)?;
    let known = answer.tokens.into_iter().map(|known| {
        let moment = known.moment.map(Timestamp::from_millis);
        let (id, state) = (TokenId::new(known.id)?, SecretState::from_name(&known.state, moment)?);
        Some((TokenDigest::from_hex(&known.digest)?, KnownSecret { id, name: known.name, state }))
    });
    let known: Option<_> = known.collect();
    known.ok_or_else(|| Failure::Server("the server's answer has another shape than expected".to_owned()))
}

fn hex(digest: &TokenDigest) -> String {
    digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
