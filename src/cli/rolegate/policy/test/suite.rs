//! All files of cases that a run is about, and what comes of them.

use super::super::super::policies::{self, CASES_SUFFIX, LoadError, Named, POLICY_SUFFIX};
use super::super::super::settings::{FileArguments, Surroundings};
use super::super::Failure;
use crate::policy::cases::coverage::Coverage;
use crate::policy::cases::{self, CASES_MAX_BYTES, CaseFile, Report};
use crate::policy::{Limits, PolicySet, RoleBindings, Source};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// The files of cases, read.
pub(super) struct Suite {
    files: Vec<SuiteFile>,
    /// Policy files that no file of cases is for, by name.
    untested: Vec<PathBuf>,
    limits: Limits,
}

struct SuiteFile {
    path: PathBuf,
    named: Named,
    cases: Result<CaseFile, Rc<Failure>>,
}

/// What is wanted besides the answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// How many failing cases of each file are explained.
    pub(super) explained: usize,
    /// Whether it is noted what the cases exercise.
    pub(super) coverage: bool,
}

/// What came of all files.
pub(super) struct Outcome<'s> {
    pub(super) files: Vec<FileOutcome<'s>>,
    pub(super) coverage: Coverage,
    pub(super) untested: &'s [PathBuf],
}

/// What came of one file.
pub(super) struct FileOutcome<'s> {
    pub(super) path: &'s Path,
    /// How long it took to load what was not loaded before, and to run the cases.
    pub(super) time: Duration,
    /// Files whose common policies do not load share one failure.
    pub(super) ran: Result<Ran<'s>, Rc<Failure>>,
}

/// Cases that ran.
pub(super) struct Ran<'s> {
    pub(super) report: Report<'s>,
    /// How long each case took.
    pub(super) times: Vec<Duration>,
}

/// Policies with what they were made of, by the names of their files.
type Loaded = HashMap<BTreeSet<PathBuf>, Result<Rc<(Vec<Source>, PolicySet)>, Rc<Failure>>>;

impl Suite {
    /// Finds and reads the files of cases at these paths, or at those of the configuration. A file that cannot
    /// be read is a failure of its own.
    pub(super) fn read(
        paths: &[PathBuf],
        config: &FileArguments,
        surroundings: &Surroundings,
    ) -> Result<Self, Failure> {
        let (places, limits) = named(paths, config, surroundings)?;
        let mut files: Vec<SuiteFile> = Vec::new();
        for place in &places {
            for file in place.files(CASES_SUFFIX)? {
                let Some(path) = cases_of(&file) else { continue };
                if files.iter().all(|known| known.path != path) {
                    let named = Named { path: place.path.clone(), by: place.by.clone() };
                    let cases = read_cases(&path, &named).map_err(Rc::new);
                    files.push(SuiteFile { path, named, cases });
                }
            }
        }
        if files.is_empty() {
            return Err(Failure::NoCases);
        }
        let untested = untested(&places, &files);
        Ok(Self { files, untested, limits })
    }

    /// Runs all cases. Policies that several files name together are loaded once.
    pub(super) fn run(&self, wanted: Wanted) -> Outcome<'_> {
        let mut loaded = Loaded::new();
        let mut coverage = Coverage::default();
        let files = self.files.iter().map(|file| {
            let started = now();
            let ran = file.run(&self.limits, &mut loaded, &mut coverage, wanted);
            FileOutcome { path: &file.path, time: started.elapsed(), ran }
        });
        Outcome { files: files.collect(), coverage, untested: &self.untested }
    }
}

impl SuiteFile {
    fn run(
        &self,
        limits: &Limits,
        loaded: &mut Loaded,
        coverage: &mut Coverage,
        wanted: Wanted,
    ) -> Result<Ran<'_>, Rc<Failure>> {
        let cases = self.cases.as_ref().map_err(Rc::clone)?;
        let policies = self.policies(cases);
        let names = policies.iter().map(|named| named.path.clone()).collect();
        let loaded =
            loaded.entry(names).or_insert_with(|| load(&policies, limits).map_err(Rc::new)).clone()?;
        let mut times = Vec::with_capacity(cases.cases().len());
        let mut started = now();
        let (sources, policies) = &*loaded;
        let mut report = cases::run_each(cases, policies, |_| {
            let ended = now();
            times.push(ended - started);
            started = ended;
        });
        if wanted.coverage {
            coverage.add(policies, &report);
        }
        report.explain(policies, sources, wanted.explained);
        Ok(Ran { report, times })
    }

    /// The policies that the cases are for.
    fn policies(&self, cases: &CaseFile) -> Vec<Named> {
        let beside = |name: &str| Named { path: self.path.with_file_name(name), by: self.named.by.clone() };
        cases.policies().iter().map(|name| beside(name)).collect()
    }
}

