//! Reports of crashes and of supervisors, as a subscriber of `tracing` gets them.

mod support;

use engset_runtime::{
    Address, Builder, Config, ExitReason, Node, Pid, link, lookup, name_of, process_info, run_with, sleep,
    spawn, whereis,
};
use engset_stdlib::{ChildSpec, Context, GenServer, InheritedMailbox, Next, StartError, Supervisor, from_fn};
use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, Once, PoisonError},
    time::Duration,
};
use support::{eventually, wait_dead};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// One event, as it came.
#[derive(Clone, Debug)]
struct Report {
    level: Level,
    fields: HashMap<&'static str, String>,
}

impl Report {
    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

impl Visit for Report {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

static REPORTS: Mutex<Vec<Report>> = Mutex::new(Vec::new());

struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("engset")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut report = Report { level: *event.metadata().level(), fields: HashMap::new() };
        event.record(&mut report);
        REPORTS.lock().unwrap_or_else(PoisonError::into_inner).push(report);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// All tests of this file share the collector; each looks for its own processes only.
fn reports(kind: &str, field: &str, value: &str) -> Vec<Report> {
    let reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    reports
        .iter()
        .filter(|report| report.get("report") == kind && report.get(field) == value)
        .cloned()
        .collect()
}

/// The first such report; waits for it.
#[track_caller]
fn report(kind: &str, field: &str, value: &str) -> Report {
    eventually("the report", || !reports(kind, field, value).is_empty());
    reports(kind, field, value).remove(0)
}

/// With threads, and in systematic mode under some seeds. Reports are on.
#[track_caller]
fn everywhere(per_second: u32, test: fn(&str)) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Collector).unwrap());
    let run = |config: Config, tag: String| {
        run_with(config.crash_reports_per_second(per_second), move || test(&tag)).unwrap();
    };
    let test = std::panic::Location::caller().line();
    run(Config::new().workers(2), format!("{test} threads"));
    for seed in 0..10 {
        run(Config::new().seed(seed), format!("{test} seed {seed}"));
    }
}

struct Account {
    balance: u32,
}

#[derive(Debug)]
enum Order {
    Take(u32),
    Stop,
    Shutdown,
}

impl GenServer for Account {
    type Message = Order;

    fn handle(&mut self, order: Order, _: &mut Context<Order>) -> Next {
        match order {
            Order::Take(amount) => {
                sleep(Duration::from_millis(1));
                assert!(amount <= self.balance, "not enough: {amount}");
                self.balance -= amount;
                Next::wait()
            }
            Order::Stop => Next::stop_with(ExitReason::error("closed")),
            Order::Shutdown => Next::stop_with(ExitReason::Shutdown),
        }
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        assert!(self.balance != 13, "unlucky");
        write!(out, "balance {}", self.balance)
    }

    fn format_message(order: &Order, out: &mut dyn fmt::Write) -> fmt::Result {
        write!(out, "{order:?}")
    }
}

fn start(name: &str, balance: u32) -> Address<Order> {
    Account { balance }.options().name(name).keep_last_message().start().unwrap()
}

#[test]
fn a_crash_is_reported_with_ancestry_state_last_message_mailbox_and_links() {
    everywhere(1000, |tag| {
        let names: Vec<String> = ["root", "account"].iter().map(|part| format!("{part} {tag}")).collect();
        let name = names[1].clone();
        let child = ChildSpec::server("account", move || {
            Account { balance: 10 }.options().name(name.clone()).keep_last_message()
        });
        let root = Supervisor::one_for_one().name(names[0].clone()).child(child).start_link().unwrap();
        let account: Address<Order> = lookup(&names[1]).unwrap();
        account.send(Order::Take(3));
        account.send(Order::Take(99));
        account.send(Order::Take(1));
        wait_dead(account.pid());
        let crash = report("crash", "pid", &account.pid().to_string());
        let crash = if crash.get("name") == names[1] {
            crash
        } else {
            // Another test's node has had a process of this number.
            report("crash", "name", &names[1])
        };
        assert_eq!(crash.level, Level::ERROR);
        assert_eq!(crash.get("message"), "process crashed: not enough: 99");
        assert!(crash.get("behaviour").contains("Account"), "{crash:?}");
        let starter = engset_runtime::self_pid();
        assert_eq!(crash.get("ancestors"), format!("{}{} {starter}", names[0], root.pid()));
        assert_eq!(crash.get("last_message"), "Take(99)");
        assert_eq!(crash.get("state"), "balance 7");
        assert_eq!(crash.get("mailbox_len"), "1");
        assert_eq!(crash.get("links"), root.pid().to_string());
        assert!(crash.get("location").contains("crash_reports.rs"), "{crash:?}");
        assert!(crash.get("reason").contains("not enough"), "{crash:?}");
        assert!(crash.get("uptime").parse::<f64>().unwrap() >= 0.0);

        // And the supervisor's own reports.
        let supervisor = root.pid().to_string();
        let all = |kind| reports(kind, "name", &names[0]);
        eventually("it is restarted", || all("child_started").len() == 2);
        let ended = all("child_terminated").remove(0);
        assert_eq!(
            (ended.level, ended.get("child"), ended.get("supervisor")),
            (Level::ERROR, "account", &*supervisor)
        );
        assert_eq!(ended.get("pid"), account.pid().to_string());
        let again = all("child_started").remove(1);
        assert_eq!((again.level, again.get("restarts")), (Level::DEBUG, "1"));
        assert_eq!(again.get("pid"), whereis(&names[1]).unwrap().to_string());
    });
}

