//! Many callers, one write to disk: whoever comes first acts for all who wait, and those who come meanwhile share the
//! next turn.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::{self, Thread};

/// Things that wait to be done together, each with an answer of its own.
#[derive(Debug)]
pub(crate) struct Batches<T, A> {
    line: Mutex<Line<T, A>>,
    /// The most things in one batch.
    max: usize,
}

#[derive(Debug)]
struct Line<T, A> {
    waiting: VecDeque<Arc<Waiting<T, A>>>,
    /// Whether somebody acts, or was told to.
    is_led: bool,
}

#[derive(Debug)]
struct Waiting<T, A> {
    thing: T,
    thread: Thread,
    state: Mutex<State<A>>,
}

#[derive(Debug)]
enum State<A> {
    Waiting,
    /// It is this thread's turn to act for all who wait.
    Leads,
    /// `None` when the one who acted gave no answer.
    Answered(Option<A>),
}

/// The batch that is being acted on. However the act ends, everybody is answered and the lead is handed on.
struct Turn<'a, T, A> {
    batches: &'a Batches<T, A>,
    batch: Vec<Arc<Waiting<T, A>>>,
    answers: Vec<A>,
}

impl<T, A> Batches<T, A> {
    /// Nothing waits; at most `max` things are ever done together.
    pub(crate) const fn new(max: usize) -> Self {
        Self { line: Mutex::new(Line { waiting: VecDeque::new(), is_led: false }), max }
    }

    /// Has this thing done, by this thread together with what else waits, or by another thread. `act` gives an answer
    /// for each thing that it is given, in their order; `None` is an answer that it did not give.
    pub(crate) fn submit(&self, thing: T, act: impl FnOnce(&[&T]) -> Vec<A>) -> Option<A> {
        let own = Waiting::here(thing);
        if !self.join([&own]) {
            loop {
                match own.take() {
                    State::Answered(answer) => return answer,
                    State::Leads => break,
                    // May return early, and returns at once when the state changed since it was looked at.
                    State::Waiting => thread::park(),
                }
            }
        }
        self.lead(act);
        match own.take() {
            State::Answered(answer) => answer,
            State::Waiting | State::Leads => None,
        }
    }

    /// Has these things done as [`submit`](Self::submit) does, one after the other in the line, so that they fill batches
    /// without a thread for each. The answers are in the order of the things.
    pub(crate) fn submit_all(&self, things: Vec<T>, act: impl Fn(&[&T]) -> Vec<A>) -> Vec<Option<A>> {
        let own: Vec<_> = things.into_iter().map(Waiting::here).collect();
        let mut leads = !own.is_empty() && self.join(&own);
        let mut panicked = None;
        let answers = own.iter().map(|own| {
            loop {
                if std::mem::take(&mut leads) {
                    // What is left of these things stands in the line, and somebody has to answer it.
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.lead(&act))) {
                        panicked = Some(panic);
                    }
                }
                match own.take() {
                    State::Answered(answer) => return answer,
                    State::Leads => leads = true,
                    State::Waiting => thread::park(),
                }
            }
        });
        let answers = answers.collect();
        panicked.map_or(answers, |panic| resume_unwind(panic))
    }

    /// Puts things into the line, and tells whether this thread is to act for it.
    fn join<'w>(&self, own: impl IntoIterator<Item = &'w Arc<Waiting<T, A>>>) -> bool
    where
        T: 'w,
        A: 'w,
    {
        let mut line = self.line.lock();
        line.waiting.extend(own.into_iter().map(Arc::clone));
        !std::mem::replace(&mut line.is_led, true)
    }

    /// Lets others come to the line who lack nothing but a processor for it, as those do who were woken together. A batch
    /// costs little more for each of them, and with nobody there this takes no time.
    fn let_others_in(&self) {
        let mut before = 1;
        loop {
            thread::yield_now();
            let waiting = self.line.lock().waiting.len();
            if waiting <= before || waiting >= self.max {
                return;
            }
            before = waiting;
        }
    }

    /// Acts on the front of the line, where this thread's own thing stands, and hands the lead on.
    fn lead(&self, act: impl FnOnce(&[&T]) -> Vec<A>) {
        self.let_others_in();
        let batch = {
            let mut line = self.line.lock();
            let count = line.waiting.len().min(self.max);
            line.waiting.drain(..count).collect()
        };
        let mut turn = Turn { batches: self, batch, answers: Vec::new() };
        let things: Vec<&T> = turn.batch.iter().map(|waiting| &waiting.thing).collect();
        turn.answers = act(&things);
    }
}

impl<T, A> Drop for Turn<'_, T, A> {
    fn drop(&mut self) {
        {
            // The next one starts before the others are woken, so that the disk is not idle meanwhile.
            let mut line = self.batches.line.lock();
            match line.waiting.front() {
                Some(next) => next.tell(State::Leads),
                None => line.is_led = false,
            }
        }
        let mut answers = self.answers.drain(..);
        self.batch.iter().for_each(|waiting| waiting.tell(State::Answered(answers.next())));
    }
}

impl<T, A> Waiting<T, A> {
    fn here(thing: T) -> Arc<Self> {
        Arc::new(Self { thing, thread: thread::current(), state: Mutex::new(State::Waiting) })
    }

    /// The state, which is given away once.
    fn take(&self) -> State<A> {
        std::mem::replace(&mut *self.state.lock(), State::Waiting)
    }

