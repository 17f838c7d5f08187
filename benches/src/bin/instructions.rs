//! How many instructions the basic operations take, and a guard against their growth.
//!
//! Time cannot be checked on a machine that does other things; instructions can. For each operation this program runs
//! itself twice under `valgrind --tool=callgrind`, with N and with 2 N operations. What starts and stops the node is in
//! both counts, so the difference divided by N is what one operation takes, through the public API, with the
//! switches and the scheduling that belong to it.
//!
//! * **What is counted** is the thread whose count grows most, which is the only worker. The watchdog's count goes with time.
//! * **What makes it repeatable**: one worker; no limit of time for a slice, or it would end where the watchdog happened to
//!   look (the limit by reductions stays); operations one after the other, so that queues stay short. Repeated runs differ
//!   by less than 1 %. The systematic mode would repeat exactly, but it chooses and delivers in its own way: what users
//!   run is measured instead.
//! * **What it does not see**: caches, atomic operations between workers, system calls. The workloads are for that.
//! * **Bounds** are in `ci/instructions.toml`. 5 % above one fails; 10 % below asks to lower it, so that what was gained is kept.
//!   They belong to a compiler and a processor that valgrind knows: with a new toolchain `update` may be due.
//! * **Why not gungraun (iai-callgrind)**: it counts one function per benchmark, by switching the collection on at its
//!   entry and off at its exit, which follows one stack. Here an operation runs on several stacks that are switched
//!   by hand, on a thread that the benchmark did not start; and N against 2 N needs none of its set-up.

#![allow(clippy::print_stdout, reason = "the figures are the output")]

use engset::{
    Address, Builder, Config, Flow, Limit, Mailbox, Node, Received, Reply, demonitor, link, monitor, reduce,
    send_after, serve_with, spawn, unlink, yield_now,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap, error::Error, fmt::Write, fs, path::Path, process::Command, process::ExitCode,
    sync::mpsc, time::Duration,
};

const USAGE: &str = "\
Usage: instructions check FILE     counts, and compares with the bounds of the file
       instructions update FILE    counts, and writes the file
       instructions print          counts only
       instructions run OPERATION N    what is counted";

/// N. Large beside what happens once, such as the first stack.
const COUNT: u64 = 10_000;

/// More than this above its bound, an operation has grown.
const TOO_MANY: f64 = 1.05;

/// Less than this share of its bound, and the bound is out of date.
const FEW: f64 = 0.90;

/// Longer than anything here takes.
const HOURS: Duration = Duration::from_secs(10 * 3600);

type Job = fn(Mailbox<u64>, u64);

/// What is counted: the job does so many of them.
const OPERATIONS: &[(&str, Job)] = &[
    ("send+receive, own mailbox", send_to_self),
    ("send+receive, plain", |mailbox, n| echo(mailbox, n, plain_echo)),
    ("send+receive, server", |mailbox, n| echo(mailbox, n, server_echo)),
    ("send+receive, in hundreds", |mailbox, n| hundreds(mailbox, n, Builder::new())),
    ("send+receive, in hundreds, bounded", |mailbox, n| {
        hundreds(mailbox, n, Builder::new().mailbox(Limit::messages(1000)));
    }),
    ("call, plain", |_, n| calls(n, spawn(answer))),
    ("call, server", |_, n| calls(n, serve_with((), |(), received| reply_to(received)))),
    ("spawn+exit, plain", spawn_and_exit),
    ("spawn+exit, server", serve_and_exit),
    ("timer set+cancel", timers),
    ("monitor+demonitor", monitors),
    ("link+unlink", links),
    ("ten reduction points", |_, n| (0..10 * n).for_each(|_| reduce(1))),
];

fn send_to_self(mut mailbox: Mailbox<u64>, n: u64) {
    let me = mailbox.address();
    for number in 0..n {
        me.send(number);
        assert_eq!(mailbox.message(), number);
    }
}

/// Half of the messages go there, the others back.
fn echo(mut mailbox: Mailbox<u64>, n: u64, partner: fn(Address<u64>) -> Address<u64>) {
    let partner = partner(mailbox.address());
    for number in 0..n / 2 {
        partner.send(number);
        assert_eq!(mailbox.message(), number);
    }
}

