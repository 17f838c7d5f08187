//! Supervisors here and in Erlang/OTP, compared line by line: all strategies, kinds of restart and reasons, the limit of
//! restarts, significant children (semantics rows B2 to B6).
//!
//! Here they run in systematic mode, under several seeds: what a supervisor and its children say to a third process comes in an
//! order that only this mode fixes. Where `erl` is missing nothing is compared, which the test says; with `CI=true` or
//! `ENGSET_REQUIRE_ERL=1` it fails then.

mod support;

use engset_runtime::{
    Address, Config, Event, ExitReason, Mailbox, Received, exit, is_alive, monitor, run_with, sleep,
    trap_exits, unlink, whereis,
};
use engset_stdlib::{
    AutoShutdown, ChildSpec, Context, GenServer, Next, Restart, Strategy, Supervisor, SupervisorBuilder,
};
use std::time::Duration;

#[derive(Clone, Copy)]
enum Order {
    Crash,
    Finish,
    Shutdown,
}

const ORDERS: [(&str, Order); 3] =
    [("crash", Order::Crash), ("finish", Order::Finish), ("shutdown", Order::Shutdown)];
const STRATEGIES: [(&str, Strategy); 3] = [
    ("one_for_one", Strategy::OneForOne),
    ("one_for_all", Strategy::OneForAll),
    ("rest_for_one", Strategy::RestForOne),
];
const RESTARTS: [(&str, Restart); 3] =
    [("permanent", Restart::Permanent), ("transient", Restart::Transient), ("temporary", Restart::Temporary)];

/// Says what it does.
struct Child {
    id: &'static str,
    tester: Address<String>,
}

impl GenServer for Child {
    type Message = Order;

    fn init(&mut self, _: &mut Context<Order>) -> Result<Next, ExitReason> {
        self.tester.send(format!("{} starts", self.id));
        Ok(Next::wait())
    }

    fn handle(&mut self, order: Order, _: &mut Context<Order>) -> Next {
        match order {
            Order::Crash => Next::stop_with(ExitReason::error("crash")),
            Order::Finish => Next::stop(),
            Order::Shutdown => Next::stop_with(ExitReason::Shutdown),
        }
    }

    fn terminate(&mut self, reason: &ExitReason, _: &mut Context<Order>) {
        self.tester.send(format!("{} ends: {}", self.id, in_erlang(reason)));
    }
}

/// As Erlang calls it.
fn in_erlang(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::Normal => "normal",
        ExitReason::Shutdown => "shutdown",
        _ => "crash",
    }
}