#[test]
fn without_options_the_types_are_told() {
    everywhere(1000, |tag| {
        let server = from_fn(7_u64, |_, text: String, _: &mut Context<String>| panic!("{text}"));
        let server = server.options().name(tag).start().unwrap();
        server.send("boom".to_owned());
        wait_dead(server.pid());
        let crash = report("crash", "name", tag);
        assert_eq!((crash.get("state"), crash.get("last_message")), ("u64", "alloc::string::String"));
    });
    everywhere(1000, |tag| {
        let server =
            from_fn(7_u64, |_, text: String, _: &mut Context<String>| panic!("{text}")).debug_state();
        let server = server.options().name(tag).start().unwrap();
        server.send("boom".to_owned());
        wait_dead(server.pid());
        assert_eq!(report("crash", "name", tag).get("state"), "7");
    });
}

#[test]
fn a_server_that_stops_with_an_error_is_reported_and_one_that_ends_orderly_is_not() {
    everywhere(1000, |tag| {
        let (bad, good) = (format!("bad {tag}"), format!("good {tag}"));
        let accounts = [start(&good, 1), start(&bad, 1)];
        accounts[0].send(Order::Shutdown);
        wait_dead(accounts[0].pid());
        accounts[1].send(Order::Stop);
        wait_dead(accounts[1].pid());
        let crash = report("crash", "name", &bad);
        assert_eq!(crash.get("message"), "process ended: error: closed");
        assert_eq!((crash.get("last_message"), crash.get("state")), ("Stop", "balance 1"));
        assert!(reports("crash", "name", &good).is_empty());
        assert_eq!(Node::current().unwrap().crashes(), 0, "an end that was chosen is no crash");
    });
}

#[test]
fn one_that_an_exit_signal_ends_is_not_reported() {
    everywhere(1000, |tag| {
        let account = start(tag, 1);
        let other = spawn(move || {
            link(account);
            engset_runtime::exit_self(ExitReason::error("of another"));
        });
        wait_dead(other);
        wait_dead(account.pid());
        // Something else, after it.
        let after = format!("after {tag}");
        let last = start(&after, 1);
        last.send(Order::Stop);
        wait_dead(last.pid());
        report("crash", "name", &after);
        assert!(reports("crash", "name", tag).is_empty());
    });
}

#[test]
fn a_state_that_cannot_be_described_hides_no_crash() {
    everywhere(1000, |tag| {
        let account = start(tag, 13);
        account.send(Order::Take(14));
        wait_dead(account.pid());
        let crash = report("crash", "name", tag);
        assert!(crash.get("state").contains("panic"), "{crash:?}");
        assert_eq!(crash.get("message"), "process crashed: not enough: 14", "the first panic is the reason");
        assert!(crash.get("location").contains("crash_reports.rs"), "{crash:?}");
    });
}

#[test]
fn a_long_state_is_cut_off() {
    everywhere(1000, |tag| {
        let state = "\u{e9}".repeat(10_000);
        let server = from_fn(state, |_, (): (), _: &mut Context<()>| panic!("boom")).debug_state();
        let server = server.options().name(tag).start().unwrap();
        server.send(());
        wait_dead(server.pid());
        let crash = report("crash", "name", tag);
        let text = crash.get("state");
        assert!(text.len() <= 4096 + 3 && text.ends_with('\u{2026}'), "{} bytes", text.len());
    });
}

