//! Standard output and standard error: answers on the one, everything else on the other.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};

const GREEN: &str = "\u{1b}[1;32m";
const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const PLAIN: &str = "\u{1b}[0m";

/// The two streams of a process.
pub(super) struct Output<'a> {
    pub(super) out: Box<dyn Write + 'a>,
    pub(super) err: Box<dyn Write + 'a>,
    /// Whether standard error is a terminal that shows colours.
    pub(super) err_has_colours: bool,
    /// Whether standard output is one.
    pub(super) out_has_colours: bool,
}

/// What a word of an answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Bad,
}

/// Where the program tells things.
pub(super) struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    pub(super) colours: bool,
    out_colours: bool,
    /// Why an answer was not written.
    unwritten: Option<io::Error>,
}

impl Output<'_> {
    /// The streams of this process.
    pub(super) fn of_process(no_color: bool) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let err_has_colours = err.is_terminal() && !no_color;
        let out_has_colours = out.is_terminal() && !no_color;
        Self { out: Box::new(out), err: Box::new(err), err_has_colours, out_has_colours }
    }

    pub(super) fn console(&mut self, colours: bool) -> Console<'_> {
        let out_colours = colours && self.out_has_colours;
        let colours = colours && self.err_has_colours;
        Console { out: &mut self.out, err: &mut self.err, colours, out_colours, unwritten: None }
    }
}

// A stream that was closed is not worth an error: whoever closed it does not want to read on.
impl Console<'_> {
    /// The answer that was asked for.
    pub(super) fn print(&mut self, text: &str) {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        if let Err(reason) = written {
            self.unwritten.get_or_insert(reason);
        }
    }

    /// Why an answer could not be written, if that happened and somebody wanted to read it.
    pub(super) fn unwritten(&mut self) -> Option<io::Error> {
        self.unwritten.take().filter(|reason| reason.kind() != io::ErrorKind::BrokenPipe)
    }

    /// A word of an answer, in the colour of what it tells.
    pub(super) fn painted(&self, mood: Mood, word: &str) -> String {
        let colour = match mood {
            Mood::Good => GREEN,
            Mood::Bad => RED,
        };
        if self.out_colours { format!("{colour}{word}{PLAIN}") } else { word.to_owned() }
    }

    /// Whether an answer could not be written, for whatever reason.
    pub(super) const fn is_unwritten(&self) -> bool {
        self.unwritten.is_some()
    }

    /// A line of the answer.
    pub(super) fn line(&mut self, text: impl Display) {
        self.print(&format!("{text}\n"));
    }

    /// Something that failed.
    pub(super) fn error(&mut self, text: impl Display) {
        self.tell(RED, "error", text);
    }

    /// Something that works and should not stay as it is.
    pub(super) fn warning(&mut self, text: impl Display) {
        self.tell(YELLOW, "warning", text);
    }

    /// Text that is formatted already.
    pub(super) fn remark(&mut self, text: impl Display) {
        let _ = writeln!(self.err, "{text}");
    }

    /// How far long work is, on one line of a terminal that goes away with the next word. Nobody else is told.
    pub(super) fn progress(&mut self, text: impl Display) {
        if self.colours {
            let _ = write!(self.err, "\r\u{1b}[K{text}").and_then(|()| self.err.flush());
        }
    }

    fn tell(&mut self, colour: &str, label: &str, text: impl Display) {
        let _ = if self.colours {
            writeln!(self.err, "{colour}{label}{PLAIN}: {text}")
        } else {
            writeln!(self.err, "{label}: {text}")
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(err_has_colours: bool, colours: bool) -> String {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut output = Output {
            out: Box::new(&mut out),
            err: Box::new(&mut err),
            err_has_colours,
            out_has_colours: false,
        };
        let mut console = output.console(colours);
        console.error("one");
        console.warning("two");
        console.line("three");
        drop(output);
        assert_eq!(out, b"three\n");
        String::from_utf8(err).unwrap()
    }

    #[test]
    fn words_of_an_answer_have_colours_where_it_is_read_on_a_terminal() {
        let painted = |out_has_colours, wanted| {
            let (out, err) = (Box::new(Vec::new()), Box::new(Vec::new()));
            let mut output = Output { out, err, err_has_colours: true, out_has_colours };
            output.console(wanted).painted(Mood::Good, "allowed")
        };
        assert_eq!(painted(true, true), "\u{1b}[1;32mallowed\u{1b}[0m");
        assert_eq!(painted(true, false), "allowed");
        assert_eq!(painted(false, true), "allowed");
    }

    #[test]
    fn labels_have_colours_on_a_terminal_that_wants_them_and_nowhere_else() {
        assert_eq!(told(true, true), "\u{1b}[1;31merror\u{1b}[0m: one\n\u{1b}[1;33mwarning\u{1b}[0m: two\n");
        for (terminal, wanted) in [(true, false), (false, true), (false, false)] {
            assert_eq!(told(terminal, wanted), "error: one\nwarning: two\n");
        }
    }
}
