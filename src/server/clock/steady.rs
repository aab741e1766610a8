//! Time that does not go back: the latest time that counts is kept in a file, and what had expired by then stays
//! expired, whatever the clock says later and however often the server starts again.

use super::Stopwatch;
use crate::front::Clock;
use crate::time::Timestamp;
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// The file in the data folder.
pub const CLOCK_FILE_NAME: &str = "clock";
/// A clock that is so much further, or less far, than the time that has passed since the last look has jumped.
const STEP_MAX: Duration = Duration::from_secs(2);
/// How long a clock that jumped has to stay where it is before it is believed, and remembered.
const SETTLING: Duration = Duration::from_secs(3600);
/// A clock that is so much further than at the end of the last run has jumped.
const ABSENCE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// How far the file may be behind after a crash.
const KEEPING: Duration = Duration::from_secs(30);
const LOOKING: Duration = Duration::from_secs(1);
const FILE_MODE: u32 = 0o600;
/// Far more than a time is long.
const FILE_MAX_BYTES: u64 = 256;

/// A clock that never tells a time before the latest one that counted.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "holds functions")]
pub struct SteadyClock(Arc<Inner>);

struct Inner {
    path: PathBuf,
    wall: Clock,
    stopwatch: Stopwatch,
    line: Mutex<Line>,
    /// The latest time that counted, in milliseconds. No earlier one is told.
    latest: AtomicI64,
    kept: Mutex<i64>,
    /// Whether the last attempt to keep it failed, so that it is told once.
    is_failing: AtomicBool,
}

/// The clock of the machine says less than the latest time that counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock of this machine says {wall}, but this server ran at {latest} before: until the clock is past that, it \
     takes that for the time, so that nothing comes back that had expired; set the clock right, or, where the later \
     time was the wrong one, stop the server, remove `{}` and start it again",
    path.display()
)]
pub struct WentBack {
    /// What the clock says.
    pub wall: Timestamp,
    /// The latest time that counted.
    pub latest: Timestamp,
    /// Where that is kept.
    pub path: PathBuf,
}

/// Why the latest time cannot be kept, or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The operating system refuses.
    #[error("cannot {action} `{}`, which keeps the latest time: {source}; make room for it, or let the user that runs rolegate write it", path.display())]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "`{}` does not hold the latest time: restore it, or remove it when the clock of this machine is right",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// The line that time follows by the stopwatch, from what the clock said; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// The time at which the stopwatch was started, as far as the clock is believed.
    start: i64,
    /// The same by a clock that jumped, and how far the stopwatch was then.
    jumped: Option<(i64, Duration)>,
}

/// What the clock did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Steady,
    /// It jumped just now, by so many milliseconds.
    Jumped(i64),
    /// It has stayed where it jumped to, and is believed from now on.
    Settled,
}

impl SteadyClock {
    /// The clock over a data folder that exists, and whether the clock of the machine went back since the last run.
    ///
    /// # Errors
    /// When the latest time cannot be read or kept.
    pub fn open(
        folder: &Path,
        wall: Clock,
        stopwatch: Stopwatch,
    ) -> Result<(Self, Option<WentBack>), ClockError> {
        let path = folder.join(CLOCK_FILE_NAME);
        let kept = read(&path)?;
        let now = wall();
        let (line, latest) = match kept {
            // Who was away for years is as likely a clock that is wrong, and what that says is not remembered at once.
            Some(kept) if now.since(kept) > ABSENCE_MAX => {
                let passed = stopwatch();
                let jumped = Some((now.as_millis().saturating_sub(millis(passed)), passed));
                (Line { start: kept.as_millis(), jumped }, kept)
            }
            Some(kept) => (Line::from(now), kept.max(now)),
            None => (Line::from(now), now),
        };
        let went_back =
            kept.filter(|kept| *kept > now).map(|latest| WentBack { wall: now, latest, path: path.clone() });
        let latest = AtomicI64::new(latest.as_millis());
        let (line, kept) = (Mutex::new(line), Mutex::new(i64::MIN));
        let inner = Inner { path, wall, stopwatch, line, latest, kept, is_failing: AtomicBool::new(false) };
        let clock = Self(Arc::new(inner));
        match clock.keep() {
            // Who needs no more than what is there already is served while there is no room for more.
            Err(error) if error.is_for_want_of_room() => clock.tell(&error),
            kept => kept?,
        }
        Ok((clock, went_back))
    }

