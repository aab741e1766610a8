//! regorus, a Rego engine in Rust: policies compiled for its virtual machine, which is kept from request to
//! request; data and inputs made beforehand.

use crate::measure::{Decide, Outcome};
use crate::workload::{METHOD, Request, Rule};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use regorus::{Engine, Rc, Value};
use serde_json::{Map, json};

/// A router in front tells the route, and one look-up in an object tells whether a role may call it: the layout
/// that takes the same time for any number of rules. What the router does is not counted.
pub fn look_up_by_route(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    const POLICY: &str = "package authz\n\
        default allow := false\n\
        allow if { some role in input.roles; data.grants[input.route][role] }\n";
    let mut grants = Map::new();
    for Rule { role, pattern } in rules {
        let roles = grants.entry(format!("{METHOD} {pattern}")).or_insert_with(|| json!({}));
        roles[role] = json!(true);
    }
    let inputs = requests
        .iter()
        .map(|request| json!({ "roles": [request.role], "route": format!("{METHOD} {}", request.route) }));
    decide(POLICY, json!({ "grants": grants }), inputs.collect())
}

/// The patterns as a tree of objects, one level a segment, and a look-up at each level for the text and for the
/// wildcard: the layout that matches paths in the policy and still takes the same time for any number of rules.
pub fn tree_of_objects(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    const POLICY: &str = "package authz\n\
        default allow := false\n\
        allow if {\n\
            some a in [input.path[0], \"*\"]\n\
            one := data.tree[a]\n\
            some b in [input.path[1], \"*\"]\n\
            two := one[b]\n\
            some c in [input.path[2], \"*\"]\n\
            three := two[c]\n\
            some d in [input.path[3], \"*\"]\n\
            some role in input.roles\n\
            three[d][input.method][role]\n\
        }\n";
    let mut tree = json!({});
    for Rule { role, pattern } in rules {
        let mut node = &mut tree;
        for segment in pattern.split('/').skip(1) {
            node = &mut node[if segment.starts_with('{') { "*" } else { segment }];
        }
        node[METHOD][role] = json!(true);
    }
    let inputs = requests.iter().map(|request| {
        let path: Vec<&str> = request.path.split('/').skip(1).collect();
        json!({ "roles": [request.role], "method": METHOD, "path": path })
    });
    decide(POLICY, json!({ "tree": tree }), inputs.collect())
}

/// Patterns by role and method, and `glob.match` to match the path: the policy does all the work.
pub fn glob_match(rules: &[Rule], requests: &[Request]) -> Outcome<Decide> {
    const POLICY: &str = "package authz\n\
        default allow := false\n\
        allow if {\n\
            some role in input.roles\n\
            some pattern in data.patterns[role][input.method]\n\
            glob.match(pattern, [\"/\"], input.path)\n\
        }\n";
    let mut patterns = Map::new();
    for Rule { role, pattern } in rules {
        let methods = patterns.entry(role.clone()).or_insert_with(|| json!({ METHOD: [] }));
        if let Some(list) = methods[METHOD].as_array_mut() {
            list.push(json!(pattern.replace("{id}", "*")));
        }
    }
    let inputs = requests
        .iter()
        .map(|request| json!({ "roles": [request.role], "method": METHOD, "path": request.path }));
    decide(POLICY, json!({ "patterns": patterns }), inputs.collect())
}

fn decide(policy: &str, data: serde_json::Value, inputs: Vec<serde_json::Value>) -> Outcome<Decide> {
    const ENTRY: &str = "data.authz.allow";
    let mut engine = Engine::new();
    engine.add_policy("authz.rego".to_owned(), policy.to_owned())?;
    let compiled = engine.compile_with_entrypoint(&Rc::from(ENTRY))?;
    let program = Compiler::compile_from_policy(&compiled, &[ENTRY])?;
    let mut machine = RegoVM::new();
    machine.load_program(program);
    machine.set_data(Value::from(data))?;
    let inputs: Vec<Value> = inputs.into_iter().map(Value::from).collect();
    Ok(Box::new(move |at| {
        machine.set_input(inputs[at].clone());
        matches!(machine.execute(), Ok(Value::Bool(true)))
    }))
}