/// A hundred messages there, then one back.
fn hundreds(mut mailbox: Mailbox<u64>, n: u64, builder: Builder) {
    let back = mailbox.address();
    let partner = builder.spawn(move |mut mailbox: Mailbox<u64>| {
        loop {
            let sum = (0..100).map(|_| mailbox.message()).sum();
            back.send(sum);
        }
    });
    let partner = partner.unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..n / 100 {
        (0..100).for_each(|number| partner.send(number));
        assert_eq!(mailbox.message(), 4950);
    }
}

fn plain_echo(back: Address<u64>) -> Address<u64> {
    spawn(move |mut mailbox: Mailbox<u64>| {
        loop {
            back.send(mailbox.message());
        }
    })
}

fn server_echo(back: Address<u64>) -> Address<u64> {
    serve_with(back, |back, received| {
        if let Received::Message(number) = received {
            back.send(number);
        }
        Flow::Continue
    })
}

struct Ask(u64, Reply<u64>);

fn answer(mut mailbox: Mailbox<Ask>) {
    loop {
        let Ask(number, reply) = mailbox.message();
        reply.send(number);
    }
}

fn reply_to(received: Received<Ask>) -> Flow {
    if let Received::Message(Ask(number, reply)) = received {
        reply.send(number);
    }
    Flow::Continue
}

fn calls(n: u64, server: Address<Ask>) {
    for number in 0..n {
        assert_eq!(server.call(|reply| Ask(number, reply)), Ok(number));
    }
}

/// A message tells that it has run; it ends before the next one starts.
fn spawn_and_exit(mut mailbox: Mailbox<u64>, n: u64) {
    let me = mailbox.address();
    for number in 0..n {
        spawn(move || me.send(number));
        assert_eq!(mailbox.message(), number);
    }
}

fn serve_and_exit(mut mailbox: Mailbox<u64>, n: u64) {
    let me = mailbox.address();
    for number in 0..n {
        let server = serve_with(me, |me: &mut Address<u64>, received| {
            if let Received::Message(number) = received {
                me.send(number);
            }
            Flow::Stop(engset::ExitReason::Normal)
        });
        server.send(number);
        assert_eq!(mailbox.message(), number);
    }
}

fn timers(mailbox: Mailbox<u64>, n: u64) {
    for number in 0..n {
        let timer = send_after(Duration::from_secs(3600 + number % 60), mailbox.address(), number);
        assert!(timer.cancel().is_some(), "an hour has not passed");
    }
}

/// A process that waits for ever.
fn waiter() -> Address<u64> {
    spawn(|mut mailbox: Mailbox<u64>| {
        mailbox.message();
    })
}

/// Lets the other process take its signals, before they are so many that memory has to grow.
fn now_and_then(number: u64) {
    if number.is_multiple_of(16) {
        yield_now();
    }
}

fn monitors(_: Mailbox<u64>, n: u64) {
    let waiter = waiter();
    for number in 0..n {
        assert!(demonitor(monitor(waiter), true), "it is alive");
        now_and_then(number);
    }
}

fn links(_: Mailbox<u64>, n: u64) {
    let waiter = waiter();
    for number in 0..n {
        link(waiter);
        unlink(waiter);
        now_and_then(number);
    }
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["check", file] => check(Path::new(file)),
        ["update", file] => update(Path::new(file)),
        ["print"] => count_all().map(|_| true),
        ["run", name, n] => run(name, n),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::from(2)
        }
    }
}

/// What callgrind looks at: a node with one worker, on which `n` operations happen.
fn run(name: &str, n: &str) -> Result<bool, Box<dyn Error>> {
    let operation = OPERATIONS.iter().find(|(known, _)| *known == name);
    let (_, job) = operation.ok_or_else(|| format!("there is no operation {name:?}"))?;
    let n = n.parse().map_err(|_| format!("{n:?} is not a number of operations"))?;
    // A worker under valgrind looks stuck, and a slice too long.
    let config = Config::new().workers(1).slice_time(HOURS).stuck_after(HOURS);
    let node = Node::start(config)?;
    let (done, end) = mpsc::channel();
    node.spawn(move |mailbox: Mailbox<u64>| {
        job(mailbox, n);
        // If nobody waits any more there is nobody to tell.
        let _ = done.send(());
    })?;
    end.recv().map_err(|_| "the job has crashed")?;
    Ok(node.stop())
}

