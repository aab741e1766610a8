//! Real proxies with the configurations of `examples/proxies`, in front of a program that records what reaches it.
//! Whatever is sent to a proxy, nothing reaches the program that the policies deny to whoever sent it.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking, and corpora print their counts"
)]

mod api;
mod client;
mod corpus;
mod denials;
mod gate;
mod identity;
mod proxy;
mod readings;

use api::Api;
use gate::Gate;
use proxy::Proxy;

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    User,
    Admin,
}

/// A proxy between clients and the program, and rolegate beside them.
struct World {
    // The proxy ends first, and with it the connections of the others.
    proxy: Proxy,
    gate: Gate,
    api: Api,
}

impl World {
    fn start(proxy: &str) -> Self {
        let (gate, api) = (Gate::start(), Api::start());
        let proxy = Proxy::start(proxy, gate.address, api.address);
        Self { proxy, gate, api }
    }
}

/// One module for each proxy, so that each fails on its own.
macro_rules! proxies {
    ($($name:ident)*) => { $(mod $name {
        const NAME: &str = stringify!($name);

        #[test]
        fn corpus_reaches_nothing_that_is_denied() {
            super::corpus::check(NAME);
        }

        #[test]
        fn identity_is_what_rolegate_tells() {
            super::identity::check(NAME);
        }

        #[test]
        fn client_is_the_one_that_the_proxy_sees() {
            super::identity::check_client(NAME);
        }

        #[test]
        fn denial_is_told_to_the_client() {
            super::denials::check(NAME);
        }

        #[test]
        fn nothing_is_permitted_without_rolegate() {
            super::denials::check_without_rolegate(NAME);
        }
    })* };
}

proxies! { nginx caddy haproxy envoy traefik }
