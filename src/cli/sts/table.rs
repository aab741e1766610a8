//! The tables of the original: no borders, ` | ` between columns, every cell padded, and, on a terminal
//! alone, cells broken to fit its width.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

const SEPARATOR: &str = " | ";
/// What stands in a cell without a value.
const MISSING: &str = "-";
const HEADER_COLOUR: &str = "\u{1b}[36m";
const COLOUR_END: &str = "\u{1b}[0m";

/// A table to print.
#[derive(Debug)]
pub(crate) struct Table {
    /// The names of the columns.
    pub(crate) headers: Vec<&'static str>,
    /// The cells of each row; `None` is a value that is not there.
    pub(crate) rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// The lines of the table, for a terminal of `columns` columns or for none, with or without colour codes.
    pub(crate) fn render(&self, columns: Option<usize>, colour: bool) -> String {
        let header: Vec<String> = self.headers.iter().map(|name| name.to_uppercase()).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        let natural: Vec<usize> = (0..header.len())
            .map(|at| {
                let values = rows.iter().chain(std::iter::once(&header)).filter_map(|row| row.get(at));
                values.map(|value| value.width()).max().unwrap_or_default()
            })
            .collect();
        let widths = match columns {
            Some(columns) => capped(&natural, columns),
            None => natural,
        };
        let mut out = String::new();
        write_row(&mut out, &header, &widths, colour);
        for row in &rows {
            write_row(&mut out, row, &widths, false);
        }
        out
    }
}

/// A cell's text: what a terminal would obey is shown instead.
fn cell(value: &Option<String>) -> String {
    value.as_deref().map_or_else(|| MISSING.to_owned(), visible)
}

/// `text` with what a terminal would obey written out: control characters, and those that reverse what follows.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

/// The widths of columns that share `columns` columns of a terminal: what narrow ones leave is shared
/// out evenly among the wide ones.
fn capped(natural: &[usize], columns: usize) -> Vec<usize> {
    let count = natural.len().max(1);
    let average = columns.saturating_sub(SEPARATOR.len() * (count - 1)) / count;
    let slack: usize = natural.iter().map(|width| average.saturating_sub(*width)).sum();
    let wide = natural.iter().filter(|width| **width >= average).count().max(1);
    let cap = |width: usize| if width < average { width } else { (average + slack / wide).max(1) };
    natural.iter().map(|width| cap(*width).min(*width)).collect()
}

fn write_row(out: &mut String, cells: &[String], widths: &[usize], colour: bool) {
    let broken: Vec<Vec<String>> =
        cells.iter().zip(widths).map(|(cell, width)| break_lines(cell, *width)).collect();
    let height = broken.iter().map(Vec::len).max().unwrap_or_default();
    for line in 0..height {
        for (at, (lines, width)) in broken.iter().zip(widths).enumerate() {
            if at > 0 {
                write_piece(out, SEPARATOR, colour);
            }
            let text = lines.get(line).map(String::as_str).unwrap_or_default();
            let padding = " ".repeat(width.saturating_sub(text.width()));
            write_piece(out, &format!("{text}{padding}"), colour);
        }
        out.push('\n');
    }
}

fn write_piece(out: &mut String, text: &str, colour: bool) {
    if colour {
        out.push_str(HEADER_COLOUR);
        out.push_str(text);
        out.push_str(COLOUR_END);
    } else {
        out.push_str(text);
    }
}

/// `text` in pieces of at most `width` columns, cut between any two characters.
fn break_lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for c in text.chars() {
        let columns = c.width().unwrap_or_default();
        if used + columns > width && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
        used += columns;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Table {
        let row = ["107484341630693", "my-service-token", "", "[stackstate-power-user]"];
        Table {
            headers: vec!["id", "name", "expiration", "roles"],
            rows: vec![row.iter().map(|cell| Some((*cell).to_owned())).collect()],
        }
    }

    /// Trailing spaces are part of the table, so its ends are marked.
    fn marked(text: &str) -> String {
        text.lines().map(|line| format!("{line}$\n")).collect()
    }

    #[test]
    fn every_cell_is_padded_the_last_one_too() {
        insta::assert_snapshot!(marked(&tokens().render(None, false)), @r"
        ID              | NAME             | EXPIRATION | ROLES                  $
        107484341630693 | my-service-token |            | [stackstate-power-user]$
        ");
    }

    #[test]
    fn a_terminal_of_80_columns_shares_out_what_narrow_columns_leave() {
        // Three separators leave 71, 17 a column; 2 + 1 + 7 are left for the one that needs more.
        insta::assert_snapshot!(marked(&tokens().render(Some(80), false)), @r"
        ID              | NAME             | EXPIRATION | ROLES                  $
        107484341630693 | my-service-token |            | [stackstate-power-user]$
        ");
    }

    #[test]
    fn a_narrow_terminal_breaks_values_and_headers() {
        insta::assert_snapshot!(marked(&tokens().render(Some(40), false)), @r"
        ID      | NAME    | EXPIRAT | ROLES  $
                |         | ION     |        $
        1074843 | my-serv |         | [stacks$
        4163069 | ice-tok |         | tate-po$
        3       | en      |         | wer-use$
                |         |         | r]     $
        ");
    }

    #[test]
    fn a_terminal_of_one_column_still_gets_a_table() {
        assert_eq!(capped(&[5, 5], 1), [1, 1]);
        assert_eq!(capped(&[5, 0], 0), [1, 0]);
        assert_eq!(capped(&[], 80), Vec::<usize>::new());
    }

    #[test]
    fn wide_characters_count_twice() {
        let table = Table { headers: vec!["n"], rows: vec![vec![Some("名前".to_owned())], vec![None]] };
        assert_eq!(marked(&table.render(None, false)), "N   $\n名前$\n-   $\n");
        assert_eq!(break_lines("名前a", 3), ["名", "前a"]);
    }

    #[test]
    fn header_and_its_separators_are_coloured_piece_by_piece() {
        let table = Table { headers: vec!["a", "b"], rows: Vec::new() };
        assert_eq!(
            table.render(None, true),
            "\u{1b}[36mA\u{1b}[0m\u{1b}[36m | \u{1b}[0m\u{1b}[36mB\u{1b}[0m\n"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let table = Table { headers: vec!["n"], rows: vec![vec![Some("a\u{1b}[31m\nb\u{9b}c".to_owned())]] };
        assert!(table.render(None, false).contains(r"a\u{1b}[31m\nb\u{9b}c"));
    }
}
