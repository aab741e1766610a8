//! What lies in `deploy` is true: the service unit and the image start the program that is under test with the arguments
//! that they name, and nothing is written but where they say.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "files of the tests themselves")]

use super::Run;
use super::serving::Running;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Calls by which files come to be, change or go.
const WRITING: &str = "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,truncate,\
                       chmod,fchmodat,link,linkat,symlink,symlinkat,mknod,mknodat";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// A folder with the files that a deployment has below `/etc/rolegate`, and a run of the program in it.
fn deployed(program: &str) -> Run {
    let mut run = Run::new(&[]);
    run = run.file("etc/rolegate/rolegate.yaml", &read("config/rolegate.yaml"));
    run = run.file("etc/rolegate/authentication.yaml", &read("config/authentication.yaml"));
    run = run.file("etc/rolegate/policies/stackstate.rhai", &read("policies/stackstate.rhai"));
    run.command = Command::new(program);
    run.command.current_dir(run.folder.path()).env_clear();
    run
}

/// The values of a key of the unit, in their order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

/// The instruction of an image's last stage, without its name.
fn instructions<'a>(stage: &'a str, name: &str) -> Vec<&'a str> {
    stage.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
}

/// The next thing that a service manager is told.
fn told(manager: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 512];
    let length = manager.recv(&mut bytes).unwrap();
    let text = String::from_utf8(bytes.get(..length).unwrap().to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The same, without what it is told again and again.
fn told_beside_beats(manager: &UnixDatagram) -> Vec<String> {
    loop {
        let told = told(manager);
        if told != ["WATCHDOG=1"] {
            return told;
        }
    }
}

#[test]
fn service_unit_starts_the_server_and_hears_how_it_is() {
    let unit = read("deploy/systemd/rolegate.service");
    assert_eq!(values(&unit, "Type"), ["notify"]);
    let mut run = deployed(env!("CARGO_BIN_EXE_rolegate"));
    let folder = run.folder.path().to_owned();
    let here = |text: &str| {
        let text = text.replace("${CREDENTIALS_DIRECTORY}", "/etc/rolegate");
        text.replace("/etc/", &format!("{}/etc/", folder.display()))
            .replace("/var/lib/", &format!("{}/var/lib/", folder.display()))
    };
    let [start] = values(&unit, "ExecStart").try_into().unwrap();
    let (program, arguments) = start.split_once(' ').unwrap();
    assert_eq!(program, "/usr/bin/rolegate");
    run.command.args(here(arguments).split(' '));
    for variable in values(&unit, "Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        run.command.env(name, here(value));
    }
    assert_eq!(values(&unit, "StateDirectory"), ["rolegate"]);
    fs::create_dir_all(folder.join("var/lib/rolegate")).unwrap();
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    run.command.env("NOTIFY_SOCKET", folder.join("notify")).env("ROLEGATE_LISTEN", "127.0.0.1:0");
    // A tenth of a second: it need not be waited for, and what comes meanwhile is passed over.
    run.command.env("WATCHDOG_USEC", "100000");

    let mut running = Running::start(run);
    let ready = told_beside_beats(&manager);
    assert_eq!(ready, ["READY=1".to_owned(), format!("STATUS=listening on {}", running.address)]);
    assert!(running.get("/health", None).starts_with("HTTP/1.1 200 "));
    for _ in 0..3 {
        assert_eq!(told(&manager), ["WATCHDOG=1"]);
    }
    assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    running.signal("HUP");
    let [reloading, moment] = told_beside_beats(&manager).try_into().unwrap();
    assert_eq!(reloading, "RELOADING=1");
    assert!(moment.starts_with("MONOTONIC_USEC="), "{moment}");
    assert_eq!(told_beside_beats(&manager), ["READY=1"]);
    running.signal("TERM");
    assert_eq!(told_beside_beats(&manager), ["STOPPING=1", "STATUS=running requests finish"]);
    assert_eq!(running.end().0, Some(0));
    assert!(folder.join("var/lib/rolegate/tokens.redb").exists());
}

#[test]
fn manager_that_is_gone_is_told_of_in_the_log_and_stops_nothing() {
    let run = super::serving::configured(&["serve"]).variable("NOTIFY_SOCKET", "/nowhere/notify");
    let mut running = Running::start(run);
    running.wait_for_log("the service manager cannot be told how the server is");
    assert!(running.get("/health", None).starts_with("HTTP/1.1 200 "));
}

#[test]
fn service_unit_gives_the_server_no_more_than_it_needs() {
    let unit = read("deploy/systemd/rolegate.service");
    for (key, value) in [
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateDevices", "yes"),
        ("PrivateTmp", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("UMask", "0077"),
    ] {
        assert_eq!(values(&unit, key), [value], "{key}");
    }
}

#[test]
fn image_is_built_from_what_is_here() {
    let file = read("deploy/Dockerfile");
    let manifest = read("Cargo.toml");
    let (build, image) = file.split_once("\nFROM gcr.io/distroless/cc-debian13:nonroot\n").unwrap();
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let base = format!("FROM docker.io/library/rust:{}-slim-trixie AS build", rust.trim_matches('"'));
    assert!(build.contains(&base), "the image is built by the Rust that the manifest names");
    for stage in [build, image] {
        for copied in instructions(stage, "COPY").iter().filter(|copied| !copied.starts_with("--from")) {
            let sources: Vec<&str> = copied.split(' ').collect();
            for source in &sources[..sources.len() - 1] {
                assert!(Path::new(ROOT).join(source).exists(), "there is no `{source}`");
            }
        }
    }
    // Whatever the manifest names has to be there, or cargo refuses it.
    for folder in ["src", "benches", "examples", "tests"] {
        assert!(instructions(build, "COPY").iter().any(|copied| *copied == format!("{folder} {folder}")));
    }
    let command = instructions(build, "RUN").into_iter().find(|run| run.starts_with("cargo ")).unwrap();
    let built: Vec<&str> = command.split(" --bin ").skip(1).collect();
    assert_eq!(built, ["rolegate", "sts"]);
    for name in built {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")));
        assert!(image.contains(&format!("/build/target/release/{name} ")));
    }
    assert!(command.contains(" --locked ") && command.contains(" --release "));
    assert_eq!(instructions(image, "USER"), ["65532:65532"]);
}

/// The image runs with a file system that is read-only but for its volume.
#[cfg(target_os = "linux")]
#[test]
fn image_starts_the_server_which_writes_to_its_volume_alone() {
    let file = read("deploy/Dockerfile");
    let image = file.rsplit("\nFROM ").next().unwrap();
    assert_eq!(instructions(image, "ENTRYPOINT"), ["[\"/usr/bin/rolegate\"]"]);
    let [command] = instructions(image, "CMD").try_into().unwrap();
    let arguments: Vec<String> = serde_json::from_str(command).unwrap();
    let mut run = deployed("strace");
    let folder = run.folder.path().to_owned();
    let here = |text: &str| {
        let text = text.replace("/etc/", &format!("{}/etc/", folder.display()));
        if text == "/data" { folder.join("data").display().to_string() } else { text }
    };
    fs::create_dir(folder.join("data")).unwrap();
    let calls = folder.join("calls");
    run.command.args(["-f", "-qq", "-y", "-o"]).arg(&calls).args(["-e", &format!("trace={WRITING}")]);
    run.command.arg(env!("CARGO_BIN_EXE_rolegate")).args(arguments.iter().map(|argument| here(argument)));
    // The block with the token is laid over it, as the first lines of the file say.
    run.command.arg("--config").arg(folder.join("etc/rolegate/authentication.yaml"));
    let [variables] = instructions(image, "ENV").try_into().unwrap();
    for variable in variables.split(' ') {
        let (name, value) = variable.split_once('=').unwrap();
        let value = if name == "ROLEGATE_LISTEN" { "127.0.0.1:0".to_owned() } else { here(value) };
        run.command.env(name, value);
    }
    run.command.current_dir(folder.join("data"));

    let mut running = Running::start_under_strace(run);
    let token = "example-bootstrap-token-change-me-before-use";
    assert!(running.get("/api/server/status", Some(token)).starts_with("HTTP/1.1 200 "));
    running.signal("HUP");
    running.wait_for_log("policies");
    running.signal("TERM");
    running.end();

    let calls = fs::read_to_string(calls).unwrap();
    let volume = format!("{}/data", folder.display());
    let is_writing = |line: &&str| {
        let is_open = ["open(", "openat("].iter().any(|call| line.contains(call));
        let reads = is_open && !["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| line.contains(flag));
        !reads && !line.contains(" = -1 ") && line.contains('(') && !line.contains("+++")
    };
    let writing: Vec<&str> = calls.lines().filter(is_writing).collect();
    let elsewhere: Vec<&&str> =
        writing.iter().filter(|line| !line.contains(&volume) && !line.contains("/dev/")).collect();
    assert_eq!(elsewhere, Vec::<&&str>::new());
    assert!(writing.iter().any(|line| line.contains("tokens.redb")), "{calls}");
}

#[test]
fn every_command_of_both_programs_has_its_manual_page() {
    let (told, folder) = Run::new(&["man", "pages"]).told_with_folder();
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (Some(0), "", ""));
    let pages = fs::read_dir(folder.path().join("pages")).unwrap().map(|page| page.unwrap().file_name());
    let mut pages: Vec<String> = pages.map(|name| name.into_string().unwrap()).collect();
    pages.sort();
    insta::assert_snapshot!(pages.join("\n"));
    for page in &pages {
        let text = fs::read_to_string(folder.path().join("pages").join(page)).unwrap();
        assert!(text.contains(&format!(".TH {} 1 ", page.trim_end_matches(".1"))), "{page}: {text}");
    }
    let serve = fs::read_to_string(folder.path().join("pages/rolegate-serve.1")).unwrap();
    assert!(serve.contains("SIGHUP loads the policies anew"), "{serve}");
}

#[test]
fn manual_pages_that_cannot_be_written_are_told() {
    let told = Run::new(&["man", "a-file/pages"]).file("a-file", "").told();
    assert_eq!(told.code, Some(1));
    insta::assert_snapshot!(told.err, @"error: cannot write manual pages to `a-file/pages`: Not a directory (os error 20)");
}
