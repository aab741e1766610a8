//! Policies as scripts: what loads, and what is said about what does not.

use rolegate::policy::{PolicyErrors, PolicySet, RoleBindings, ScriptLimits, Source};
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn load(text: &str) -> Result<PolicySet, PolicyErrors> {
    let source = Source { name: Arc::from("p.rhai"), text: text.to_owned() };
    PolicySet::load(&[source], &RoleBindings::default(), &patient())
}

/// The limits as they are by default, with time enough for any machine, so that the other limits decide.
pub(crate) fn patient() -> ScriptLimits {
    let mut limits = ScriptLimits::default();
    (limits.load.time, limits.condition.time) = (Duration::from_secs(600), Duration::from_secs(60));
    limits
}

#[test]
fn example_of_the_design_loads() {
    let set = load(
        r#"
permission("manage-service-tokens", [
    "GET,POST /api/security/tokens",
    "DELETE   /api/security/tokens/{id}",
]);
permission("read-settings", "GET /api/settings");
role("stackstate-guest").allow("GET /x");
role("stackstate-platform-admin").allow("GET /y");
role("stackstate-admin").grants(["manage-service-tokens", "read-settings"]);
role("stackstate-ci")
    .includes("stackstate-guest")
    .allow("GET /api/**").except("GET /api/node/**")
    .allow("POST /api/stackpack/{name}/upgrade").when(|request| request.param("name") != "core");
authenticated("GET /api/server/info");      // any live token
open("GET /health");                        // no token at all
deny("ANY /api/internal/**").unless(|request| request.has_role("stackstate-platform-admin"));
"#,
    );
    assert_eq!(set.unwrap().rules().len(), 9);
}

#[test]
fn permission_may_stand_for_no_route_and_a_rule_may_not() {
    let set = load("permission(\"see-page\", []); role(\"a\").grants([\"see-page\"]);").unwrap();
    let role = rolegate::token::RoleName::parse("a").unwrap();
    assert_eq!(set.holds_permission(&[role], "see-page"), Some(true));
    for rule in
        ["role(\"a\").allow([])", "open([])", "authenticated([])", "deny([])", "role(\"a\").grants([])"]
    {
        let errors = load(&format!("{rule};")).unwrap_err();
        assert!(errors.to_string().contains("this list is empty"), "{rule}: {errors}");
    }
}
