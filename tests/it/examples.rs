//! The examples of embedding programs do what they say.

use rolegate::policy::ScriptLimits;
use rolegate::store::memory::MemoryStore;
use rolegate::testing::store_conformance;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[path = "../../examples/custom_authenticator.rs"]
#[expect(dead_code, reason = "the program's start is not called here")]
mod custom_authenticator;
#[path = "../../examples/custom_store.rs"]
#[expect(dead_code, reason = "the program's start is not called here")]
mod custom_store;
#[path = "../../examples/embed.rs"]
#[expect(dead_code, reason = "the program's start is not called here")]
mod embed;
#[path = "../../examples/hot_reload.rs"]
#[expect(dead_code, reason = "the program's start is not called here")]
mod hot_reload;

type Outcome = Result<(), Box<dyn Error>>;

/// An example is read from its beginning to its end.
const LINES_MAX: usize = 110;

#[test]
fn engine_embedded_in_a_program_answers() -> Outcome {
    // So that a machine with other things to do decides nothing.
    let mut limits = ScriptLimits::default();
    limits.condition.time = Duration::from_secs(60);
    let mut printed = Vec::new();
    embed::run(&limits, &mut printed)?;
    insta::assert_snapshot!(String::from_utf8(printed)?, @r"
    GET /metrics/cpu      permitted
    GET /metrics/secrets  forbidden
    GET /metrics/cpu      unauthenticated: the request carries no token
    GET /health           permitted
    ");
    Ok(())
}

#[test]
fn signed_requests_are_let_in_and_others_are_not() -> Outcome {
    let mut printed = Vec::new();
    custom_authenticator::run(&mut printed)?;
    insta::assert_snapshot!(String::from_utf8(printed)?, @r"
    ci     POST /deploy/red permitted
    ci     POST /deploy/red unauthenticated
    ci     POST /deploy/red unauthenticated
    nobody POST /deploy/red unauthenticated
    ci     POST /teams/red  denied
    ");
    Ok(())
}

/// RFC 4231, test cases 2 and 6.
#[test]
fn signature_of_the_example_is_the_one_of_the_standard() {
    let hex = |key: &[u8], text: &[u8]| {
        let mac = custom_authenticator::hmac_sha256(key, text);
        mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(
        hex(b"Jefe", b"what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(
        hex(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
}

#[test]
fn store_of_the_example_passes_the_suite_and_counts() -> Outcome {
    let counts = Arc::<custom_store::Counts>::default();
    store_conformance(|| custom_store::Counted(MemoryStore::new(), Arc::clone(&counts)));
    assert!(counts.changes.load(Ordering::Relaxed) > 10_000);
    assert_eq!(counts.failures.load(Ordering::Relaxed), 0);
    Ok(())
}

#[test]
fn policies_are_replaced_all_or_none_and_what_they_open_is_told() -> Outcome {
    let (folder, mut printed) = (tempfile::tempdir()?, Vec::new());
    hot_reload::run(folder.path(), &mut printed)?;
    insta::assert_snapshot!(String::from_utf8(printed)?, @r#"
      GET /health  open
      GET /metrics closed
    the old policies stay
    error: there is no function `opne`
      --> api.rhai:1:1
       |
     1 | opne("GET /health");
       | ^^^^
      = help: did you mean `open`?
      GET /health  open
      GET /metrics closed
    opens GET,HEAD /metrics
    reloaded
      GET /health  open
      GET /metrics open
    "#);
    Ok(())
}

#[test]
fn examples_of_embedding_are_short() -> Outcome {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "examples"].iter().collect();
    for name in ["custom_authenticator", "custom_store", "embed", "host_functions", "hot_reload"] {
        let lines = fs::read(folder.join(format!("{name}.rs"))).map(String::from_utf8)??.lines().count();
        assert!(lines <= LINES_MAX, "{name}.rs has {lines} lines");
    }
    Ok(())
}
