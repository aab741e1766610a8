//! What the sources must look like, so that the house stays in order without anybody watching.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

type Outcome = Result<(), Box<dyn Error>>;

/// Lines that a file may have, not counting its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines that half of the files stay below, not counting their tests.
const FILE_LINES_MEDIAN: usize = 200;

/// Names at the root of the library: more of them nobody keeps in mind.
const ROOT_NAMES_MAX: usize = 60;

/// Crates that one place alone may name, so that they can be replaced there.
const CONFINED: [(&str, &[&str]); 4] = [
    ("rhai", &["src/policy/script"]),
    ("redb", &["src/store/embedded"]),
    ("serde_yaml", &["src/config", "src/policy/cases", "src/cli/sts/"]),
    ("ureq", &["src/cli/client.rs"]),
];

struct Source {
    /// The path from the package's root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The module of `lib.rs` that the file belongs to; `None` for `lib.rs` itself and the programs.
    fn module(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let name = below.split('/').next()?.trim_end_matches(".rs");
        (name != "lib" && name != "bin").then_some(name)
    }

    /// The text without its unit tests, which stand at the end.
    fn without_tests(&self) -> &str {
        let end = self.text.find("\n#[cfg(test)]\nmod ");
        end.and_then(|end| self.text.get(..end)).unwrap_or(&self.text)
    }

