//! Every row of the contract (docs/semantics.md) as one scenario with one trace, played on threads, in systematic mode under
//! many seeds, with partners on another node, and in Erlang/OTP. `docs/conformance.md` is the table of what came out.
//!
//! | variable | meaning |
//! |---|---|
//! | `ENGSET_SEEDS` | seeds of the systematic mode (default 40); a quarter of them for nodes |
//! | `ENGSET_BLESS` | `1`: write the table instead of comparing it |
//! | `ENGSET_REQUIRE_ERL`, `CI` | fail if there is no `erl` |

#[path = "../support/mod.rs"]
mod support;

mod behaviours;
mod erlang;
mod nodes;
mod rows;
mod signals;
mod stage;
mod table;

use engset::{Config, Mailbox};
use rows::{Erlang, Play, ROWS, Row};
use stage::{Here, Note, Stage};
use std::sync::{Arc, Mutex, OnceLock};

/// What came out of a row in a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// The trace of the row, in each run.
    Same,
    /// It makes no sense here.
    None(&'static str),
    /// Another trace.
    Differs(String),
}

/// The results of a column, once for all tests of this program.
type Column = OnceLock<Option<Vec<Cell>>>;

static THREADS: Column = OnceLock::new();
static SEEDS: Column = OnceLock::new();
static NODES: Column = OnceLock::new();
static ERLANG: Column = OnceLock::new();

fn compare(row: &Row, how: &str, found: &[String]) -> Cell {
    if row.trace == found {
        return Cell::Same;
    }
    let at = (0..row.trace.len().max(found.len()))
        .find(|at| row.trace.get(*at).copied() != found.get(*at).map(String::as_str));
    let at = at.unwrap_or(0);
    Cell::Differs(format!("{how}: wanted {:?}, found {:?}", row.trace.get(at), found.get(at)))
}

/// The first of these results that is not the same.
fn all_of(cells: impl IntoIterator<Item = Cell>) -> Cell {
    cells.into_iter().find(|cell| *cell != Cell::Same).unwrap_or(Cell::Same)
}

/// One run on one node.
fn play(config: Config, row: &Row, run: fn(&mut Stage)) -> Cell {
    let how = match config.get_seed() {
        Some(seed) => format!("seed {seed}"),
        None => "threads".to_owned(),
    };
    let lines = Arc::new(Mutex::new(Vec::new()));
    let place = Arc::clone(&lines);
    let scenario = Arc::new(move |mailbox: Mailbox<Note>| {
        let mut stage = Stage::new(mailbox, Arc::new(Here));
        run(&mut stage);
        *place.lock().expect("nobody panics with it") = stage.lines();
    });
    match support::drive(config, None, &scenario) {
        Ok(()) => compare(row, &how, &lines.lock().expect("nobody panics with it")),
        Err(why) => Cell::Differs(format!("{how}: {why}")),
    }
}

fn on_threads(row: &Row) -> Cell {
    match row.play {
        Play::Nodes(_) => Cell::None("needs virtual time"),
        // On several workers urgent processes do not hold the others back.
        Play::Stage { run, .. } => {
            let workers: usize = if row.id == "S9" { 1 } else { 2 };
            all_of((0..3).map(|_| play(Config::new().workers(workers), row, run)))
        }
    }
}

fn under_seeds(row: &Row) -> Cell {
    match row.play {
        Play::Nodes(_) => Cell::None("see the next column"),
        Play::Stage { run, .. } => all_of(seeds(1).map(|seed| play(Config::new().seed(seed), row, run))),
    }
}

fn on_two_nodes(row: &Row) -> Cell {
    let run = |seed| match row.play {
        Play::Nodes(run) => Some(run(seed)),
        Play::Stage { run, far: true } => Some(nodes::play(seed, run)),
        Play::Stage { .. } => None,
    };
    if matches!(row.play, Play::Stage { far: false, .. }) {
        return Cell::None("of one node");
    }
    all_of(seeds(4).filter_map(|seed| Some(compare(row, &format!("seed {seed}"), &run(seed)?))))
}

/// This part of the seeds.
fn seeds(part: u64) -> std::ops::Range<u64> {
    let number =
        std::env::var("ENGSET_SEEDS").ok().map(|text| text.parse().expect("ENGSET_SEEDS is a number"));
    0..number.unwrap_or(40_u64).div_ceil(part)
}

fn threads() -> &'static [Cell] {
    column(&THREADS, || Some(ROWS.iter().map(on_threads).collect())).unwrap_or_default()
}

fn systematic() -> &'static [Cell] {
    column(&SEEDS, || Some(ROWS.iter().map(under_seeds).collect())).unwrap_or_default()
}

fn two_nodes() -> &'static [Cell] {
    column(&NODES, || Some(ROWS.iter().map(on_two_nodes).collect())).unwrap_or_default()
}

fn erlang() -> Option<&'static [Cell]> {
    column(&ERLANG, || {
        let traces = erlang::traces()?;
        let cell = |row: &Row| match row.erlang {
            Erlang::None(why) => Cell::None(why),
            Erlang::Same => compare(row, "Erlang", traces.get(row.id).map_or(&[][..], Vec::as_slice)),
        };
        Some(ROWS.iter().map(cell).collect())
    })
}

fn column(column: &'static Column, run: impl FnOnce() -> Option<Vec<Cell>>) -> Option<&'static [Cell]> {
    column.get_or_init(run).as_deref()
}

#[track_caller]
fn assert_same(cells: &[Cell]) {
    let different: Vec<_> = ROWS
        .iter()
        .zip(cells)
        .filter_map(|(row, cell)| match cell {
            Cell::Differs(how) => Some(format!("{} ({}): {how}", row.id, row.rule)),
            Cell::Same | Cell::None(_) => None,
        })
        .collect();
    assert!(different.is_empty(), "\n{}", different.join("\n"));
    assert!(cells.iter().filter(|cell| **cell == Cell::Same).count() > 10);
}

#[test]
fn each_row_on_threads() {
    assert_same(threads());
}

#[test]
fn each_row_under_many_seeds() {
    assert_same(systematic());
}

#[test]
fn each_row_with_partners_on_another_node() {
    assert_same(two_nodes());
}

#[test]
fn each_row_in_erlang() {
    if let Some(cells) = erlang() {
        assert_same(cells);
    }
}

#[test]
fn the_table_in_the_documentation_is_what_came_out() {
    table::check(&table::text([Some(threads()), Some(systematic()), Some(two_nodes()), erlang()]));
}

#[test]
fn each_rule_of_the_contract_has_a_row() {
    let numbered = |letter: char, count: u32| (1..=count).map(move |number| format!("{letter}{number}"));
    let wanted = numbered('S', 14).chain(numbered('B', 10)).chain(numbered('N', 6));
    let missing: Vec<_> = wanted.filter(|id| !ROWS.iter().any(|row| row.id == id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
