//! Requests per second of a guarded route, and of the forward-auth endpoint, against a bare warp route.

use super::server::Server;
use super::{BODY, Outcome, REQUEST, TOKEN, client, median, world};
use rolegate::server::{ForwardAuth, Limits, Networks};
use std::io::{Write as _, stdout};
use std::sync::Arc;
use std::time::Duration;
use warp::Filter as _;

const CONNECTIONS: usize = 32;
/// All servers are measured in turn, this many times.
const ROUNDS: usize = 25;
const ROUND: Duration = Duration::from_millis(400);

/// What was measured in one round.
#[derive(Clone, Copy)]
struct Round {
    rate: f64,
    cpu_us: f64,
}

pub(crate) fn route() -> impl warp::Filter<Extract = (impl warp::Reply,), Error = warp::Rejection> + Clone {
    warp::path!("api" / "server" / "status")
        .and(warp::get())
        .map(|| warp::reply::with_header(BODY, "content-type", "application/json"))
}

pub(crate) fn bare(name: &'static str) -> Outcome<Server> {
    Server::start(name, |listener| warp::serve(route()).incoming(listener).run())
}

pub(crate) fn guarded(name: &'static str, limits: Limits) -> Outcome<Server> {
    let server = rolegate::server::Server::new(Arc::new(world::engine(TOKEN)?)).with_limits(limits);
    Server::start(name, |listener| server.serve(listener, warp::service(route()), std::future::pending()))
}

pub(crate) fn forward_auth(name: &'static str) -> Outcome<Server> {
    let endpoint = ForwardAuth::new("/forward-auth", Networks::new(vec!["127.0.0.1".parse()?])?)?;
    let server = rolegate::server::Server::new(Arc::new(world::engine(TOKEN)?)).with_forward_auth(endpoint);
    Server::start(name, |listener| server.run(listener, std::future::pending()))
}

pub(crate) fn measure() -> Outcome<()> {
    let told = format!(
        "GET /forward-auth HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {TOKEN}\r\n\
         X-Original-Method: GET\r\nX-Original-URI: /api/server/status\r\n\r\n"
    );
    let servers = [
        ("bare warp route", bare("bare")?, REQUEST),
        ("guarded route", guarded("guarded", Limits::default())?, REQUEST),
        ("forward-auth", forward_auth("forward-auth")?, &told),
    ];
    let clients = super::clients()?;
    let mut rounds = [const { Vec::new() }; 3];
    // The first round only warms up.
    for number in 0..=ROUNDS {
        for ((_, server, request), rounds) in servers.iter().zip(&mut rounds) {
            let before = server.cpu_seconds()?;
            let waits = clients.block_on(client::waits(server.address, CONNECTIONS, request, ROUND))?;
            let requests = f64::from(u32::try_from(waits.len())?);
            let cpu_us = (server.cpu_seconds()? - before) * 1e6 / requests;
            let rate = requests / ROUND.as_secs_f64();
            if number > 0 {
                rounds.push(Round { rate, cpu_us });
            }
        }
    }
    let names = servers.each_ref().map(|(name, ..)| *name);
    servers.into_iter().for_each(|(_, server, _)| server.stop());
    writeln!(
        stdout(),
        "one route over HTTP/1.1, {CONNECTIONS} connections that stay, one thread a server; medians of {ROUNDS} rounds\n"
    )?;
    writeln!(
        stdout(),
        "                  requests/s   ratio (at least 0.95)   CPU time of a request   ratio"
    )?;
    let [bare, ..] = &rounds;
    for (name, own) in names.into_iter().zip(&rounds) {
        // Of each round by itself: what else the machine does changes from one to the next.
        let of = |value: &dyn Fn(&Round, &Round) -> f64| {
            median(own.iter().zip(bare).map(|(own, bare)| value(own, bare)).collect())
        };
        writeln!(
            stdout(),
            "{name:17} {:10.0}    {:5.2}                   {:17.2} us   {:5.2}",
            of(&|own, _| own.rate),
            of(&|own, bare| own.rate / bare.rate),
            of(&|own, _| own.cpu_us),
            of(&|own, bare| own.cpu_us / bare.cpu_us),
        )?;
    }
    Ok(writeln!(stdout())?)
}
