//! Servers behind TLS, and whom the program trusts.

use super::world::{CERTIFICATE, ONE_TOKEN, Reply, Server, Sts};

fn listing() -> Server {
    Server::start_tls().with("GET /api/security/tokens", Reply::json(ONE_TOKEN))
}

/// A run with the server's certificate in a file.
fn with_certificate(words: &str, server: &Server) -> (Sts, std::path::PathBuf) {
    let run = Sts::of(words).server(server);
    let path = run.home().join("certificate.pem");
    std::fs::write(&path, CERTIFICATE).unwrap_or_default();
    (run, path)
}

#[test]
fn server_that_nobody_vouches_for_gets_no_token() {
    let server = listing();
    let outcome = Sts::of("service-token list").server(&server).run();
    assert_eq!(outcome.code, 4);
    let message = "❌ Could not connect to https://127.0.0.1:[port]/api due to the TLS connection failed: ";
    assert!(outcome.stderr.starts_with(message), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("`--ca-cert-path`"), "{}", outcome.stderr);
    assert!(server.lines().is_empty());
}

#[test]
fn server_is_trusted_by_its_certificate() {
    let server = listing();
    let (run, path) = with_certificate("service-token list --ca-cert-path", &server);
    assert_eq!(run.arg(path).run().code, 0);
    for variable in ["STS_CA_CERT_PATH", "SSL_CERT_FILE"] {
        let (run, path) = with_certificate("service-token list", &server);
        assert_eq!(run.env(variable, path).run().code, 0, "{variable}");
    }
}

#[test]
fn certificate_in_a_context_is_used() {
    let server = listing();
    let (run, path) = with_certificate("context save --service-token x --url", &server);
    let saved = run.arg(server.url()).arg("--ca-cert-path").arg(path).run();
    assert_eq!(saved.code, 0, "{}", saved.shown());
    let data = saved
        .config()
        .lines()
        .find_map(|line| Some(line.trim().strip_prefix("ca-cert-base64-data: ")?.to_owned()));
    assert_eq!(Sts::of("service-token list").after(saved).run().code, 0);
    let given = Sts::of("service-token list")
        .server(&server)
        .env("STS_CA_CERT_BASE64_DATA", data.unwrap_or_default());
    assert_eq!(given.run().code, 0);
}

#[test]
fn certificate_is_not_looked_at_when_that_is_asked_for() {
    let server = listing();
    assert_eq!(Sts::of("service-token list --skip-ssl").server(&server).run().code, 0);
    assert_eq!(Sts::of("service-token list").server(&server).env("STS_SKIP_SSL", "1").run().code, 0);
    let save = Sts::of("context save --skip-ssl --service-token x --url").arg(server.url()).run();
    assert_eq!(save.code, 0);
    let by_file = Sts::of("service-token list").after(save).run();
    assert_eq!(by_file.code, 0);
    assert_eq!(Sts::of("service-token list --skip-ssl=false").after(by_file).run().code, 4);
}