/// Instructions of one operation, for each of them.
fn count_all() -> Result<BTreeMap<&'static str, f64>, Box<dyn Error>> {
    let mut counts = BTreeMap::new();
    for (name, _) in OPERATIONS {
        let (once, twice) = (instructions(name, COUNT)?, instructions(name, 2 * COUNT)?);
        // What grows most is the worker.
        let growth =
            twice.iter().map(|(thread, count)| count.saturating_sub(*once.get(thread).unwrap_or(&0)));
        let each = growth.max().unwrap_or(0) as f64 / COUNT as f64;
        println!("{name:<28} {each:>8.1}");
        counts.insert(*name, each);
    }
    Ok(counts)
}

/// Instructions of each thread, in a run of its own.
fn instructions(name: &str, n: u64) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("engset-instructions-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--separate-threads=yes"])
        .arg(format!("--callgrind-out-file={}", folder.join("out").display()))
        .arg(std::env::current_exe()?)
        .args(["run", name, &n.to_string()])
        .env_clear()
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let mut counts = BTreeMap::new();
    for file in fs::read_dir(&folder)? {
        // One for each thread: out-01, out-02, ...
        let path = file?.path();
        let thread = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        counts.extend(total(&fs::read_to_string(path)?).map(|count| (thread, count)));
    }
    fs::remove_dir_all(&folder)?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{name}: valgrind has ended with {}: {messages}", output.status).into());
    }
    if counts.is_empty() {
        return Err(format!("{name}: callgrind has counted nothing").into());
    }
    Ok(counts)
}

/// The number of instructions in a file of callgrind's, which has one for each thread.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The checked-in file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    instructions: BTreeMap<String, f64>,
}

fn check(file: &Path) -> Result<bool, Box<dyn Error>> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let bounds: Bounds = toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let counts = count_all()?;
    let complaints = complaints(&counts, &bounds.instructions);
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("{} operations, {} complaints", counts.len(), complaints.len());
    Ok(!complaints.iter().any(|complaint| complaint.starts_with("FAILED")))
}

/// What is wrong; what begins with `FAILED` is an error.
fn complaints(counts: &BTreeMap<&str, f64>, bounds: &BTreeMap<String, f64>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, count) in counts {
        match bounds.get(*name) {
            None => complaints.push(format!("FAILED {name}: {count:.1} instructions, and no bound")),
            Some(bound) if *count > bound * TOO_MANY => complaints.push(format!(
                "FAILED {name}: {count:.1} instructions are {:.1} % above the bound of {bound:.1}",
                100.0 * (count / bound - 1.0)
            )),
            Some(bound) if *count < bound * FEW => complaints.push(format!(
                "lower the bound of {name}: {count:.1} instructions are {:.1} % below {bound:.1}",
                100.0 * (1.0 - count / bound)
            )),
            Some(_) => {}
        }
    }
    for name in bounds.keys().filter(|name| !counts.contains_key(name.as_str())) {
        complaints.push(format!("FAILED {name}: a bound, and no such operation"));
    }
    complaints
}

fn update(file: &Path) -> Result<bool, Box<dyn Error>> {
    let mut text = String::from(
        "# Instructions of one operation, on one worker: see benches/src/bin/instructions.rs, which writes this file\n\
         # (instructions update FILE) and compares with it (instructions check FILE).\n\n[instructions]\n",
    );
    for (name, count) in count_all()? {
        writeln!(text, "{name:?} = {count:.1}")?;
    }
    fs::write(file, text)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_fails_and_a_gain_is_kept() {
        let bounds = [("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 100.0)];
        let bounds = bounds.map(|(name, bound)| (name.to_owned(), bound)).into();
        let counts = [("a", 104.0), ("b", 106.0), ("c", 89.0), ("e", 1.0)].into();
        let complaints = complaints(&counts, &bounds);
        assert_eq!(complaints.len(), 4, "{complaints:?}");
        assert!(complaints[0].starts_with("FAILED b: 106.0 instructions are 6.0 % above"));
        assert!(complaints[1].starts_with("lower the bound of c"));
        assert!(complaints[2].starts_with("FAILED e") && complaints[3].starts_with("FAILED d"));
    }

    #[test]
    fn the_total_of_a_file_is_found() {
        assert_eq!(total("events: Ir\nsummary: 1\ntotals: 123\n"), Some(123));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn each_operation_runs() {
        for (name, _) in OPERATIONS {
            assert!(run(name, "100").is_ok_and(|stopped| stopped), "{name}");
        }
    }
}
