//! S10: reductions and slices.

mod support;

use engset::{
    Builder, Config, Limit, Mailbox, Overflow, kill, link, monitor, preemptible, process_info, reduce,
    reductions_left, register, self_pid, send_after, sleep, spawn, unlink, yield_now,
};
use std::time::Duration;
use support::{both, threaded};

/// One worker, and a slice that the clock does not end.
fn one_worker() -> Config {
    Config::new().workers(1).slice_time(Duration::from_secs(600)).stuck_after(Duration::from_secs(600))
}

/// What `f` costs, in reductions, in a fresh slice.
fn cost(f: impl FnOnce()) -> u32 {
    yield_now();
    let before = reductions_left();
    f();
    before - reductions_left()
}

#[test]
fn a_slice_is_4000_reductions() {
    threaded(one_worker(), |_mailbox: Mailbox<()>| {
        yield_now();
        assert_eq!(reductions_left(), 4000);
        reduce(4000);
        assert_eq!(reductions_left(), 0);
        reduce(1);
        assert_eq!(reductions_left(), 4000, "others had their turn");
    });
}

#[test]
fn the_length_of_a_slice_can_be_set() {
    threaded(one_worker().slice(100_u32), |_mailbox: Mailbox<()>| {
        yield_now();
        assert_eq!(reductions_left(), 100);
    });
}

#[test]
fn the_price_list_is_as_documented() {
    threaded(one_worker(), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let other = spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
        sleep(Duration::from_millis(1));
        assert_eq!(cost(|| other.send(1)), 1, "send");
        assert_eq!(cost(|| assert!(other.try_send(1).is_ok())), 1, "try_send");
        assert_eq!(cost(|| me.send(1)), 1, "send to itself");
        assert_eq!(cost(|| assert_eq!(mailbox.message(), 1)), 1, "receive");
        assert_eq!(cost(|| assert!(mailbox.try_receive().is_none())), 1, "receive nothing");
        assert_eq!(cost(|| support::ignore(spawn(|| ()))), 8, "spawn");
        assert_eq!(cost(|| link(other)), 1, "link");
        assert_eq!(cost(|| unlink(other)), 1, "unlink");
        let mut reference = None;
        assert_eq!(cost(|| reference = Some(monitor(other))), 1, "monitor");
        assert_eq!(
            cost(|| support::ignore(engset::demonitor(reference.expect("set above"), true))),
            1,
            "demonitor"
        );
        assert_eq!(cost(|| engset::exit(other, engset::ExitReason::Normal)), 1, "exit");
        assert_eq!(cost(|| register("me").expect("free")), 1, "register");
        let mut timer = None;
        assert_eq!(cost(|| timer = Some(send_after(Duration::from_secs(60), me, 1))), 1, "set a timer");
        assert_eq!(cost(|| support::ignore(timer.expect("set above").cancel())), 1, "cancel it");
        assert_eq!(cost(|| reduce(123)), 123, "reduce");
    });
}

#[test]
fn every_call_of_the_runtime_costs_something() {
    threaded(one_worker(), |_mailbox: Mailbox<()>| {
        let other = spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
        sleep(Duration::from_millis(1));
        assert!(cost(|| support::ignore(engset::trap_exits(false))) >= 1, "trap_exits");
        assert!(cost(|| support::ignore(engset::whereis("x"))) >= 1, "whereis");
        assert!(cost(|| support::ignore(engset::monitor_name("x"))) >= 1, "monitor_name");
        assert!(cost(|| support::ignore(process_info(self_pid()))) >= 1, "process_info");
        register("x").expect("free");
        assert!(cost(|| engset::unregister("x").expect("ours")) >= 1, "unregister");
        assert!(cost(|| kill(other)) >= 1, "kill");
    });
}

#[test]
fn who_sends_to_a_long_queue_pays_more() {
    threaded(one_worker(), |_mailbox: Mailbox<()>| {
        let deaf = spawn(|_: Mailbox<u32>| sleep(Duration::MAX));
        sleep(Duration::from_millis(1));
        assert_eq!(cost(|| deaf.send(1)), 1);
        (1..640).for_each(|number| deaf.send(number));
        assert_eq!(process_info(deaf).unwrap().mailbox_len, 640);
        assert_eq!(cost(|| deaf.send(1)), 1 + 8 * 8, "10 times 64 wait: rounded down to 8, squared");
        (0..10_000).for_each(|number| deaf.send(number));
        assert!(cost(|| deaf.send(1)) <= 1, "a whole slice, so this is a new one");
    });
}