impl Outcome<'_> {
    /// How many cases passed.
    pub(super) fn passed(&self) -> usize {
        self.reports().map(Report::passed).sum()
    }

    /// How many cases failed.
    pub(super) fn failed(&self) -> usize {
        self.reports().map(Report::failed).sum()
    }

    /// Whether all files of cases could be read and run.
    pub(super) fn is_complete(&self) -> bool {
        self.files.iter().all(|file| file.ran.is_ok())
    }

    /// Whether all cases of all files ran and passed.
    pub(super) fn is_success(&self) -> bool {
        self.files.iter().all(|file| file.ran.as_ref().is_ok_and(|ran| ran.report.is_success()))
    }

    fn reports(&self) -> impl Iterator<Item = &Report<'_>> {
        self.files.iter().filter_map(|file| Some(&file.ran.as_ref().ok()?.report))
    }
}

/// The files and folders that a run depends on: those that are named, and those that the cases are about.
pub(super) fn places(
    paths: &[PathBuf],
    config: &FileArguments,
    surroundings: &Surroundings,
    suite: Option<&Suite>,
) -> Vec<PathBuf> {
    let mut places = BTreeSet::new();
    if paths.is_empty() {
        places.extend(config.names(surroundings));
    }
    let named = named(paths, config, surroundings).map(|(places, _)| places);
    for named in named.unwrap_or_default() {
        // Its cases may come later.
        places.extend(cases_path(&named.path));
        places.insert(named.path);
    }
    for file in suite.map(|suite| &*suite.files).unwrap_or_default() {
        let policies = file.cases.as_ref().map(|cases| file.policies(cases)).unwrap_or_default();
        places.extend(policies.into_iter().map(|named| named.path));
        places.insert(file.path.clone());
    }
    places.into_iter().collect()
}

fn named(
    paths: &[PathBuf],
    config: &FileArguments,
    surroundings: &Surroundings,
) -> Result<(Vec<Named>, Limits), Failure> {
    if paths.is_empty() {
        let config = config.load(surroundings)?;
        return Ok((Named::policies_of(&config), config.policy_limits));
    }
    Ok((paths.iter().map(|path| Named::by_argument(path)).collect(), Limits::LOAD))
}

fn now() -> Instant {
    Instant::now()
}

fn read_cases(path: &Path, named: &Named) -> Result<CaseFile, Failure> {
    let bytes = named.bytes_of(path, CASES_MAX_BYTES)?;
    let cases = CaseFile::read(&path.to_string_lossy(), &bytes);
    Ok(cases.map_err(LoadError::from)?)
}

fn load(policies: &[Named], limits: &Limits) -> Result<Rc<(Vec<Source>, PolicySet)>, Failure> {
    let sources = policies::sources(policies)?;
    let policies = policies::compile(&sources, &RoleBindings::default(), limits, |_| {});
    Ok(Rc::new((sources, policies.map_err(LoadError::from)?)))
}

/// The cases that belong to a policy, or the file itself when it is one of cases.
fn cases_of(file: &Path) -> Option<PathBuf> {
    if !file.to_string_lossy().ends_with(POLICY_SUFFIX) {
        return Some(file.to_owned());
    }
    cases_path(file).filter(|cases| cases.is_file())
}

/// Where the cases of a policy lie; `None` when the file is none.
fn cases_path(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?.strip_suffix(POLICY_SUFFIX)?;
    Some(file.with_file_name(format!("{name}{CASES_SUFFIX}")))
}

/// The policy files at these places that no file of cases is for; none as long as that cannot be known.
fn untested(places: &[Named], files: &[SuiteFile]) -> Vec<PathBuf> {
    let mut tested = BTreeSet::new();
    for file in files {
        let Ok(cases) = &file.cases else { return Vec::new() };
        tested.extend(file.policies(cases).into_iter().map(|named| named.path));
    }
    // A folder without policies holds cases alone; one that cannot be read was told about.
    let policies = places.iter().filter_map(|place| place.files(POLICY_SUFFIX).ok()).flatten();
    let is_policy = |file: &Path| file.to_string_lossy().ends_with(POLICY_SUFFIX);
    let untested: BTreeSet<PathBuf> =
        policies.filter(|file| is_policy(file) && !tested.contains(file)).collect();
    untested.into_iter().collect()
}
