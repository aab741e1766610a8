//! What one run may still use. The count belongs to the thread, because rhai's own count of operations
//! starts anew in every callback, and a limit once hit stays hit, whatever the script catches.

use super::{Limits, Printer};
use rhai::{EvalAltResult, Position};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// So many operations pass between two looks at the clock.
const OPERATIONS_PER_LOOK: u64 = 64;
/// The most native stack that one run may use, in bytes: less than half of what threads commonly have.
const RUN_STACK_BYTES: usize = 768 * 1024;

thread_local! {
    static GUARD: Cell<Guard> = const { Cell::new(Guard::CLOSED) };
}

/// The limit that a run has hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    Operations,
    Time,
    Stack,
    Print,
    Held,
    List,
    Text,
    Declared,
    Problems,
    /// By a function of the embedding program.
    Host,
}

/// When all loading has to be over.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

/// What the run of this thread may still use.
#[derive(Clone, Copy)]
struct Guard {
    operations: u64,
    time: Duration,
    /// When time is up; unknown until the first look at the clock, which most runs never need.
    end: Option<Instant>,
    stack_start: usize,
    stack_bytes: usize,
    print_lines: u32,
    print_bytes: usize,
    hit: Option<Hit>,
}

impl Guard {
    /// Outside a run nothing may be used.
    const CLOSED: Self = Self {
        operations: 0,
        time: Duration::ZERO,
        end: None,
        stack_start: 0,
        stack_bytes: 0,
        print_lines: 0,
        print_bytes: 0,
        hit: None,
    };

    fn open(limits: &Limits, stack_bytes: usize) -> Self {
        Self {
            operations: limits.operations,
            time: limits.time,
            end: None,
            stack_start: stack_address(),
            stack_bytes,
            print_lines: limits.print_lines,
            print_bytes: limits.print_bytes,
            hit: None,
        }
    }

    const fn is_open(&self) -> bool {
        self.stack_bytes > 0
    }
}

/// Runs something within limits, and tells which of them it hit.
pub(super) fn within<T>(limits: &Limits, run: impl FnOnce() -> T) -> (T, Option<Hit>) {
    measured(Guard::open(limits, RUN_STACK_BYTES), run)
}

/// The same on the thread that loads, whose stack is large, and whose time is counted over all runs.
pub(super) fn within_load<T>(
    limits: &Limits,
    deadline: Deadline,
    run: impl FnOnce() -> T,
) -> (T, Option<Hit>) {
    measured(Guard { end: deadline.0, ..Guard::open(limits, super::LOAD_STACK_BYTES / 2) }, run)
}

fn measured<T>(mut guard: Guard, run: impl FnOnce() -> T) -> (T, Option<Hit>) {
    let outer = GUARD.get();
    if outer.is_open() {
        // A function of the program may decide within a condition, and that one may call it again: all of them
        // stand on one stack.
        guard.stack_start = outer.stack_start;
        guard.stack_bytes = outer.stack_bytes;
    }
    GUARD.set(guard);
    // A panic must not leave this run's guard to the next one.
    let restore = Restore(outer);
    let result = run();
    let hit = GUARD.get().hit;
    drop(restore);
    (result, hit)
}

struct Restore(Guard);

impl Drop for Restore {
    fn drop(&mut self) {
        GUARD.set(self.0);
    }
}

/// Counts one operation; `Some` when the run has to end.
pub(super) fn operation() -> Option<Hit> {
    let mut guard = GUARD.get();
    if guard.hit.is_some() {
        return guard.hit;
    }
    let used = guard.stack_start.abs_diff(stack_address());
    guard.hit = if guard.operations == 0 {
        Some(Hit::Operations)
    } else if used > guard.stack_bytes {
        Some(Hit::Stack)
    } else if guard.operations.is_multiple_of(OPERATIONS_PER_LOOK) && is_late(&mut guard) {
        Some(Hit::Time)
    } else {
        None
    };
    guard.operations = guard.operations.saturating_sub(1);
    GUARD.set(guard);
    guard.hit
}

/// Prints a line, if the run may still print.
pub(super) fn print(printer: &Printer, line: &str) {
    let mut guard = GUARD.get();
    if guard.hit.is_some() {
        return;
    }
    if guard.print_lines == 0 || line.len() > guard.print_bytes {
        guard.hit = Some(Hit::Print);
    } else {
        guard.print_lines -= 1;
        guard.print_bytes -= line.len();
        printer.print(line);
    }
    GUARD.set(guard);
}

/// Notes a limit that was hit: the run ends with its next operation.
pub(super) fn note(hit: Hit) {
    let mut guard = GUARD.get();
    guard.hit = guard.hit.or(Some(hit));
    GUARD.set(guard);
}

/// Ends the run for a limit that was hit; the error cannot be caught.
pub(super) fn stop(hit: Hit) -> Box<EvalAltResult> {
    stop_for(hit, hit.to_string())
}

/// The same with words of its own.
pub(super) fn stop_for(hit: Hit, reason: String) -> Box<EvalAltResult> {
    note(hit);
    Box::new(EvalAltResult::ErrorTerminated(reason.into(), Position::NONE))
}

/// Looks at the clock now, whether the time of the run is up. The first look starts it.
pub(super) fn is_over() -> bool {
    let mut guard = GUARD.get();
    let is_over = is_late(&mut guard);
    GUARD.set(guard);
    is_over
}

/// The limit that the run of this thread has hit.
pub(super) fn hit() -> Option<Hit> {
    GUARD.get().hit
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self(now().checked_add(time))
    }

    pub(super) fn is_over(self) -> bool {
        self.0.is_some_and(|end| now() > end)
    }
}

#[expect(clippy::disallowed_methods, reason = "a deadline needs a clock; decisions never see it")]
fn now() -> Instant {
    Instant::now()
}

fn is_late(guard: &mut Guard) -> bool {
    let now = now();
    match guard.end {
        None => {
            guard.end = now.checked_add(guard.time);
            false
        }
        Some(end) => now > end,
    }
}

/// Where the native stack stands, near enough.
#[inline(never)]
fn stack_address() -> usize {
    let marker = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&marker)).addr()
}

impl std::fmt::Display for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Operations => "too many operations",
            Self::Time => "the time is up",
            Self::Stack => "calls and expressions are nested too deeply",
            Self::Print => "too much is printed",
            Self::Held => "functions and lists hold too many values",
            Self::List => "the list is full",
            Self::Text => "the text is too long",
            Self::Declared => "too much is declared",
            Self::Host => "a function of the program has ended it",
            Self::Problems => "there are too many problems to go on",
        })
    }
}
