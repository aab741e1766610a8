//! The timer of one connection. hyper starts one for the header of each request and drops it when the header
//! is there; this one keeps a single timer armed and looks, when it goes off, whether it went off too early.

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Makes the timers of one connection, of which hyper uses one at a time.
#[derive(Clone, Default)]
pub(super) struct ConnectionTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

/// One timer that hyper waits for.
struct Waiting {
    timer: ConnectionTimer,
    deadline: tokio::time::Instant,
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Waiting { timer: self.clone(), deadline: tokio::time::Instant::now() + duration })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Waiting { timer: self.clone(), deadline: deadline.into() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

impl Sleep for Waiting {}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let mut armed = self.timer.0.lock();
        let sleep = armed.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            // It was armed for a timer that has been dropped since.
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_timer_goes_off_at_its_own_time() {
        let timer = ConnectionTimer::default();
        let started = tokio::time::Instant::now();
        for (seconds, total) in [(5, 5), (1, 6), (3, 9)] {
            timer.sleep(SECOND * seconds).await;
            assert_eq!(started.elapsed(), SECOND * total);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timer_that_was_dropped_does_not_end_the_next_one_early() {
        let timer = ConnectionTimer::default();
        let started = tokio::time::Instant::now();
        let mut dropped = timer.sleep(SECOND * 2);
        assert!(tokio::time::timeout(SECOND, dropped.as_mut()).await.is_err());
        drop(dropped);
        timer.sleep_until((started + SECOND * 10).into()).await;
        assert_eq!(started.elapsed(), SECOND * 10);

        let mut late = timer.sleep(SECOND * 9);
        assert!(tokio::time::timeout(SECOND, late.as_mut()).await.is_err());
        timer.sleep(SECOND * 2).await;
        assert_eq!(started.elapsed(), SECOND * 13, "nor the next one late");
    }
}
