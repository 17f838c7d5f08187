//! The rows: what is promised, the scenario, the trace that it must have, and where it makes sense.

use crate::{behaviours as b, nodes as n, signals as s, stage::Stage};

/// What Erlang/OTP does in the same scenario.
pub(crate) enum Erlang {
    /// The same trace.
    Same,
    /// It has no such thing, or cannot show it.
    None(&'static str),
}

/// How a row is played.
pub(crate) enum Play {
    /// By a process, with partners on the same node or, if `far`, also on another one.
    Stage { run: fn(&mut Stage), far: bool },
    /// By nodes.
    Nodes(fn(u64) -> Vec<String>),
}

pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) play: Play,
    pub(crate) erlang: Erlang,
    pub(crate) trace: &'static [&'static str],
}

const fn here(
    id: &'static str,
    rule: &'static str,
    run: fn(&mut Stage),
    erlang: Erlang,
    trace: &'static [&'static str],
) -> Row {
    Row { id, rule, play: Play::Stage { run, far: false }, erlang, trace }
}

const fn far(
    id: &'static str,
    rule: &'static str,
    run: fn(&mut Stage),
    erlang: Erlang,
    trace: &'static [&'static str],
) -> Row {
    Row { id, rule, play: Play::Stage { run, far: true }, erlang, trace }
}

const fn nodes(
    id: &'static str,
    rule: &'static str,
    run: fn(u64) -> Vec<String>,
    trace: &'static [&'static str],
) -> Row {
    Row { id, rule, play: Play::Nodes(run), erlang: Erlang::None("needs a network"), trace }
}

use Erlang::{None, Same};

