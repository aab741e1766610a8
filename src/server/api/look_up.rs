//! `/api/rolegate/tokens/lookup`: which of the digests that somebody found are those of live tokens.

use super::body::{self, Fields};
use super::{Api, Sent};
use crate::engine::{KnownSecret, LOOK_UPS_MAX, Permit};
use crate::front::reply::{self, Failure, Reply};
use crate::time::Timestamp;
use crate::token::TokenDigest;
use http::StatusCode;
use serde::Serialize;

/// Where digests are looked up.
pub(super) const PATH: &str = "/api/rolegate/tokens/lookup";

#[derive(Serialize)]
struct Answer<'a> {
    tokens: Vec<Known<'a>>,
}

#[derive(Serialize)]
struct Known<'a> {
    digest: &'a str,
    id: u64,
    name: String,
    state: &'static str,
    /// Until when it is live, or since when it is not; absent for one that lives for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    moment: Option<i64>,
}

/// Tells of the digests that are known, and nothing of the others.
pub(super) fn look_up(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    let mut fields = Fields::read(&sent.body)?;
    let digests = fields.texts("digests")?.ok_or_else(|| body::missing("digests"))?;
    if digests.len() > LOOK_UPS_MAX {
        let message = format!("the request body has more than {LOOK_UPS_MAX} digests; send them in parts");
        return Err(Failure::bad_request(message));
    }
    let (now, mut tokens) = (api.now(), Vec::new());
    for (at, text) in digests.iter().enumerate() {
        // The text is not repeated: somebody may have sent a token in its place.
        let digest = TokenDigest::from_hex(text).ok_or_else(|| {
            Failure::bad_request(format!(
                "the request body's `digests[{at}]` is not the SHA-256 of a token, as 64 hexadecimal digits"
            ))
        })?;
        let known = api.engine.look_up(permit, &digest, now).map_err(|error| {
            tracing::error!(%error, "digests were not looked up");
            Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the digests were not looked up: this server cannot read its tokens; its log names the cause",
            )
        })?;
        if let Some(KnownSecret { id, name, state }) = known {
            let moment = state.moment().map(Timestamp::as_millis);
            tokens.push(Known { digest: text, id: id.get(), name, state: state.name(), moment });
        }
    }
    Ok(reply::json(StatusCode::OK, &Answer { tokens }))
}

/// All other methods.
pub(super) fn refuse(_: &Api, _: &Permit, _: &Sent) -> Result<Reply, Failure> {
    Err(Failure::method_not_allowed("POST"))
}
