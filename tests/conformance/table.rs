//! The table of `docs/conformance.md`.

use crate::{Cell, rows::ROWS};
use std::{fmt::Write as _, path::Path};

const HEAD: &str = "# Conformance

What `tests/conformance` has found, row by row of the [contract](semantics.md). Each row is one scenario and one trace. It is
played on threads (two workers, three times), in systematic mode (40 seeds), with the partners of the tester on another node
(in a simulated network, 10 seeds), and in Erlang/OTP (`tests/conformance/rows.erl`). *same*: the trace below, line by line, in each run.

This file is written by `ENGSET_BLESS=1 cargo test -p engset --test conformance`; without the variable that command checks it.

| row | what is promised | threads | seeds | two nodes | Erlang/OTP |
|---|---|---|---|---|---|
";

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Same => "same".to_owned(),
        Cell::None(why) => format!("– ({why})"),
        Cell::Differs(how) => format!("**differs**: {how}"),
    }
}

/// The table; a column that could not be run is left as `?`.
pub(crate) fn text(columns: [Option<&[Cell]>; 4]) -> String {
    let mut text = HEAD.to_owned();
    for (at, row) in ROWS.iter().enumerate() {
        let cells: Vec<_> =
            columns.iter().map(|column| column.map_or("?".to_owned(), |cells| cell(&cells[at]))).collect();
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "| {} | {} | {} |", row.id, row.rule, cells.join(" | "));
    }
    text += "\n## The traces\n";
    for row in ROWS {
        let _ = writeln!(text, "\n**{}**\n\n```text\n{}\n```", row.id, row.trace.join("\n"));
    }
    text
}

/// Compares it with the one that is there, or writes it.
pub(crate) fn check(text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    if std::env::var_os("ENGSET_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&file, text).expect("it can be written");
        return;
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    for (at, line) in text.lines().enumerate() {
        let other = there.lines().nth(at).unwrap_or_default();
        // Without an Erlang its column is not known.
        let known = line.strip_suffix("| ? |").unwrap_or(line);
        assert!(
            other.starts_with(known) && (known != line || other == line),
            "docs/conformance.md, line {}: {other:?} should be {line:?}; ENGSET_BLESS=1 writes it",
            at + 1
        );
    }
    assert_eq!(
        text.lines().count(),
        there.lines().count(),
        "docs/conformance.md is longer than it should be"
    );
}