    fn tell(&self, state: State<A>) {
        *self.state.lock() = state;
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;
    use std::sync::atomic::{self, AtomicUsize};

    #[test]
    fn everyone_gets_the_answer_to_their_own_thing_once() {
        const THREADS: usize = 8;
        const THINGS: usize = 500;
        let (batches, done) = (Batches::new(5), AtomicUsize::new(0));
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (batches, done) = (&batches, &done);
                scope.spawn(move || {
                    for at in 0..THINGS {
                        let thing = thread * THINGS + at;
                        let answer = batches.submit(thing, |things| {
                            done.fetch_add(things.len(), atomic::Ordering::Relaxed);
                            things.iter().map(|thing| *thing * 2).collect()
                        });
                        assert_eq!(answer, Some(thing * 2));
                    }
                });
            }
        });
        assert_eq!(done.load(atomic::Ordering::Relaxed), THREADS * THINGS);
    }

    #[test]
    fn things_of_one_thread_fill_batches_beside_those_of_others() {
        const THINGS: usize = 1_000;
        let (batches, sizes) = (Batches::new(64), Mutex::new(Vec::new()));
        let act = |things: &[&usize]| {
            sizes.lock().push(things.len());
            things.iter().map(|thing| **thing + 1).collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            for thread in 0..4 {
                let (batches, act) = (&batches, &act);
                scope.spawn(move || {
                    let own = (0..THINGS).map(|at| thread * THINGS + at);
                    let answers = batches.submit_all(own.clone().collect(), act);
                    assert!(answers.into_iter().eq(own.map(|thing| Some(thing + 1))));
                    assert_eq!(batches.submit(thread, act), Some(thread + 1));
                });
            }
        });
        assert_eq!(batches.submit_all(Vec::new(), act), []);
        let sizes = sizes.lock();
        assert_eq!(sizes.iter().sum::<usize>(), 4 * (THINGS + 1));
        assert!(sizes.len() < 100, "batches are not filled: {}", sizes.len());
        assert!(!batches.line.lock().is_led);
    }

    #[test]
    fn panic_among_many_things_is_handed_on_when_the_others_were_done() {
        let (batches, done) = (Batches::new(2), AtomicUsize::new(0));
        let act = |things: &[&usize]| {
            assert!(!things.contains(&&2), "on purpose");
            done.fetch_add(things.len(), atomic::Ordering::Relaxed);
            things.iter().map(|thing| **thing).collect::<Vec<_>>()
        };
        assert!(catch_unwind(AssertUnwindSafe(|| batches.submit_all((0..7).collect(), act))).is_err());
        assert_eq!(done.load(atomic::Ordering::Relaxed), 5);
        assert!(!batches.line.lock().is_led);
        assert_eq!(batches.submit(9, act), Some(9));
    }

    /// Runs one act that ends so while five others wait, and gives all batches and answers.
    fn with_five_waiting(first: impl FnOnce() -> Vec<u64>) -> (Vec<Vec<u64>>, Option<u64>, Vec<Option<u64>>) {
        let (batches, seen) = (Batches::new(8), Mutex::new(Vec::new()));
        let note = |things: &[&u64]| seen.lock().push(things.iter().map(|thing| **thing).collect());
        let (one, others) = thread::scope(|scope| {
            let (batches, note) = (&batches, &note);
            let mut others = Vec::new();
            let one = catch_unwind(AssertUnwindSafe(|| {
                batches.submit(100, |things| {
                    note(things);
                    for thing in 0..5 {
                        others.push(scope.spawn(move || {
                            batches.submit(thing, |things| {
                                note(things);
                                things.iter().map(|thing| **thing).collect()
                            })
                        }));
                        while batches.line.lock().waiting.len() as u64 <= thing {
                            thread::yield_now();
                        }
                    }
                    first()
                })
            }));
            let others = others.into_iter().map(|other| other.join().unwrap()).collect();
            (one.ok().flatten(), others)
        });
        assert!(!batches.line.lock().is_led);
        (seen.into_inner(), one, others)
    }

    #[test]
    fn those_who_come_during_a_batch_share_the_next() {
        let (seen, one, others) = with_five_waiting(|| vec![7]);
        assert_eq!(seen, [vec![100], vec![0, 1, 2, 3, 4]]);
        assert_eq!((one, others), (Some(7), (0..5).map(Some).collect()));
    }

    #[test]
    fn act_that_gives_no_answer_or_panics_leaves_nobody_waiting() {
        let expected: Vec<Option<u64>> = (0..5).map(Some).collect();
        assert_eq!(
            with_five_waiting(Vec::new),
            (vec![vec![100], vec![0, 1, 2, 3, 4]], None, expected.clone())
        );
        let (_, one, others) = with_five_waiting(|| panic!("on purpose"));
        assert_eq!((one, others), (None, expected));
    }

    #[test]
    fn batch_has_a_limit_and_the_rest_is_led_by_its_first() {
        const MAX: usize = 5;
        let batches: Batches<usize, usize> = Batches::new(MAX);
        let park =
            |thing| Arc::new(Waiting { thing, thread: thread::current(), state: Mutex::new(State::Waiting) });
        let others: Vec<_> = (0..MAX + 4).map(park).collect();
        batches.line.lock().waiting.extend(others.iter().cloned());
        batches.lead(|things| {
            assert_eq!(things.len(), MAX);
            things.iter().map(|thing| **thing).collect()
        });
        assert_eq!(batches.line.lock().waiting.len(), 4);
        for (at, other) in others.iter().enumerate() {
            let state = other.state.lock();
            match at.cmp(&MAX) {
                Ordering::Less => assert!(matches!(&*state, State::Answered(Some(_)))),
                Ordering::Equal => assert!(matches!(&*state, State::Leads)),
                Ordering::Greater => assert!(matches!(&*state, State::Waiting)),
            }
        }
    }
}
