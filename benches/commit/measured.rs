//! What was measured, and how it is printed.

use super::Outcome;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What the kernel counts processor time in, a second.
const TICKS: f64 = 100.0;

/// Creations by so many creators at once.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) creators: usize,
    pub(crate) created: f64,
    pub(crate) seconds: f64,
    /// Processor time of the whole process: over HTTP that of the clients too.
    cpu_seconds: f64,
    /// When it began, in seconds since 1970, as `strace` has it.
    pub(crate) began: f64,
}

/// One creator and all of them, one after the other.
pub(crate) struct Round {
    pub(crate) sync_ms: f64,
    pub(crate) one: Run,
    pub(crate) all: Run,
}

#[derive(Default)]
pub(crate) struct Runs(pub(crate) Vec<Round>);

/// Runs of which each sync was seen.
pub(crate) struct Traced {
    pub(crate) runs: Runs,
    /// Syncs a creation, by one creator and by all.
    pub(crate) syncs: [f64; 2],
}

impl Run {
    pub(crate) fn of(
        creators: usize,
        count: impl Fn() -> usize,
        create: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<Self> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let (started, cpu_before, before) = (Instant::now(), cpu_seconds()?, count());
        create()?;
        let created = u32::try_from(count() - before)?;
        let (seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu_before);
        Ok(Self { creators, created: f64::from(created), seconds, cpu_seconds, began })
    }

    fn rate(&self) -> f64 {
        self.created / self.seconds
    }

    fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.created
    }

    /// The run as a line, and back.
    fn line(&self) -> String {
        let Self { creators, created, seconds, cpu_seconds, began } = self;
        format!("{creators} {created} {seconds} {cpu_seconds} {began}")
    }

    fn read(line: &str) -> Option<Self> {
        let mut numbers = line.split(' ').map(|number| number.parse::<f64>().ok());
        let creators = line.split(' ').next()?.parse().ok()?;
        numbers.next()??;
        let mut next = || numbers.next().flatten();
        Some(Self { creators, created: next()?, seconds: next()?, cpu_seconds: next()?, began: next()? })
    }
}

impl Round {
    fn ratio(&self) -> f64 {
        self.all.rate() / self.one.rate()
    }

    pub(crate) fn print(&self, disk: &str) -> Outcome<()> {
        let Self { sync_ms, one, all } = self;
        writeln!(
            stdout(),
            "{disk:10} {sync_ms:7.2} ms {:7.0}/s {:7.0}/s {:7.1} {:11.0} us {:7.0} us",
            one.rate(),
            all.rate(),
            self.ratio(),
            one.cpu_us(),
            all.cpu_us(),
        )?;
        Ok(())
    }
}

impl Runs {
    /// Prints the medians. The ratio is that of each round, since what a sync takes differs much from one second to the
    /// next.
    pub(crate) fn print_medians(
        &self,
        disk: &str,
        counted: Option<&Traced>,
        limit: Option<f64>,
    ) -> Outcome<()> {
        let of = |value: &dyn Fn(&Round) -> f64| median(self.0.iter().map(value).collect());
        let mut out = stdout();
        writeln!(out, "\n{disk}, medians of {} rounds", self.0.len())?;
        writeln!(out, "  1 sync      {:7.2} ms", of(&|round| round.sync_ms))?;
        let runs: [&dyn Fn(&Round) -> Run; 2] = [&|round| round.one, &|round| round.all];
        for (run, at) in runs.into_iter().zip(0..) {
            let creators = self.0.first().map_or(0, |round| run(round).creators);
            let (rate, cpu) = (of(&|round| run(round).rate()), of(&|round| run(round).cpu_us()));
            write!(out, " {creators:2} creators  {rate:7.0}/s   {cpu:5.0} us of processor time each")?;
            match counted.and_then(|counted| counted.syncs.get(at)) {
                Some(syncs) => writeln!(out, ", {syncs:.2} syncs each")?,
                None => writeln!(out)?,
            }
        }
        write!(out, "ratio         {:7.1}", of(&|round| round.ratio()))?;
        match limit {
            Some(limit) => writeln!(out, "     (limit {limit})")?,
            None => writeln!(out, "     (where a sync takes next to nothing, there is little to share)")?,
        }
        Ok(())
    }

    pub(crate) fn write_windows(&self, path: &Path) -> Outcome<()> {
        let line = |round: &Round| format!("{}\n{}\n{}\n", round.sync_ms, round.one.line(), round.all.line());
        Ok(fs::write(path, self.0.iter().map(line).collect::<String>())?)
    }

    pub(crate) fn read_windows(path: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(path)?;
        let mut lines = text.lines();
        let mut rounds = Vec::new();
        while let Some(sync) = lines.next() {
            let mut run = || lines.next().and_then(Run::read).ok_or("a run cannot be read");
            rounds.push(Round { sync_ms: sync.parse()?, one: run()?, all: run()? });
        }
        Ok(Self(rounds))
    }
}

/// Prints what the columns of the rounds are.
pub(crate) fn heading(part: &str, creators: usize, rounds: usize) -> Outcome<()> {
    writeln!(stdout(), "\ntokens created by {part}, {rounds} rounds of one creator and {creators}")?;
    writeln!(
        stdout(),
        "disk           a sync         1       {creators:3}   ratio  processor: 1      {creators:3}"
    )?;
    Ok(())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Processor time of this process so far, its own and the system's for it.
fn cpu_seconds() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold anything.
    let (_, fields) = text.rsplit_once(')').ok_or("/proc/self/stat cannot be read")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields.get(11..13).ok_or("/proc/self/stat is short")?.iter();
    Ok(ticks.map(|ticks| ticks.parse::<f64>()).sum::<Result<f64, _>>()? / TICKS)
}