    /// Lines outside comments, with their numbers.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

#[test]
fn modules_import_only_those_declared_above_them() -> Outcome {
    let lib = library_root()?;
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let order: BTreeMap<&str, usize> = declared.enumerate().map(|(at, name)| (name, at)).collect();
    assert!(order.len() > 10, "the list of modules was not found");

    let mut wrong = Vec::new();
    for source in sources("src")? {
        let Some(own) = source.module() else { continue };
        let Some(own_place) = order.get(own) else {
            wrong.push(format!("{}: `{own}` is not declared in lib.rs", source.path));
            continue;
        };
        let without_tests = Source { path: source.path.clone(), text: source.without_tests().to_owned() };
        for (number, line) in without_tests.code_lines() {
            for imported in line
                .split("crate::")
                .skip(1)
                .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next())
            {
                if order.get(imported).is_some_and(|place| place > own_place) {
                    wrong.push(format!(
                        "{}:{number}: `{own}` stands above `{imported}` and may not use it",
                        source.path
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn one_use_line_imports_from_one_module_of_the_crate() -> Outcome {
    let all = sources("src")?;
    let wrong: Vec<_> = all
        .iter()
        .flat_map(|source| source.code_lines().map(move |(number, line)| (source, number, line)))
        .filter(|(_, _, line)| line.trim_start().starts_with("use crate::{"))
        .map(|(source, number, _)| format!("{}:{number}", source.path))
        .collect();
    assert!(wrong.is_empty(), "write one `use crate::…` for each module: {}", wrong.join(", "));
    Ok(())
}

#[test]
fn crates_that_may_be_replaced_are_named_in_one_place() -> Outcome {
    let mut wrong = Vec::new();
    for source in sources("src")? {
        for (name, places) in CONFINED {
            let allowed = places.iter().any(|place| source.path.starts_with(place));
            for (number, line) in source.code_lines() {
                if !allowed && (line.contains(&format!("{name}::")) || line.contains(&format!("use {name}")))
                {
                    wrong.push(format!("{}:{number}: names `{name}`", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn files_are_short() -> Outcome {
    let mut lengths: Vec<(usize, String)> = sources("src")?
        .iter()
        .map(|source| (source.without_tests().lines().count(), source.path.clone()))
        .collect();
    lengths.sort();
    let too_long: Vec<_> = lengths
        .iter()
        .filter(|(lines, path)| *lines > FILE_LINES_MAX && !path.ends_with("tests.rs"))
        .collect();
    assert!(too_long.is_empty(), "longer than {FILE_LINES_MAX} lines without tests: {too_long:?}");
    let median = lengths.get(lengths.len() / 2).ok_or("no sources")?;
    assert!(median.0 < FILE_LINES_MEDIAN, "half of the files have {} lines or more", median.0);
    Ok(())
}

#[test]
fn no_unfinished_work_is_marked() -> Outcome {
    // Put together here, so that this file does not find itself.
    let forbidden =
        [["to", "do"].concat(), ["fix", "me"].concat(), ["db", "g!"].concat(), ["#[ig", "nore"].concat()];
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "examples", "benches"] {
        for source in sources(folder)? {
            for (at, line) in source.text.lines().enumerate() {
                let words: Vec<String> =
                    line.to_lowercase().split([' ', '(', ')', ':', '`', '\t']).map(str::to_owned).collect();
                if forbidden.iter().any(|word| {
                    words.contains(word) || (word.contains(['!', '#']) && line.contains(word.as_str()))
                }) {
                    wrong.push(format!("{}:{}", source.path, at + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join(", "));
    Ok(())
}

#[test]
fn changelog_has_a_heading_for_this_version() -> Outcome {
    let changelog = fs::read(root().join("CHANGELOG.md")).map(String::from_utf8)??;
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    assert!(
        changelog.lines().any(|line| line.starts_with(&heading)),
        "CHANGELOG.md has no heading `{heading}`"
    );
    Ok(())
}

#[test]
fn library_root_has_no_code() -> Outcome {
    let lib = library_root()?;
    let other: Vec<_> = lib
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("#["))
        .filter(|line| !line.starts_with("pub mod ") && !line.starts_with("pub use "))
        .collect();
    assert!(other.is_empty(), "lib.rs holds more than modules and re-exports: {other:?}");
    Ok(())
}

#[test]
fn library_root_has_few_names() -> Outcome {
    let text = fs::read(root().join("src/lib.rs")).map(String::from_utf8)??;
    let mut names = Vec::new();
    for line in text.lines() {
        if let Some(module) = line.strip_prefix("pub mod ") {
            names.push(module.trim_end_matches(';'));
        } else if let Some(used) = line.strip_prefix("pub use ") {
            let (path, list) =
                used.trim_end_matches(';').rsplit_once("::").ok_or("a name without a module")?;
            assert!(list != "*" && !path.contains('{'), "lib.rs names what it shows: {line}");
            names.extend(
                list.trim_matches(['{', '}']).split(',').map(str::trim).filter(|name| !name.is_empty()),
            );
        }
    }
    // Macros stand at the root as well, wherever they are written.
    let all = sources("src")?;
    let exported = all.iter().map(|source| source.text.matches("\n#[macro_export]").count()).sum::<usize>();
    let count = names.len() + exported;
    assert!((30..=ROOT_NAMES_MAX).contains(&count), "the root of the library has {count} names: {names:?}");
    Ok(())
}

#[test]
fn every_snapshot_file_belongs_to_a_test() -> Outcome {
    let tests: String =
        sources("tests")?.iter().chain(&sources("src")?).map(|source| source.text.as_str()).collect();
    let mut wrong = Vec::new();
    for path in files(&root().join("tests"))?.into_iter().chain(files(&root().join("src"))?) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".snap") else { continue };
        // insta names a file `binary__module__name.snap`; the name is the test's, or the one it was given.
        let given = stem.rsplit("__").next().unwrap_or(stem);
        let family = given.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        if !tests.contains(given) && !tests.contains(family) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "no test names these snapshots: {wrong:?}");
    Ok(())
}

/// The text of `lib.rs`, where a module of the crate alone stands as a public one does.
fn library_root() -> Result<String, Box<dyn Error>> {
    let text = fs::read(root().join("src/lib.rs")).map(String::from_utf8)??;
    Ok(text.replace("pub(crate) mod ", "pub mod "))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Result<Vec<Source>, Box<dyn Error>> {
    let mut sources = Vec::new();
    for path in files(&root().join(folder))? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = String::from_utf8(fs::read(&path)?)?;
            let path = path.strip_prefix(root())?.to_string_lossy().replace('\\', "/");
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
