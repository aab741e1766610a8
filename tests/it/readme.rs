//! The README is true: its commands are run in order, in a copy of the files that they need, and print what
//! stands there, but for ids, secrets and times.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

type Outcome = Result<(), Box<dyn Error>>;

/// How the README starts the server, and what stands in its place here: the program that is under test.
const SERVE: &str = "cargo run --release -- serve";
const PROGRAM: &str = "cargo run --release --";
/// Where the README's server listens. The one of this test takes a free port.
const ADDRESS: &str = "localhost:8080";

/// A fenced block of the README.
struct Block {
    language: String,
    text: String,
}

/// A command of a `console` block, and what it prints.
struct Step {
    command: String,
    output: String,
}

/// What the commands run in.
struct World {
    folder: tempfile::TempDir,
    path: String,
    server: Option<Child>,
    address: String,
    exports: String,
    /// The latest secret and id that a command printed, for `<TOKEN>` and `<ID>`.
    token: String,
    id: String,
}

#[test]
fn commands_print_what_stands_there() -> Outcome {
    let mut world = World::new()?;
    let mut steps = 0;
    for block in blocks()?.iter().filter(|block| block.language == "console") {
        for step in block.steps() {
            let printed = world.run(&step.command)?;
            let (printed, expected) = (redacted(&printed), redacted(&step.output));
            assert_eq!(printed, expected, "`{}` prints something else than the README says", step.command);
            steps += 1;
        }
    }
    assert!(steps > 10, "only {steps} commands were found");
    Ok(())
}

#[test]
fn configuration_and_policy_blocks_are_accepted() -> Outcome {
    let world = World::new()?;
    for block in blocks()? {
        let check = match block.language.as_str() {
            "yaml" => {
                ["config", "check", "--config", "config/rolegate.yaml", "--config", "block.yaml"].as_slice()
            }
            "rhai" => ["policy", "check", "block.rhai"].as_slice(),
            _ => continue,
        };
        let file = world.folder.path().join(format!("block.{}", block.language));
        fs::write(file, block.text.replace("<token>", "a-token-that-stands-in-for-yours-1234567890"))?;
        let output = world.command(env!("CARGO_BIN_EXE_rolegate")).args(check).output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn example_is_the_one_that_the_crate_documents() -> Outcome {
    let lib = String::from_utf8(fs::read(root().join("src/lib.rs"))?)?;
    let documented: String =
        lib.lines().filter_map(|line| line.strip_prefix("//!")).fold(String::new(), |mut text, line| {
            let _never_fails = writeln!(text, "{}", line.strip_prefix(' ').unwrap_or(line));
            text
        });
    let examples: Vec<_> = blocks()?.into_iter().filter(|block| block.language == "rust").collect();
    assert_eq!(examples.len(), 1);
    for example in examples {
        assert!(documented.contains(&example.text), "the crate documents another example");
    }
    Ok(())
}

impl Block {
    fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for line in self.text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { command: command.to_owned(), output: String::new() });
            } else if let Some(step) = steps.last_mut() {
                match line.strip_prefix("> ") {
                    Some(more) if step.output.is_empty() => step.command.push_str(&format!("\n{more}")),
                    _ => step.output.push_str(&format!("{line}\n")),
                }
            }
        }
        steps
    }
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        for part in ["config", "policies"] {
            copy(&root().join(part), &folder.path().join(part))?;
        }
        let programs = Path::new(env!("CARGO_BIN_EXE_sts")).parent().ok_or("no folder of programs")?;
        Ok(Self {
            path: format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()),
            folder,
            server: None,
            address: ADDRESS.to_owned(),
            exports: String::new(),
            token: String::new(),
            id: String::new(),
        })
    }

    /// A command in the copy, with nothing of this process's environment but the way to the programs.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.folder.path());
        command.env("TZ", "UTC").env("LANG", "C.UTF-8").env("ROLEGATE_LISTEN", "127.0.0.1:0");
        command
    }

    fn run(&mut self, command: &str) -> Result<String, Box<dyn Error>> {
        let command = command.replace("<TOKEN>", &self.token).replace("<ID>", &self.id);
        if let Some(arguments) = command.strip_prefix(SERVE) {
            return self.serve(arguments);
        }
        if command.starts_with("cargo build") {
            return Ok(String::new());
        }
        let command = command.replace(ADDRESS, &self.address).replace(PROGRAM, "rolegate");
        if let Some(exported) = command.strip_prefix("export ") {
            // The README's path is that of a build; here it is that of the programs under test.
            let kept = exported.split(' ').filter(|pair| !pair.starts_with("PATH="));
            kept.for_each(|pair| self.exports.push_str(&format!("export {pair}\n")));
            return Ok(String::new());
        }
        let output =
            self.command("bash").arg("-c").arg(format!("{}{{ {command}\n}} 2>&1", self.exports)).output()?;
        let printed = String::from_utf8(output.stdout)?;
        if let Some(at) = printed.find("svctok-") {
            self.token = printed.split_at(at).1.split_whitespace().next().unwrap_or_default().to_owned();
        }
        if let Some(line) = printed.lines().find(|line| line.contains("my-service-token")) {
            self.id = line.split(' ').next().unwrap_or_default().to_owned();
        }
        Ok(printed)
    }

    /// Starts the server, after the one that runs was stopped, and reads what it prints up to its address.
    fn serve(&mut self, arguments: &str) -> Result<String, Box<dyn Error>> {
        self.stop();
        let mut command = self.command(env!("CARGO_BIN_EXE_rolegate"));
        command.arg("serve").args(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let server = self.server.insert(command.spawn()?);
        let mut printed = String::new();
        let mut lines = BufReader::new(server.stdout.take().ok_or("no output")?);
        while lines.read_line(&mut printed)? > 0 {
            if let Some((_, address)) = printed.split_once("listening  http://") {
                self.address = address.trim_end().to_owned();
                return Ok(printed.replace(&self.address, "127.0.0.1:8080"));
            }
        }
        let mut errors = String::new();
        if let Some(mut stderr) = server.stderr.take() {
            stderr.read_to_string(&mut errors)?;
        }
        Err(format!("the server did not start: {errors}").into())
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself; a test that needs it says so.
            let _ended = server.kill();
            let _ended = server.wait();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The text with everything that differs from run to run replaced: digits by `0`, and letters within words
/// that are secrets, versions or ids of hexadecimal digits.
fn redacted(text: &str) -> String {
    let mut redacted = String::new();
    for line in text.lines() {
        for word in line.split_inclusive([' ', '"', ',', '(', ')', '{', '}']) {
            let core = word.trim_end_matches([' ', '"', ',', '(', ')', '{', '}']);
            let is_hex =
                core.len() >= 15 && core.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
            if core.starts_with("svctok-") || is_hex {
                redacted.push_str(&word.replace(core, "…"));
            } else if core.len() >= 8 {
                redacted
                    .extend(word.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }));
            } else {
                redacted.push_str(word);
            }
        }
        // An editor trims the spaces that pad the last column of a table.
        redacted.truncate(redacted.trim_end_matches(' ').len());
        redacted.push('\n');
    }
    redacted
}

fn blocks() -> Result<Vec<Block>, Box<dyn Error>> {
    let readme = String::from_utf8(fs::read(root().join("README.md"))?)?;
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in readme.lines() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(language), None) => {
                open = Some(Block { language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    Ok(blocks)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