#[preemptible]
fn instrumented(turns: u32) -> u32 {
    let mut sum = 0_u32;
    for turn in 0..turns {
        sum = sum.wrapping_add(turn);
    }
    sum
}

#[preemptible(cost = 10)]
fn dear(turns: u32) {
    let mut left = turns;
    while left > 0 {
        left -= 1;
    }
}

#[preemptible(stride = 64)]
fn striding(turns: u32) -> u32 {
    let mut sum = 0_u32;
    for turn in 0..turns {
        sum = sum.wrapping_add(turn);
    }
    sum
}

#[test]
fn instrumented_code_pays_one_for_each_entry_and_each_iteration() {
    threaded(one_worker(), |_mailbox: Mailbox<()>| {
        assert_eq!(cost(|| assert_eq!(instrumented(0), 0)), 1);
        assert_eq!(cost(|| assert_eq!(instrumented(100), 4950)), 101);
        assert_eq!(cost(|| dear(7)), 80);
        assert_eq!(cost(|| assert_eq!(striding(640), 204_480)), 641);
    });
    assert_eq!(instrumented(3), 3, "outside of a process it is a plain function");
}

#[test]
fn hogs_with_instrumented_loops_are_preempted() {
    both(|mut mailbox: Mailbox<u32>| {
        let hogs: Vec<_> = (0..4)
            .map(|_| {
                spawn(|| {
                    loop {
                        instrumented(1000);
                    }
                })
            })
            .collect();
        let me = mailbox.address();
        spawn(move || (0..20).for_each(|number| me.send(number)));
        (0..20).for_each(|number| assert_eq!(mailbox.message(), number));
        hogs.into_iter().for_each(kill);
    });
}

#[test]
fn two_hogs_on_one_worker_take_turns() {
    threaded(one_worker(), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        for hog in 0..2 {
            spawn(move || {
                for _ in 0..10 {
                    me.send(hog);
                    reduce(4000);
                }
            });
        }
        let order: Vec<u32> = (0..20).map(|_| mailbox.message()).collect();
        let changes = order.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes >= 15, "they ran one after the other: {order:?}");
    });
}

#[test]
fn a_server_that_is_flooded_is_preempted() {
    threaded(one_worker(), |mut mailbox: Mailbox<u32>| {
        let me = mailbox.address();
        let server = engset::serve_with((), move |_, received: engset::Received<u32>| {
            if let engset::Received::Message(number) = received {
                me.send(number);
            }
            engset::Flow::Continue
        });
        (0..5000).for_each(|number| server.send(number));
        let echo = spawn(move |mut mailbox: Mailbox<()>| {
            mailbox.message();
            me.send(u32::MAX);
        });
        echo.send(());
        let mut before_the_echo = 0;
        while mailbox.message() != u32::MAX {
            before_the_echo += 1;
        }
        assert!(before_the_echo <= 4500, "the server had {before_the_echo} messages in one go");
    });
}

#[test]
fn outside_of_a_process_reductions_are_nothing() {
    reduce(10);
    yield_now();
    assert_eq!(reductions_left(), 0);
}

#[test]
fn what_is_refused_costs_as_much_as_what_is_done() {
    threaded(one_worker(), |mailbox: Mailbox<u32>| {
        let dead = spawn(|_: Mailbox<u32>| ());
        sleep(Duration::from_millis(5));
        assert_eq!(cost(|| dead.send(1)), 1, "send to the dead");
        assert_eq!(cost(|| assert!(dead.try_send(1).is_err())), 1, "try_send to the dead");
        for overflow in [Overflow::DropNewest, Overflow::Block] {
            let limit = Limit::messages(1).overflow(overflow);
            let full = Builder::new()
                .mailbox(limit)
                .spawn(|_: Mailbox<u32>| sleep(Duration::MAX))
                .expect("a process");
            full.send(1);
            sleep(Duration::from_millis(5));
            assert_eq!(cost(|| assert!(full.try_send(1).is_err())), 401, "try_send to one that is full");
            if overflow == Overflow::DropNewest {
                assert_eq!(cost(|| full.send(1)), 401, "send to one that is full");
            }
        }
        let alias = engset::Alias::new(&mailbox);
        assert_eq!(cost(|| alias.send(1)), 1, "send to an alias");
        register("reductions").expect("it is free");
        assert_eq!(cost(|| assert!(register("reductions").is_err())), 1, "register a name that is taken");
        engset::unregister("reductions").expect("it is mine");
        assert_eq!(
            cost(|| assert!(engset::unregister("reductions").is_err())),
            1,
            "unregister a name of nobody"
        );
    });
}