    /// What time it is: what the clock of the machine says, but never less than the latest time that counted.
    pub fn clock(&self) -> Clock {
        let inner = Arc::clone(&self.0);
        Arc::new(move || {
            let wall = (inner.wall)();
            let latest = inner.latest.load(Ordering::Relaxed);
            let ahead = wall.as_millis().saturating_sub(latest);
            if (1..=millis(STEP_MAX)).contains(&ahead) {
                // As much as passes between two looks: what is told counts, or a jump back would take it back.
                return Timestamp::from_millis(inner.latest.fetch_max(wall.as_millis(), Ordering::Relaxed))
                    .max(wall);
            }
            wall.max(Timestamp::from_millis(latest))
        })
    }

    /// Compares the clock with the time that has passed. What it says counts from then on, unless it has jumped.
    pub fn look(&self) {
        let inner = &*self.0;
        let wall = (inner.wall)();
        let (seen, latest) = {
            let mut line = inner.line.lock();
            let passed = (inner.stopwatch)();
            let seen = line.look(wall.as_millis(), passed);
            let time = line.start.saturating_add(millis(passed));
            (seen, inner.latest.fetch_max(time, Ordering::Relaxed).max(time))
        };
        let latest = Timestamp::from_millis(latest);
        match seen {
            Seen::Steady => {}
            Seen::Jumped(by) if by > 0 => tracing::warn!(
                clock = %wall, %latest,
                "the clock jumped ahead: it is obeyed at once, and what it shows as expired is refused; it is remembered \
                 when it stays so for an hour"
            ),
            Seen::Jumped(_) => tracing::warn!(
                clock = %wall, %latest,
                "the clock jumped back: until it is past the latest time that counted, that is the time, so that \
                 nothing comes back that had expired"
            ),
            Seen::Settled => {
                tracing::warn!(clock = %wall, %latest, "the clock that jumped is believed from now on");
            }
        }
    }

    /// Keeps the latest time that counted, when it is another one than before.
    ///
    /// # Errors
    /// When the file cannot be written; what it held is still there.
    pub fn keep(&self) -> Result<(), ClockError> {
        let mut kept = self.0.kept.lock();
        let latest = self.0.latest.load(Ordering::Relaxed);
        if *kept < latest {
            write(&self.0.path, Timestamp::from_millis(latest))?;
            *kept = latest;
        }
        Ok(())
    }

    /// Looks at the clock every second and keeps the latest time, for ever.
    pub async fn run(self) {
        let mut looks = interval(LOOKING);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept_at = (self.0.stopwatch)();
        loop {
            looks.tick().await;
            self.look();
            if (self.0.stopwatch)().saturating_sub(kept_at) >= KEEPING {
                let clock = self.clone();
                // A thread that panicked has kept nothing, which is told where panics are.
                let _ = spawn_blocking(move || clock.keep_or_tell()).await;
                kept_at = (self.0.stopwatch)();
            }
        }
    }

    /// The last look, when the server ends.
    pub fn finish(&self) {
        self.look();
        self.keep_or_tell();
    }

    fn keep_or_tell(&self) {
        match self.keep() {
            Ok(()) => self.0.is_failing.store(false, Ordering::Relaxed),
            Err(error) => self.tell(&error),
        }
    }

    fn tell(&self, error: &ClockError) {
        if !self.0.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "a start with a clock that went back might revive what expired meanwhile");
        }
    }
}

