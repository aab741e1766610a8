//! What the server counts, in the text that Prometheus reads. Counting takes no lock and no allocation where
//! requests pass.

use super::reload::{PolicyState, PolicyStatus, ReloadOutcome};
use crate::engine::Answer;
use crate::policy::PolicySet;
use crate::request::Unusable;
use crate::token::SecretError;
use crate::tokens::Unauthenticated;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Rules whose failures are counted each by itself; failures of further ones are counted together.
const RULES_MAX: usize = 1000;
/// What stands in the place of every value when there are too many.
const OTHER: &str = "other";
/// Why credentials are no live tokens.
const FAILURES: [&str; 8] =
    ["scheme", "form", "checksum", "unknown", "expired", "disabled", "rotated", "foreign"];
/// How requests end, as their log lines and counters name it.
const OUTCOMES: [&str; 4] = ["allow", "deny", "unauthenticated", "malformed"];
/// The upper ends of the classes of durations, in seconds: from what a decision alone takes to what a slow route does.
const DURATIONS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Whether a client's attempts were counted for itself.
const COUNTED: [&str; 2] = ["alone", "together"];

/// The type of the text that [`Metrics::text`] gives.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The names of labels with their values.
type Labels = Vec<(&'static str, String)>;

/// A counter whose labels take values that nobody knows beforehand, of which it keeps a limited number. What comes
/// after them is counted together, as `other`.
#[derive(Clone, Debug)]
pub struct BoundedCounter {
    family: Family<Labels, Counter>,
    room: Arc<AtomicUsize>,
}

/// What is counted. Shared by everything that counts.
pub struct Metrics {
    registry: Mutex<Registry>,
    allowed: Counter,
    denied: Counter,
    unauthenticated: Counter,
    malformed: Counter,
    failed_authentications: Family<[(&'static str, &'static str); 1], Counter>,
    too_many_attempts: Family<[(&'static str, &'static str); 1], Counter>,
    condition_failures: BoundedCounter,
    reloads: Family<[(&'static str, &'static str); 1], Counter>,
    policies: PolicyGauges,
    durations: [(&'static str, Histogram); OUTCOMES.len()],
    tokens: Gauge,
    audit_lost: Counter,
    audit_left_out: Counter,
    uses_lost: Counter,
}

/// How the policies are, as numbers. They are set whenever they are read.
#[derive(Default)]
struct PolicyGauges {
    state: Family<[(&'static str, &'static str); 1], Gauge>,
    info: Family<[(&'static str, String); 1], Gauge>,
    loaded: Gauge,
    attempted: Gauge,
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rolegate");
        let decisions = Family::<[(&str, &str); 1], Counter>::default();
        let outcome = |name| decisions.get_or_create_owned(&[("outcome", name)]);
        let (allowed, denied) = (outcome("allow"), outcome("deny"));
        let (unauthenticated, malformed) = (outcome("unauthenticated"), outcome("malformed"));
        registry.register("decisions", "Requests by what became of them at the guard", decisions);
        let failed_authentications = counters("cause", &FAILURES);
        registry.register(
            "failed_authentications",
            "Requests with a credential that is no live token, by cause",
            failed_authentications.clone(),
        );
        let too_many_attempts = counters("counted", &COUNTED);
        registry.register(
            "failed_authentications_limited",
            "Those that were answered with 429, by whether their client was counted by itself",
            too_many_attempts.clone(),
        );
        let condition_failures = BoundedCounter::new(RULES_MAX);
        registry.register(
            "condition_failures",
            "Conditions that failed and so opened nothing, by rule",
            condition_failures.family(),
        );
        let reloads = counters("outcome", &ReloadOutcome::ALL.map(ReloadOutcome::name));
        registry.register("policy_reloads", "Reloads of the policies by outcome", reloads.clone());
        let build = Family::<[(&str, &str); 1], Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("build_info", "1 for the version of the program that runs", build);
        let durations = durations(&mut registry);
        let tokens = Gauge::default();
        registry.register(
            "tokens",
            "Tokens that are known, expired and disabled ones among them",
            tokens.clone(),
        );
        let policies = PolicyGauges::default();
        policies.register(&mut registry);
        let (audit_lost, audit_left_out, uses_lost): (Counter, Counter, Counter) = Default::default();
        registry.register("audit_lost", "Entries that the audit log could not write", audit_lost.clone());
        registry.register(
            "audit_left_out",
            "Denials that the audit log tells of by their number alone",
            audit_left_out.clone(),
        );
        registry.register("token_uses_lost", "Uses of tokens that found no room to wait", uses_lost.clone());
        Self {
            registry: Mutex::new(registry),
            allowed,
            denied,
            unauthenticated,
            malformed,
            failed_authentications,
            too_many_attempts,
            condition_failures,
            reloads,
            policies,
            durations,
            tokens,
            audit_lost,
            audit_left_out,
            uses_lost,
        }
    }

    /// Adds metrics of one's own; their names get the prefix `rolegate_`. Each value of a label is kept for ever,
    /// so that their number must have a limit.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock());
    }

    /// All metrics as OpenMetrics text, with how the policies are.
    pub fn text(&self, policies: &PolicyStatus) -> String {
        let mut text = String::new();
        let registry = self.registry.lock();
        self.policies.set(policies);
        // Writing to a text cannot fail.
        let _ = encode(&mut text, &registry);
        text
    }

    /// A reload has ended.
    pub(super) fn reloaded(&self, outcome: ReloadOutcome) {
        self.reloads.get_or_create(&[("outcome", outcome.name())]).inc();
    }

    /// The engine answered, by these policies.
    pub(super) fn decided(&self, answer: &Answer, policies: &PolicySet) {
        let decision = match answer {
            Answer::Permitted(permit) => {
                self.allowed.inc();
                permit.decision()
            }
            Answer::Forbidden(forbidden) => {
                self.denied.inc();
                &forbidden.decision
            }
            Answer::Unauthenticated(challenge) => {
                self.unauthenticated.inc();
                &challenge.decision
            }
        };
        for (rule, _) in decision.failures() {
            let Some(rule) = policies.rule(rule) else { continue };
            self.condition_failures.inc(vec![("rule", rule.location.to_string())]);
        }
    }

    /// An entry of the audit log could not be written.
    pub(crate) fn audit_lost(&self) {
        self.audit_lost.inc();
    }

    /// A denial is counted, and has no entry of its own in the audit log.
    pub(super) fn audit_left_out(&self) {
        self.audit_left_out.inc();
    }

    /// A request was answered, with this outcome of [`OUTCOMES`].
    pub(super) fn answered(&self, outcome: &str, duration: Duration) {
        if let Some((_, durations)) = self.durations.iter().find(|(known, _)| *known == outcome) {
            durations.observe(duration.as_secs_f64());
        }
    }

    /// So many tokens are known.
    pub(super) fn tokens(&self, count: usize) {
        self.tokens.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// So many uses of tokens were lost since the start.
    pub(super) fn uses_lost(&self, count: u64) {
        self.uses_lost.inc_by(count.saturating_sub(self.uses_lost.get()));
    }

    /// A request was refused before any policy saw it.
    pub(super) fn malformed(&self) {
        self.malformed.inc();
    }

    /// A credential is no live token.
    pub(super) fn failed_authentication(&self, cause: &Unauthenticated) {
        self.failed_authentications.get_or_create(&[("cause", failure(cause))]).inc();
    }

    /// And it was one too many, of its client or of those that share a count.
    pub(super) fn too_many_attempts(&self, is_shared: bool) {
        let [alone, together] = COUNTED;
        let counted = if is_shared { together } else { alone };
        self.too_many_attempts.get_or_create(&[("counted", counted)]).inc();
    }
}

/// Histograms of how long requests take, one an outcome.
fn durations(registry: &mut Registry) -> [(&'static str, Histogram); OUTCOMES.len()] {
    let durations = Family::<[(&str, &str); 1], Histogram, fn() -> Histogram>::new_with_constructor(|| {
        Histogram::new(DURATIONS)
    });
    registry.register_with_unit(
        "request_duration",
        "From the end of a request's header fields to the start of its answer, by what became of it",
        Unit::Seconds,
        durations.clone(),
    );
    OUTCOMES.map(|outcome| (outcome, durations.get_or_create_owned(&[("outcome", outcome)])))
}

/// Counters for these values of a label, so that none is missing before it has happened once.
fn counters(
    label: &'static str,
    values: &[&'static str],
) -> Family<[(&'static str, &'static str); 1], Counter> {
    let family = Family::default();
    for value in values {
        drop(family.get_or_create(&[(label, *value)]));
    }
    family
}

/// The label of a failed authentication: one of [`FAILURES`].
const fn failure(cause: &Unauthenticated) -> &'static str {
    match cause {
        // A request that brings nothing is no attempt, and is not handed here.
        Unauthenticated::Missing => "missing",
        Unauthenticated::Unusable(Unusable::Scheme) => "scheme",
        Unauthenticated::Unusable(Unusable::Token(SecretError::WrongChecksum)) => "checksum",
        Unauthenticated::Unusable(Unusable::Token(
            SecretError::TooShort | SecretError::TooLong | SecretError::BadCharacter,
        )) => "form",
        Unauthenticated::Unknown => "unknown",
        Unauthenticated::Expired(_) => "expired",
        Unauthenticated::Disabled(_) => "disabled",
        Unauthenticated::Rotated(_) => "rotated",
        Unauthenticated::Foreign(_) => "foreign",
    }
}

impl PolicyGauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("policy_state", "1 for the state that the policies are in", self.state.clone());
        registry.register("policy_info", "The version of the policies in force", self.info.clone());
        registry.register(
            "policy_loaded_timestamp_seconds",
            "When the policies in force were put in force",
            self.loaded.clone(),
        );
        registry.register(
            "policy_last_reload_timestamp_seconds",
            "When policies were loaded last, with whatever outcome",
            self.attempted.clone(),
        );
    }

    fn set(&self, status: &PolicyStatus) {
        for state in PolicyState::ALL {
            self.state.get_or_create(&[("state", state.name())]).set(i64::from(state == status.state));
        }
        self.info.clear();
        self.info.get_or_create(&[("version", status.version.to_string())]).set(1);
        self.loaded.set(status.loaded.as_millis() / 1000);
        self.attempted.set(status.attempted.as_millis() / 1000);
    }
}

impl BoundedCounter {
    /// A counter that tells so many combinations of values apart.
    pub fn new(values_max: usize) -> Self {
        Self { family: Family::default(), room: Arc::new(AtomicUsize::new(values_max)) }
    }

    /// What is registered.
    pub fn family(&self) -> Family<Vec<(&'static str, String)>, Counter> {
        self.family.clone()
    }

    /// Counts one of these labels.
    pub fn inc(&self, mut labels: Vec<(&'static str, String)>) {
        let is_known = self.family.get(&labels).is_some();
        let takes_room = |room: usize| room.checked_sub(1);
        if !is_known && self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes_room).is_err() {
            labels.iter_mut().for_each(|(_, value)| OTHER.clone_into(value));
        }
        self.family.get_or_create(&labels).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::PolicyVersion;
    use crate::time::Timestamp;

    #[test]
    fn values_past_the_limit_are_counted_together() {
        let counter = BoundedCounter::new(2);
        for value in ["a", "b", "a", "c", "d", "b"] {
            counter.inc(vec![("rule", value.to_owned())]);
        }
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register("x", "X", counter.family()));
        let text = metrics.text(&PolicyStatus::loaded(PolicyVersion(1), Timestamp::EPOCH));
        for (value, count) in [("a", 2), ("b", 2), ("other", 2)] {
            assert!(text.contains(&format!("rolegate_x_total{{rule=\"{value}\"}} {count}\n")), "{text}");
        }
        assert!(!text.contains("\"c\""));
    }

    #[test]
    fn every_cause_of_a_failed_authentication_has_its_counter_from_the_start() {
        use crate::authenticator::{ForeignRefusal, RefusalCause};
        let id = crate::token::TokenId::generate().unwrap();
        let metrics = Metrics::new();
        let text = || metrics.text(&PolicyStatus::loaded(PolicyVersion(1), Timestamp::EPOCH));
        let lines = |text: &str| text.lines().filter(|line| line.contains("_authentications")).count();
        let before = lines(&text());
        for cause in [
            Unauthenticated::Unusable(Unusable::Scheme),
            Unauthenticated::Unusable(SecretError::TooShort.into()),
            Unauthenticated::Unusable(SecretError::WrongChecksum.into()),
            Unauthenticated::Unknown,
            Unauthenticated::Expired(id),
            Unauthenticated::Disabled(id),
            Unauthenticated::Rotated(id),
            Unauthenticated::Foreign(ForeignRefusal {
                realm: "workload",
                cause: RefusalCause::Refused("expired"),
            }),
        ] {
            metrics.failed_authentication(&cause);
            metrics.too_many_attempts(cause == Unauthenticated::Unknown);
        }
        let after = text();
        assert_eq!(lines(&after), before, "{after}");
        for (label, count) in [("cause=\"form\"", 1), ("cause=\"expired\"", 1), ("counted=\"alone\"", 7)] {
            assert!(after.contains(&format!("{{{label}}} {count}\n")), "{label}: {after}");
        }
    }

    #[test]
    fn durations_are_told_by_what_became_of_the_request() {
        let metrics = Metrics::new();
        let text = || metrics.text(&PolicyStatus::loaded(PolicyVersion(1), Timestamp::EPOCH));
        for outcome in OUTCOMES {
            let none = format!("rolegate_request_duration_seconds_count{{outcome=\"{outcome}\"}} 0\n");
            assert!(text().contains(&none), "{}", text());
        }
        metrics.answered("allow", Duration::from_micros(300));
        metrics.answered("allow", Duration::from_secs(31));
        let line = |end: &str, count| {
            let line = format!("_seconds_bucket{{le=\"{end}\",outcome=\"allow\"}} {count}\n");
            assert!(text().contains(&line), "{line}{}", text());
        };
        for (end, count) in [("0.00025", 0), ("0.0005", 1), ("30.0", 1), ("+Inf", 2)] {
            line(end, count);
        }
    }

    #[test]
    fn lost_uses_are_counted_from_the_start_on_and_never_back() {
        let metrics = Metrics::new();
        let text = || metrics.text(&PolicyStatus::loaded(PolicyVersion(1), Timestamp::EPOCH));
        assert!(text().contains("rolegate_token_uses_lost_total 0\n"));
        for (told, counted) in [(3, 3), (3, 3), (5, 5), (4, 5)] {
            metrics.uses_lost(told);
            assert!(text().contains(&format!("rolegate_token_uses_lost_total {counted}\n")));
        }
    }

    #[test]
    fn values_cannot_break_out_of_their_line() {
        let counter = BoundedCounter::new(2);
        counter.inc(vec![("rule", "a\"b\\c\nd".to_owned())]);
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register("x", "X", counter.family()));
        let text = metrics.text(&PolicyStatus::loaded(PolicyVersion(1), Timestamp::EPOCH));
        assert!(text.contains(r#"rolegate_x_total{rule="a\"b\\c\nd"} 1"#), "{text}");
    }
}
