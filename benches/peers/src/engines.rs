//! Every engine that is measured in this process, in the fastest layout that its documentation shows.

mod cedar;
#[path = "../../decide/floor.rs"]
mod floor;
mod ours;
mod rego;
mod rhai_loop;

use crate::measure::{Contestant, Outcome};
use crate::workload::{Request, Rule};

/// All engines, with these rules loaded and these requests prepared.
pub fn all(rules: &[Rule], requests: &[Request]) -> Outcome<Vec<Contestant>> {
    Ok(vec![
        Contestant::prepare("rolegate", || ours::authorize(rules, requests))?,
        Contestant::prepare("floor", || ours::floor(rules, requests))?,
        Contestant::prepare("rolegate, token and all", || ours::authenticate_and_authorize(rules, requests))?,
        Contestant::prepare("Cedar, action per route", || cedar::action_per_route(rules, requests))?,
        Contestant::prepare("Cedar, path by like", || cedar::path_by_like(rules, requests))?,
        Contestant::prepare("regorus, look-up by route", || rego::look_up_by_route(rules, requests))?,
        Contestant::prepare("regorus, tree of objects", || rego::tree_of_objects(rules, requests))?,
        Contestant::prepare("regorus, glob.match", || rego::glob_match(rules, requests))?,
        Contestant::prepare("Rhai loop", || rhai_loop::decide(rules, requests))?,
    ])
}

/// Only ours, for sizes at which the others would take too long.
pub fn ours(rules: &[Rule], requests: &[Request]) -> Outcome<Vec<Contestant>> {
    Ok(vec![
        Contestant::prepare("rolegate", || ours::authorize(rules, requests))?,
        Contestant::prepare("floor", || ours::floor(rules, requests))?,
        Contestant::prepare("rolegate, token and all", || ours::authenticate_and_authorize(rules, requests))?,
    ])
}
