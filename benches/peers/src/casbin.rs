//! casbin-rs, in a process of its own: roles, `keyMatch2` for paths, as its documentation shows for REST APIs.
//! Prints its figures as JSON.
#![allow(dead_code, reason = "the workload has parts that only other engines need")]

mod measure;
mod workload;

use casbin::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _, RbacApi as _};
use measure::{Contestant, Decide, Outcome};
use workload::{METHOD, ROLES, Request, Rule, SIZES};

const MODEL: &str = "
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.act == p.act && keyMatch2(r.obj, p.obj)
";

fn main() -> Outcome<()> {
    let mut figures = Vec::new();
    for size in SIZES {
        let (rules, requests) = (workload::rules(size), workload::requests(size));
        // One decision of ten times as many rules takes longer than all the others together.
        let requests = if size > 1_000 { &requests[..64] } else { &requests[..] };
        let contestant = Contestant::prepare("casbin-rs, keyMatch2", || decide(&rules, requests))?;
        for figure in measure::measure(size, requests, vec![contestant])? {
            figures.push(serde_json::json!({
                "name": figure.name, "rules": figure.rules, "decide_ns": figure.decide_ns
            }));
        }
    }
    println!("{}", serde_json::Value::from(figures));
    Ok(())
}

fn decide(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let enforcer = runtime.block_on(async {
        let model = DefaultModel::from_str(MODEL).await?;
        let mut enforcer = Enforcer::new(model, MemoryAdapter::default()).await?;
        let policies = rules
            .iter()
            .map(|rule| vec![rule.role.clone(), rule.pattern.replace("{id}", ":id"), METHOD.to_owned()]);
        enforcer.add_policies(policies.collect()).await?;
        for number in 0..ROLES {
            let role = workload::role(number);
            enforcer.add_role_for_user(&token(&role), &role, None).await?;
        }
        Ok::<_, casbin::Error>(enforcer)
    })?;
    let requests: Vec<(String, String)> =
        requests.iter().map(|request| (token(&request.role), request.path.clone())).collect();
    Ok(Box::new(move |at| {
        let (token, path) = &requests[at];
        enforcer.enforce((token.as_str(), path.as_str(), METHOD)).unwrap_or(false)
    }))
}

/// The one token of a role.
fn token(role: &str) -> String {
    format!("token of {role}")
}
