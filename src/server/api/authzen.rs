//! The Authorization API 1.0 of OpenID AuthZEN: whether a token, or whoever holds some roles, may call a route, asked
//! without having the token.
//!
//! Nothing that is asked here is a decision of the gate: it is in no metric, no decision log and no token's usage.

mod question;
mod verdict;

use super::{Api, Sent, only_get};
use crate::engine::Permit;
use crate::front::reply::{self, Failure, Reply};
use crate::token::TokenId;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use question::{Asked, Semantic};
use serde::Serialize;
use std::collections::HashMap;
use std::future::{Ready, ready};
use verdict::{Evaluated, Evaluator};
use warp::{Filter, Rejection};

/// Evaluations that one request asks for, at most.
pub(crate) const EVALUATIONS_MAX: usize = 1000;

/// Where one evaluation is asked for.
pub(super) const EVALUATION_PATH: &str = "/access/v1/evaluation";
/// Where several are.
pub(super) const EVALUATIONS_PATH: &str = "/access/v1/evaluations";
/// Where clients learn of these.
pub(super) const METADATA_PATH: &str = "/.well-known/authzen-configuration";

/// What every path of the API begins with. Its answers bear the id that a client gave its request.
const BEGINNING: &str = "/access/v1/";

/// The answer to several questions.
#[derive(Serialize)]
struct Answers {
    evaluations: Vec<Evaluated>,
}

/// Where everything is, for a client that knows no more than the name of the server.
#[derive(Serialize)]
struct Metadata<'a> {
    policy_decision_point: &'a str,
    access_evaluation_endpoint: String,
    access_evaluations_endpoint: String,
}

/// Whether answers at a path bear the id that a client gave its request.
pub(in super::super) fn echoes(path: &str) -> bool {
    path.starts_with(BEGINNING)
}

/// Passes requests whose body is JSON by their own word. No other one is read as such.
pub(super) fn json() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    fn is_json(headers: HeaderMap) -> Ready<Result<(), Rejection>> {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let single = types.next().filter(|_| types.next().is_none()).and_then(|told| told.to_str().ok());
        let essence = single.and_then(|told| told.split(';').next()).unwrap_or_default();
        ready(match essence.trim().eq_ignore_ascii_case("application/json") {
            true => Ok(()),
            false => Err(warp::reject::not_found()),
        })
    }
    warp::header::headers_cloned().and_then(is_json).untuple_one()
}

/// `POST /access/v1/evaluation`.
pub(super) fn evaluation(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    plainly(question::read(&sent.body).and_then(|body| answer_one(api, permit, sent, &body)))
}

/// `POST /access/v1/evaluations`: one, or several that share what they do not say themselves.
pub(super) fn evaluations(api: &Api, permit: &Permit, sent: &Sent) -> Result<Reply, Failure> {
    plainly(question::read(&sent.body).and_then(|body| {
        let several = question::several(&body)?;
        if several.is_empty() {
            answer_one(api, permit, sent, &body)
        } else {
            answer_all(api, permit, sent, &body)
        }
    }))
}

/// Whatever has another method, or a body of another type.
pub(super) fn refuse(_: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    plainly(Err(if *permit.method() == Method::POST {
        Failure::bad_request("the request body is JSON, sent once as `Content-Type: application/json`")
    } else {
        Failure::method_not_allowed("POST")
    }))
}

/// `GET /.well-known/authzen-configuration`. A server that does not know its own address tells none: a client would
/// believe whatever name somebody else made it ask for.
pub(super) fn metadata(api: &Api, permit: &Permit, _: &Sent) -> Result<Reply, Failure> {
    only_get(permit)?;
    let url = api.public_url.as_ref().ok_or_else(|| {
        let message = "this server does not know its own address; set it as `rolegate.public_url`";
        Failure::new(StatusCode::NOT_FOUND, message)
    })?;
    Ok(reply::json(
        StatusCode::OK,
        &Metadata {
            policy_decision_point: url.as_str(),
            access_evaluation_endpoint: format!("{url}{EVALUATION_PATH}"),
            access_evaluations_endpoint: format!("{url}{EVALUATIONS_PATH}"),
        },
    ))
}

fn answer_one(api: &Api, permit: &Permit, sent: &Sent, body: &question::Object) -> Result<Reply, Failure> {
    let asked = Asked::of(body, None).map_err(Failure::bad_request)?;
    let mut evaluator =
        Evaluator { api, permit, policies: &sent.policies, now: api.now(), known: HashMap::new() };
    Ok(reply::json(StatusCode::OK, &evaluator.evaluate(&asked)?))
}

fn answer_all(api: &Api, permit: &Permit, sent: &Sent, body: &question::Object) -> Result<Reply, Failure> {
    let (several, semantic) = (question::several(body)?, Semantic::of(body)?);
    question::check_defaults(body)?;
    let mut evaluator =
        Evaluator { api, permit, policies: &sent.policies, now: api.now(), known: HashMap::new() };
    let mut evaluations = Vec::with_capacity(several.len());
    for one in several {
        // What is wrong with one of them denies that one alone.
        let evaluated = match Asked::of(one, Some(body)) {
            Ok(asked) => evaluator.evaluate(&asked)?,
            Err(wrong) => Evaluated::failed(StatusCode::BAD_REQUEST, wrong),
        };
        let is_last = semantic.ends_with(evaluated.decision);
        evaluations.push(evaluated);
        if is_last {
            break;
        }
    }
    Ok(reply::json(StatusCode::OK, &Answers { evaluations }))
}

/// The id that a text is; of a text that is none nothing is repeated, since it may be a token.
fn token_id(text: &str) -> Option<TokenId> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain).and_then(TokenId::new)
}

/// Errors of this API are the message alone.
fn plainly(answered: Result<Reply, Failure>) -> Result<Reply, Failure> {
    Ok(answered.unwrap_or_else(|failure| failure.plain()))
}