#[test]
fn plain_processes_are_reported_with_what_is_known() {
    everywhere(1000, |tag| {
        let clumsy = Builder::new().name(tag).ancestry().link().spawn(|| {
            sleep(Duration::from_millis(1));
            panic!("dropped it")
        });
        engset_runtime::trap_exits(true);
        wait_dead(clumsy.unwrap());
        let crash = report("crash", "name", tag);
        assert_eq!(crash.get("message"), "process crashed: dropped it");
        let me: Pid = engset_runtime::self_pid();
        assert_eq!((crash.get("ancestors"), crash.get("links")), (&*me.to_string(), &*me.to_string()));
        assert_eq!((crash.get("behaviour"), crash.get("state")), ("", ""));
    });
}

#[test]
fn reports_beyond_the_limit_are_left_out_and_counted() {
    // In virtual time, so that they are all in one second.
    everywhere(3, |tag| {
        if !tag.contains("seed") {
            return;
        }
        let before = engset_runtime::now();
        sleep(Duration::from_nanos(u64::from(1_000_000_000 - before.subsec_nanos())));
        for number in 0..10 {
            let account = start(&format!("{number} {tag}"), 0);
            account.send(Order::Stop);
            wait_dead(account.pid());
        }
        let written: Vec<usize> =
            (0..10).map(|number| reports("crash", "name", &format!("{number} {tag}")).len()).collect();
        assert_eq!(written, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
        sleep(Duration::from_secs(1));
        let last = format!("last {tag}");
        let account = start(&last, 0);
        account.send(Order::Stop);
        wait_dead(account.pid());
        assert_eq!(report("crash", "name", &last).get("suppressed"), "7");
    });
}

#[test]
fn a_supervisor_reports_a_restart_that_fails_and_that_it_gives_up() {
    everywhere(1000, |tag| {
        let once = std::sync::atomic::AtomicBool::new(true);
        let child = ChildSpec::new("child", move || {
            if once.swap(false, std::sync::atomic::Ordering::Relaxed) {
                Ok(Builder::new().link().spawn(|| engset_runtime::exit_self(ExitReason::error("at once")))?)
            } else {
                Err(StartError::Factory("no more".to_owned()))
            }
        });
        let supervisor = Supervisor::one_for_one()
            .intensity(2, Duration::from_secs(3600))
            .name(tag)
            .child(child)
            .start()
            .unwrap();
        wait_dead(supervisor.pid());
        eventually("it is reported", || !reports("shutdown", "name", tag).is_empty());
        let errors = reports("start_error", "name", tag);
        assert_eq!(errors.len(), 2);
        assert!(errors[0].get("error").contains("no more"), "{errors:?}");
        let gave_up = report("shutdown", "name", tag);
        assert_eq!((gave_up.level, gave_up.get("child"), gave_up.get("most")), (Level::ERROR, "child", "2"));
        assert_eq!(reports("child_terminated", "name", tag)[0].get("reason"), "error: at once");
    });
}

#[test]
fn a_restart_in_place_is_reported_as_a_crash_of_a_process_that_lives() {
    everywhere(1000, |tag| {
        let (name, supervisor) = (format!("account {tag}"), format!("supervisor {tag}"));
        let child = {
            let name = name.clone();
            InheritedMailbox::new(move || Account { balance: 5 }.options().name(name.clone()))
                .child("account")
        };
        Supervisor::one_for_one().name(supervisor.clone()).child(child).start_link().unwrap();
        let account: Address<Order> = lookup(&name).unwrap();
        account.send(Order::Take(6));
        let crash = report("crash", "name", &name);
        assert_eq!(crash.get("state"), "balance 5");
        assert!(crash.get("location").contains("crash_reports.rs"), "{crash:?}");
        let failed = report("child_failed", "name", &supervisor);
        assert_eq!(failed.get("pid"), account.pid().to_string());
        eventually("it goes on", || process_info(account).is_some_and(|info| info.mailbox_len == 0));
        assert_eq!(name_of(account.pid()).as_deref(), Some(&*name));
        assert_eq!(Node::current().unwrap().crashes(), 0);
    });
}
