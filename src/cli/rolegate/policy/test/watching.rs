//! `policy test --watch`: runs again whenever policies or cases change, until it is told to stop.

use super::super::super::console::Console;
use super::super::super::policies::{CASES_SUFFIX, POLICY_SUFFIX};
use super::super::super::settings::Surroundings;
use super::super::super::watch::Watch;
use super::super::super::{DONE, FAILED, Format};
use super::Arguments;
use super::suite::{self, Suite};
use crate::server::wall_clock;
use std::io;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};

/// What is watched, and how it tells of a change.
#[derive(Default)]
struct Watched {
    places: Vec<PathBuf>,
    changes: Option<Receiver<()>>,
    /// Ends when it is dropped.
    watch: Option<Watch>,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings, console: &mut Console<'_>) -> u8 {
    match run_until_told(arguments, surroundings, console) {
        Ok(()) => DONE,
        Err(reason) => {
            console.error(format_args!("the operating system refuses what watching needs: {reason}"));
            FAILED
        }
    }
}

fn run_until_told(
    arguments: &Arguments,
    surroundings: &Surroundings,
    console: &mut Console<'_>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        console.remark("watching policies and cases for changes; Ctrl-C ends it");
        let clock = wall_clock();
        let mut watched = Watched::default();
        loop {
            let suite = watched.read(arguments, surroundings)?;
            if arguments.output.format == Format::Text {
                console.line(format_args!("---- {}", clock()));
            }
            super::run_suite(suite.as_ref(), arguments, console);
            // Nobody reads any more.
            if console.is_unwritten() {
                return Ok(());
            }
            tokio::select! {
                is_told = watched.changed() => {
                    if !is_told {
                        return Err(io::Error::other("the thread that watches has ended"));
                    }
                }
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            }
        }
    })
}

impl Watched {
    /// Reads the cases, after everything is watched that they are about: a change while they are read is
    /// followed by another run.
    fn read(
        &mut self,
        arguments: &Arguments,
        surroundings: &Surroundings,
    ) -> io::Result<Result<Suite, super::Failure>> {
        loop {
            let suite = arguments.read(surroundings);
            let places = suite::places(
                &arguments.policies.paths,
                &arguments.policies.config,
                surroundings,
                suite.as_ref().ok(),
            );
            if places == self.places {
                return Ok(suite);
            }
            let (tell, changes) = channel(1);
            let tell = move || {
                // One that waits already will do.
                let _ = tell.try_send(());
            };
            self.watch = Some(Watch::on_change(places.clone(), &[POLICY_SUFFIX, CASES_SUFFIX], tell)?);
            self.changes = Some(changes);
            self.places = places;
        }
    }

    /// Waits until something has changed; `false` when that will never be told.
    async fn changed(&mut self) -> bool {
        match &mut self.changes {
            Some(changes) => changes.recv().await.is_some(),
            None => false,
        }
    }
}