impl ClockError {
    fn is_for_want_of_room(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

impl Line {
    const fn from(now: Timestamp) -> Self {
        Self { start: now.as_millis(), jumped: None }
    }

    fn look(&mut self, wall: i64, passed: Duration) -> Seen {
        let start = wall.saturating_sub(millis(passed));
        let is_near = |other: i64| start.abs_diff(other) <= millis(STEP_MAX).unsigned_abs();
        if is_near(self.start) {
            *self = Self { start, jumped: None };
            return Seen::Steady;
        }
        match self.jumped {
            Some((jumped, since)) if is_near(jumped) => {
                if passed.saturating_sub(since) < SETTLING {
                    self.jumped = Some((start, since));
                    return Seen::Steady;
                }
                *self = Self { start, jumped: None };
                Seen::Settled
            }
            Some(_) | None => {
                self.jumped = Some((start, passed));
                Seen::Jumped(start.saturating_sub(self.start))
            }
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn read(path: &Path) -> Result<Option<Timestamp>, ClockError> {
    let error = |source| ClockError::Io { action: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(error(source)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes).map_err(error)?;
    // The number counts; the date beside it is for people.
    let time = std::str::from_utf8(&bytes).ok().and_then(|text| text.split_once(' ')?.0.parse().ok());
    let foreign = || ClockError::Foreign { path: path.to_owned() };
    time.map(Timestamp::from_millis).ok_or_else(foreign).map(Some)
}

/// Writes beside the file, and then in its place, so that a crash leaves one time or the other.
fn write(path: &Path, time: Timestamp) -> Result<(), ClockError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&beside)?;
        file.write_all(format!("{} {time}\n", time.as_millis()).as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| ClockError::Io { action: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_800_000_000_000;

    /// A machine whose clock is set by hand, with a data folder.
    struct Machine {
        folder: tempfile::TempDir,
        wall: Arc<AtomicI64>,
        passed: Arc<AtomicU64>,
    }

    impl Machine {
        fn new() -> Self {
            let (wall, passed) = (Arc::new(AtomicI64::new(NOW)), Arc::new(AtomicU64::new(0)));
            Self { folder: tempfile::tempdir().unwrap(), wall, passed }
        }

        fn start(&self) -> (SteadyClock, Option<WentBack>) {
            let (wall, passed) = (Arc::clone(&self.wall), Arc::clone(&self.passed));
            let wall: Clock = Arc::new(move || Timestamp::from_millis(wall.load(Ordering::Relaxed)));
            let stopwatch: Stopwatch =
                Arc::new(move || Duration::from_millis(passed.load(Ordering::Relaxed)));
            self.passed.store(0, Ordering::Relaxed);
            SteadyClock::open(self.folder.path(), wall, stopwatch).unwrap()
        }

        /// So much time passes, with a look each second.
        fn pass(&self, clock: &SteadyClock, time: i64) {
            for _ in 0..time / 1000 {
                self.wall.fetch_add(1000, Ordering::Relaxed);
                self.passed.fetch_add(1000, Ordering::Relaxed);
                clock.look();
            }
        }

        fn jump(&self, by: i64) {
            self.wall.fetch_add(by, Ordering::Relaxed);
        }

        fn file(&self) -> String {
            String::from_utf8(fs::read(self.folder.path().join(CLOCK_FILE_NAME)).unwrap()).unwrap()
        }
    }

    fn time(clock: &SteadyClock) -> i64 {
        clock.clock()().as_millis() - NOW
    }

    #[test]
    fn steady_clock_tells_what_the_machine_says() {
        let machine = Machine::new();
        let (clock, went_back) = machine.start();
        assert_eq!((time(&clock), went_back), (0, None));
        machine.pass(&clock, HOUR);
        machine.jump(700);
        assert_eq!(time(&clock), HOUR + 700);
    }

    #[test]
    fn clock_that_jumps_back_does_not_take_time_back() {
        let machine = Machine::new();
        let (clock, _) = machine.start();
        machine.pass(&clock, 10_000);
        machine.jump(-HOUR);
        assert_eq!(time(&clock), 10_000);
        // Time goes on by the stopwatch until the jump is believed, and stands still until the clock is there again.
        machine.pass(&clock, HOUR / 2);
        assert_eq!(time(&clock), 10_000 + HOUR / 2);
        machine.pass(&clock, HOUR);
        let stands = time(&clock);
        assert!((10_000 + HOUR..10_000 + HOUR + 3000).contains(&stands), "{stands}");
        machine.pass(&clock, HOUR);
        assert_eq!(time(&clock), 10_000 + HOUR / 2 + HOUR);
    }

    #[test]
    fn time_that_was_told_is_not_taken_back_before_the_next_look() {
        let machine = Machine::new();
        let (clock, _) = machine.start();
        let told = [0, 900, -HOUR, HOUR - 100, 1100].map(|by| {
            machine.jump(by);
            time(&clock)
        });
        assert_eq!(told, [0, 900, 900, 900, 1900]);
        // A jump that is no more than told is not remembered.
        machine.jump(HOUR);
        assert_eq!(time(&clock), HOUR + 1900);
        machine.jump(-HOUR);
        assert_eq!(time(&clock), 1900);
    }

    #[test]
    fn full_disk_keeps_no_server_from_starting_and_another_failure_does() {
        let machine = Machine::new();
        drop(machine.start());
        let beside = machine.folder.path().join("clock.new");
        std::os::unix::fs::symlink("/dev/full", &beside).unwrap();
        machine.pass(&machine.start().0, 1000);
        assert!(machine.file().starts_with(&NOW.to_string()));
        fs::remove_file(&beside).unwrap();
        fs::create_dir(&beside).unwrap();
        let open =
            SteadyClock::open(machine.folder.path(), crate::front::wall_clock(), super::super::stopwatch());
        assert!(open.is_err());
        fs::remove_dir(&beside).unwrap();
        machine.start().0.keep().unwrap();
        assert!(machine.file().starts_with(&(NOW + 1000).to_string()));
    }

    #[test]
    fn clock_that_jumps_ahead_is_obeyed_and_not_remembered_before_it_stays() {
        let machine = Machine::new();
        let (clock, _) = machine.start();
        machine.jump(100 * HOUR);
        machine.pass(&clock, HOUR / 2);
        assert_eq!(time(&clock), 100 * HOUR + HOUR / 2, "it is obeyed");
        machine.jump(-100 * HOUR);
        machine.pass(&clock, 1000);
        assert_eq!(time(&clock), HOUR / 2 + 1000, "nothing is lost when it comes back");
        clock.keep().unwrap();
        assert!(machine.file().starts_with(&format!("{} 2027-01-15T", NOW + HOUR / 2 + 1000)));

        machine.jump(100 * HOUR);
        machine.pass(&clock, HOUR + 2000);
        machine.jump(-100 * HOUR);
        assert!(time(&clock) >= 101 * HOUR, "what has stayed so long counts");
    }

    #[test]
    fn start_with_a_clock_that_went_back_tells_both_times_and_takes_the_later() {
        let machine = Machine::new();
        let (clock, _) = machine.start();
        machine.pass(&clock, 5000);
        clock.finish();
        machine.jump(-HOUR);
        let (clock, went_back) = machine.start();
        assert_eq!(time(&clock), 5000);
        let told = went_back.unwrap().to_string();
        assert!(
            told.contains("says 2027-01-15T07:00:05.000Z") && told.contains("2027-01-15T08:00:05.000Z"),
            "{told}"
        );
        drop(clock);
        // The way out, when the later time was the wrong one.
        fs::remove_file(machine.folder.path().join(CLOCK_FILE_NAME)).unwrap();
        let (clock, went_back) = machine.start();
        assert_eq!((time(&clock), went_back), (5000 - HOUR, None));
    }

    #[test]
    fn start_years_later_is_obeyed_and_not_remembered_before_it_stays() {
        let machine = Machine::new();
        drop(machine.start());
        machine.jump(10 * 366 * 24 * HOUR);
        let (clock, went_back) = machine.start();
        assert_eq!((time(&clock), went_back), (10 * 366 * 24 * HOUR, None));
        machine.pass(&clock, HOUR / 2);
        clock.finish();
        machine.jump(-10 * 366 * 24 * HOUR);
        assert_eq!((time(&clock), machine.start().1), (HOUR / 2, None));

        // One that was away for less is believed at once.
        machine.jump(300 * 24 * HOUR);
        drop(machine.start());
        machine.jump(-300 * 24 * HOUR);
        assert!(machine.start().1.is_some());
    }

    #[test]
    fn clock_that_creeps_or_flickers_is_followed_or_held() {
        let mut line = Line::from(Timestamp::EPOCH);
        assert_eq!(line.look(2000, Duration::ZERO), Seen::Steady);
        assert_eq!(line.look(4001, Duration::ZERO), Seen::Jumped(2001));
        assert_eq!(line.look(2000, Duration::ZERO), Seen::Steady);
        assert_eq!(line.look(9_000_000, SETTLING), Seen::Jumped(9_000_000 - 2000 - HOUR));
        assert_eq!(line.look(9_000_000 + HOUR, SETTLING * 2), Seen::Settled);
        assert_eq!(line.look(i64::MAX, Duration::MAX), Seen::Jumped(-9_000_000 + HOUR));
        assert_eq!(line.look(i64::MIN, Duration::ZERO), Seen::Jumped(i64::MIN));
    }

    #[test]
    fn file_that_holds_no_time_is_refused_and_not_changed() {
        let machine = Machine::new();
        let path = machine.folder.path().join(CLOCK_FILE_NAME);
        for text in ["", "soon\n", "2027-01-15T08:00:00.000Z\n", "99999999999999999999 x\n"] {
            fs::write(&path, text).unwrap();
            let open = SteadyClock::open(
                machine.folder.path(),
                crate::front::wall_clock(),
                super::super::stopwatch(),
            );
            let error = open.err().unwrap();
            assert!(error.to_string().contains("does not hold the latest time"), "{error}");
            assert_eq!(machine.file(), text);
        }
    }

    #[test]
    fn time_that_cannot_be_kept_is_an_error_and_the_clock_goes_on() {
        let machine = Machine::new();
        let (clock, _) = machine.start();
        fs::create_dir(machine.folder.path().join("clock.new")).unwrap();
        machine.pass(&clock, 1000);
        let error = clock.keep().unwrap_err().to_string();
        assert!(error.starts_with("cannot write `") && error.contains("/clock`"), "{error}");
        assert_eq!(time(&clock), 1000);
        fs::remove_dir(machine.folder.path().join("clock.new")).unwrap();
        clock.keep().unwrap();
        assert!(machine.file().starts_with(&(NOW + 1000).to_string()));
    }
}