/// All of them, in the order of the contract.
pub(crate) const ROWS: &[Row] = &[
    far(
        "S1",
        "signals of one sender to one receiver keep their order",
        s::s1,
        Same,
        &["200 in order, then down normal", "200 in order, then exit boom"],
    ),
    far("S2", "signals act without a receive", s::s2, Same, &["deaf: down boom"]),
    here(
        "S2 busy",
        "a process that computes is killed at a reduction point",
        s::s2_busy,
        Same,
        &["busy: down killed"],
    ),
    here(
        "S2 names",
        "who gets Down can take the name",
        s::s2_names,
        Same,
        &["down boom, the name is free: true, and taken: true"],
    ),
    far(
        "S3",
        "the exit rule",
        s::s3,
        Same,
        &[
            "link normal, it does not trap: dropped",
            "link shutdown, it does not trap: ends shutdown",
            "link kill, it does not trap: ends kill",
            "link boom, it does not trap: ends boom",
            "link normal, it traps: message normal",
            "link shutdown, it traps: message shutdown",
            "link kill, it traps: message kill",
            "link boom, it traps: message boom",
            "exit normal, it does not trap: dropped",
            "exit shutdown, it does not trap: ends shutdown",
            "exit kill, it does not trap: ends killed",
            "exit boom, it does not trap: ends boom",
            "exit normal, it traps: message normal",
            "exit shutdown, it traps: message shutdown",
            "exit kill, it traps: ends killed",
            "exit boom, it traps: message boom",
            "self normal, it does not trap: ends normal",
            "self shutdown, it does not trap: ends shutdown",
            "self kill, it does not trap: ends killed",
            "self boom, it does not trap: ends boom",
            "self normal, it traps: message normal",
            "self shutdown, it traps: message shutdown",
            "self kill, it traps: ends killed",
            "self boom, it traps: message boom",
        ],
    ),
    far(
        "S4",
        "one link for a pair; unlinked is unlinked; a dead peer is told",
        s::s4,
        Same,
        &[
            "linked twice: exit boom",
            "linked to the dead: exit noproc",
            "unlinked: nothing",
            "unlinked and linked again: exit boom",
        ],
    ),
    far(
        "S4 crossing",
        "both sides of a link agree, also when requests cross",
        s::s4_crossing,
        Same,
        &["agreed in 12 of 12 rounds"],
    ),
    far(
        "S5",
        "each monitor fires exactly once, and a flushed one leaves nothing",
        s::s5,
        Same,
        &[
            "of the dead: down noproc",
            "two of one: down boom, down boom",
            "late, with flush: nothing",
            "late, without: down killed",
            "early: nothing",
        ],
    ),
    here(
        "S6",
        "a send to the dead is no error; a name has one owner",
        s::s6,
        Same,
        &["to the dead: nothing", "a name that is taken: refused"],
    ),
    far(
        "S7",
        "a call ends with the answer or an error, and a late answer goes nowhere",
        s::s7,
        Same,
        &[
            "an answer: Ok(42)",
            "none in time: timeout",
            "a late answer: nothing",
            "it dies: boom",
            "it is dead: noproc",
        ],
    ),
    far(
        "S8",
        "the first match is taken, the rest stays in place",
        s::s8,
        Same,
        &["the wanted: b1 b2", "the rest: a1 a2 0"],
    ),
    here("S9", "urgent processes go first", s::s9, Same, &["max max high high normal normal"]),
    here(
        "S10",
        "a process that does not wait is interrupted",
        s::s10,
        Same,
        &["the loop was interrupted", "alive when it has ended: false"],
    ),
    far(
        "S11",
        "a kill runs destructors",
        s::s11,
        None("has no destructors"),
        &["down killed, its destructors have run: true"],
    ),
    far("S12", "a panic is an exit with its message", s::s12, Same, &["down crash broken"]),
    here(
        "S13",
        "timers: never early, cancelled is cancelled, the dead get nothing",
        s::s13,
        Same,
        &[
            "by deadline: 100 200 300",
            "early: false",
            "cancelled: time left",
            "again: gone",
            "fired",
            "too late: gone",
            "to the dead: nothing",
        ],
    ),
    here(
        "S14",
        "bounded mailboxes and their policies",
        s::s14,
        None("has no bounded mailboxes"),
        &[
            "drop newest: 1, 2, 3; down normal",
            "drop oldest: 3, 4, 5; down normal",
            "kill: nothing; down killed",
            "block: 1, 2, 3, 4, 5; down normal",
        ],
    ),
    here(
        "B1",
        "a start returns when init has, with its error or timeout",
        b::b1,
        Same,
        &["works: started, and answers Ok(1)", "fails: error boom", "hangs: error timeout"],
    ),
    here(
        "B2",
        "more restarts than allowed end the supervisor, children in reverse",
        b::b2,
        Same,
        &[
            "a starts, b starts, a ends: crash, a starts",
            "a ends: crash, b ends: shutdown; the supervisor: down shutdown",
        ],
    ),
    here(
        "B3",
        "permanent, transient, temporary",
        b::b3,
        Same,
        &[
            "permanent crash: a starts, a ends: crash, a starts",
            "permanent normal: a starts, a ends: normal, a starts",
            "permanent shutdown: a starts, a ends: shutdown, a starts",
            "transient crash: a starts, a ends: crash, a starts",
            "transient normal: a starts, a ends: normal",
            "transient shutdown: a starts, a ends: shutdown",
            "temporary crash: a starts, a ends: crash",
            "temporary normal: a starts, a ends: normal",
            "temporary shutdown: a starts, a ends: shutdown",
        ],
    ),
    here(
        "B4",
        "who is stopped and started with whom, in which order",
        b::b4,
        Same,
        &[
            "one_for_one: a starts, b starts, c starts; b ends: crash, b starts; c ends: shutdown, b ends: shutdown, a ends: shutdown",
            "one_for_all: a starts, b starts, c starts; b ends: crash, c ends: shutdown, a ends: shutdown, a starts, b starts, c starts; c ends: shutdown, b ends: shutdown, a ends: shutdown",
            "rest_for_one: a starts, b starts, c starts; b ends: crash, c ends: shutdown, b starts, c starts; c ends: shutdown, b ends: shutdown, a ends: shutdown",
        ],
    ),
    here(
        "B4 dynamic",
        "a dynamic supervisor waits for its children, and kills who is late",
        b::b4_dynamic,
        Same,
        &["down shutdown, not before their time: true, "],
    ),
    here(
        "B5",
        "a child is asked, waited for, and killed",
        b::b5,
        Same,
        &["after a time: true, down killed", "brutal kill: true, down killed", "asked: true, down shutdown"],
    ),
    here(
        "B6",
        "significant children end their supervisor",
        b::b6,
        Same,
        &[
            "a starts, b starts, b ends: normal, a ends: shutdown; the supervisor: down shutdown",
            "permanent and significant: refused",
        ],
    ),
    here(
        "B7",
        "inherited mailboxes and back-off",
        b::b7,
        None("has neither"),
        &[
            "the queue after a crash: 1, 2, 3; the address: true",
            "back-off: a starts, a ends: crash, a starts; not before its time: true",
        ],
    ),
    here(
        "B8",
        "the callbacks of a server",
        b::b8,
        Same,
        &[
            "init, continue, cast, again, continue, call, later, continue, info, idle, timeout",
            "answers 1 2",
            "stop, terminate normal; down normal",
            "a call to the dead: error",
        ],
    ),
    here(
        "B9",
        "a state machine: enter, postponed and inserted events, timeouts",
        b::b9,
        Same,
        &["enter closed, open, enter open, first, knock 1, knock 2, knock 3, close, enter closed, named"],
    ),
    here(
        "B10",
        "every behaviour shows, replaces and suspends its state",
        b::b10,
        Same,
        &["state Ok(2)", "suspended: 2, state Ok(2)", "resumed: 112"],
    ),
    nodes(
        "N1",
        "a pid of a former incarnation never matches the new one",
        n::n1,
        &["the old: down of a restarted node", "a call: down of a restarted node", "the new: Ok(1)"],
    ),
    nodes(
        "N2",
        "first use connects; the queue out is bounded, and overflow is counted",
        n::n2,
        &["before: 0 nodes, after a lookup: 1", "to a peer that takes nothing: dropped and counted"],
    ),
    nodes(
        "N3",
        "nodeup before all signals of a connection, nodedown after them, in turn",
        n::n3,
        &["nodeup, message, down noconnection, nodedown, nodeup, message"],
    ),
    nodes(
        "N4",
        "a lost connection ends each link and monitor once, before nodedown",
        n::n4,
        &["exit noconnection, down noconnection, down noconnection, nodedown, nothing"],
    ),
    nodes(
        "N5",
        "a large message delays neither calls nor the heartbeat",
        n::n5,
        &["answered while a large message was on its way: true", "the large message: whole"],
    ),
    nodes(
        "N6",
        "nobody joins without the secret, and it harms nobody",
        n::n6,
        &["the stranger: refused", "the others: Ok(1)"],
    ),
];