/// A child: its id, how it is restarted, whether it is significant.
type Kid = (&'static str, Restart, bool);

struct Scenario {
    name: String,
    strategy: Strategy,
    auto: AutoShutdown,
    kids: Vec<Kid>,
    most: usize,
    orders: Vec<(&'static str, Order)>,
}

/// In the order of `supervisors.erl`.
fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    let never = AutoShutdown::Never;
    for (strategy_name, strategy) in STRATEGIES {
        for (restart_name, restart) in RESTARTS {
            for (order_name, order) in ORDERS {
                let kids = vec![
                    ("a", Restart::Permanent, false),
                    ("b", restart, false),
                    ("c", Restart::Permanent, false),
                ];
                let name = format!("{strategy_name} {restart_name} {order_name}");
                all.push(Scenario { name, strategy, auto: never, kids, most: 5, orders: vec![("b", order)] });
            }
        }
    }
    for (strategy_name, strategy) in STRATEGIES {
        let kids = vec![("a", Restart::Permanent, false), ("b", Restart::Permanent, false)];
        let orders = vec![("a", Order::Crash), ("b", Order::Crash)];
        all.push(Scenario {
            name: format!("limit {strategy_name}"),
            strategy,
            auto: never,
            kids,
            most: 1,
            orders,
        });
    }
    for (auto_name, auto) in
        [("any_significant", AutoShutdown::AnySignificant), ("all_significant", AutoShutdown::AllSignificant)]
    {
        for (restart_name, restart) in &RESTARTS[1..] {
            for (order_name, order) in [ORDERS[1], ORDERS[2], ORDERS[0]] {
                let kids =
                    vec![("a", Restart::Permanent, false), ("b", *restart, true), ("c", *restart, true)];
                let name = format!("auto {auto_name} {restart_name} {order_name}");
                let orders = vec![("b", order), ("c", order)];
                all.push(Scenario { name, strategy: Strategy::OneForOne, auto, kids, most: 5, orders });
            }
        }
    }
    for (strategy_name, strategy) in &STRATEGIES[1..] {
        let kids = vec![
            ("a", Restart::Permanent, false),
            ("b", Restart::Temporary, false),
            ("c", Restart::Transient, false),
        ];
        let orders = vec![("a", Order::Crash), ("a", Order::Crash)];
        let name = format!("sibling {strategy_name}");
        all.push(Scenario { name, strategy: *strategy, auto: never, kids, most: 5, orders });
    }
    all
}

fn play(scenario: &Scenario, mailbox: &mut Mailbox<String>) -> Vec<String> {
    let tester = mailbox.address();
    let builder: SupervisorBuilder = match scenario.strategy {
        Strategy::OneForAll => Supervisor::one_for_all(),
        Strategy::RestForOne => Supervisor::rest_for_one(),
        _ => Supervisor::one_for_one(),
    };
    let mut builder =
        builder.intensity(scenario.most, Duration::from_secs(1000)).auto_shutdown(scenario.auto);
    for (id, restart, significant) in scenario.kids.iter().copied() {
        let spec = ChildSpec::server(id, move || Child { id, tester }.options().name(id).trap_exits());
        let spec = match restart {
            Restart::Transient => spec.transient(),
            Restart::Temporary => spec.temporary(),
            _ => spec,
        };
        builder = builder.child(if significant { spec.significant() } else { spec });
    }
    let supervisor = builder.start_link().expect("it starts");
    let mut lines = Vec::new();
    let drain = |mailbox: &mut Mailbox<String>, lines: &mut Vec<String>| {
        while let Some(text) = mailbox.message_timeout(Duration::ZERO) {
            lines.push(format!("{}: {text}", scenario.name));
        }
    };
    drain(mailbox, &mut lines);
    for (id, order) in &scenario.orders {
        let Some(pid) = whereis(id) else {
            lines.push(format!("{}: {id} is not there", scenario.name));
            continue;
        };
        let reference = monitor(pid);
        engset_runtime::send_named(id, *order).expect("it is there");
        mailbox.select(|item| matches!(item, engset_runtime::Item::Event(Event::Down(down)) if down.reference == reference));
        // Virtual time goes on when nothing can run: then the supervisor has dealt with it.
        sleep(Duration::from_millis(1));
        drain(mailbox, &mut lines);
    }
    if is_alive(supervisor.pid()) {
        let left: Vec<_> = supervisor
            .which_children()
            .expect("it is alive")
            .into_iter()
            .filter(|child| child.pid().is_some())
            .map(|child| child.id.to_string())
            .collect();
        lines.push(format!("{}: left: {}", scenario.name, left.join(" ")));
        unlink(supervisor.pid());
        let reference = monitor(supervisor.pid());
        exit(supervisor.pid(), ExitReason::Shutdown);
        mailbox.select(|item| matches!(item, engset_runtime::Item::Event(Event::Down(down)) if down.reference == reference));
        drain(mailbox, &mut lines);
    } else {
        let ended = mailbox.select(|item| matches!(item, engset_runtime::Item::Event(Event::Exit(exit)) if exit.from == supervisor.pid()));
        if let Received::Event(Event::Exit(exit)) = ended {
            lines.push(format!("{}: the supervisor: {}", scenario.name, in_erlang(&exit.reason)));
        }
    }
    // What the links of this scenario have left behind.
    while mailbox.try_receive().is_some() {}
    lines
}

fn engset(seed: u64) -> Vec<String> {
    let run = run_with(Config::new().seed(seed).crash_reports_per_second(0_u32), || {
        let (lines, _) =
            engset_runtime::spawn_monitor(|mut mailbox: Mailbox<engset_runtime::Reply<Vec<String>>>| {
                let reply = mailbox.message();
                engset_runtime::spawn_link(move |mut mailbox: Mailbox<String>| {
                    trap_exits(true);
                    reply
                        .send(scenarios().iter().flat_map(|scenario| play(scenario, &mut mailbox)).collect());
                });
                drop(mailbox.message());
            });
        lines.call_timeout(|reply| reply, Duration::MAX).expect("the scenarios are played")
    });
    run.expect("a run without a deadlock")
}

#[test]
fn supervisors_do_what_erlangs_do() {
    let place = support::erlang::place("supervisor_oracle");
    let lines = support::erlang::lines("supervisors", "supervisors:main()", &place, "supervisors");
    let Some(erlang) = lines else { return };
    assert!(erlang.len() > 200, "Erlang has not played all scenarios: {} lines", erlang.len());
    for seed in 0..20 {
        let engset = engset(seed);
        for at in 0..erlang.len().max(engset.len()) {
            let (expected, found) = (erlang.get(at), engset.get(at));
            let before = &erlang[at.saturating_sub(8).min(erlang.len())..at.min(erlang.len())];
            assert_eq!(
                found, expected,
                "seed {seed}, line {at}; left: engset, right: Erlang; before it {before:#?}"
            );
        }
    }
}
