//! What the kit says when a test fails, and that the printed command fails in the same way.
//!
//! The failing tests are here too: they do something only in a child process, which is told so by a variable.

use engset_runtime::{Builder, Mailbox, Reply, reduce, send_interval, sleep, spawn};
use engset_stdlib::testkit::{self, Check, Probe};
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

const CHILD: &str = "ENGSET_TESTKIT_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs a test of this file, with variables; returns what it printed, if it failed.
#[track_caller]
fn failing(test: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=2"])
        .env(CHILD, "1")
        .env_remove("ENGSET_SEED")
        .env_remove("ENGSET_SEEDS")
        .env_remove("ENGSET_SCHEDULE")
        .env_remove("NEXTEST")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "it passed:\n{text}");
    text
}

/// The variable of the command that is printed.
#[track_caller]
fn replay_of<'a>(output: &'a str, test: &str) -> (&'a str, &'a str) {
    let command = output.lines().find_map(|line| line.trim().strip_prefix("replay: "));
    let command = command.unwrap_or_else(|| panic!("no command in:\n{output}"));
    let end = format!("cargo test -p engset-stdlib --test testkit_failures {test} -- --exact --nocapture");
    let variable = command.strip_suffix(&end).unwrap_or_else(|| panic!("another command: {command}"));
    variable.trim().split_once('=').unwrap()
}

/// From the first line of the failure on, as far as it is the same in each run.
fn essence(output: &str, of: &str) -> String {
    let start = output.find(of).unwrap_or_else(|| panic!("no {of:?} in:\n{output}"));
    let text = &output[start..];
    let ends = ["\n replay:", "\nnote:", "\nstack backtrace"].map(|end| text.find(end).unwrap_or(text.len()));
    text[..ends.into_iter().min().unwrap()].to_owned()
}

/// Runs it, then what it prints, and compares. Returns both outputs.
#[track_caller]
fn fails_again_the_same_way(test: &str, with: &str) -> (String, String) {
    let first = failing(test, &[]);
    assert!(!first.contains("--- trace"), "no trace but on replay:\n{first}");
    let (name, value) = replay_of(&first, test);
    let again = failing(test, &[(name, value)]);
    let start = if name == "ENGSET_SEED" { format!("seed {value}: ") } else { "with ".to_owned() };
    assert_eq!(essence(&first, &start), essence(&again, &start));
    assert!(essence(&first, &start).contains(with), "no {with:?} in:\n{first}");
    assert!(again.contains("--- trace"), "{again}");
    (first, again)
}

#[test]
fn child_assertion() {
    if is_child() {
        testkit::systematic(500, || {
            let mut probe = Probe::new();
            let to = probe.address();
            (0..4).for_each(|number| {
                spawn(move || to.send(number));
            });
            let numbers = probe.receive_n(4);
            assert_ne!(numbers, [3, 2, 1, 0], "the one order that is wrong");
        });
    }
}

#[test]
fn an_assertion_that_fails_under_a_seed_prints_the_command_that_repeats_it() {
    let (_, again) = fails_again_the_same_way("child_assertion", "the one order that is wrong");
    for wanted in ["test spawns <", "sends i32 to <", "receives i32", "test crashed at"] {
        assert!(again.contains(wanted), "no {wanted:?} in:\n{again}");
    }
}

#[test]
fn child_crash() {
    if is_child() {
        testkit::systematic(50, || {
            Builder::new().name("ledger").spawn(|| panic!("out of money")).unwrap();
            sleep(Duration::from_millis(1));
        });
    }
}

#[test]
fn a_crash_of_another_process_fails_the_test_and_says_whose() {
    let (first, _) = fails_again_the_same_way("child_crash", "ledger crashed at");
    assert!(first.contains("out of money"), "{first}");
    assert!(first.contains("seed 0: a process crashed, which nobody expected"), "{first}");
}

#[test]
fn child_deadlock() {
    if is_child() {
        testkit::systematic(10, || {
            let silent = Builder::new()
                .name("silent")
                .spawn(|mut mailbox: Mailbox<Reply<()>>| {
                    let _kept = mailbox.message();
                    mailbox.message().send(());
                })
                .unwrap();
            silent.call_timeout(|reply| reply, Duration::MAX).unwrap();
        });
    }
}

#[test]
fn a_deadlock_lists_who_waits_and_what_it_did_last() {
    let (first, _) = fails_again_the_same_way("child_deadlock", "nothing can ever happen");
    assert!(first.contains("silent, 0 messages in its mailbox; at last it receives Reply<()>"), "{first}");
    assert!(first.contains("test, 0 messages in its mailbox; at last it sends"), "{first}");
}

#[test]
fn child_endless() {
    if is_child() {
        Check::new().seeds(2).max_time(Duration::from_secs(60)).systematic(|| {
            let ticked = spawn(|mut mailbox: Mailbox<()>| {
                loop {
                    mailbox.message();
                }
            });
            send_interval(Duration::from_secs(1), ticked, ());
            sleep(Duration::MAX);
        });
    }
}

#[test]
fn a_wait_beside_a_ticking_timer_ends_with_the_time_limit() {
    fails_again_the_same_way("child_endless", "it has not ended after 60s");
}

#[test]
fn child_busy() {
    if is_child() {
        Check::new().seeds(2).max_steps(10_000).systematic(|| {
            loop {
                reduce(100);
            }
        });
    }
}

#[test]
fn a_loop_without_an_end_ends_with_the_limit_of_slices() {
    fails_again_the_same_way("child_busy", "it has not ended after 10000 slices");
}

#[test]
fn child_leak() {
    if is_child() {
        Check::new().seeds(5).no_leaks(Duration::from_secs(10)).systematic(|| {
            let _probe: Probe<()> = Probe::new();
            Builder::new().name("forgotten").spawn(|| sleep(Duration::MAX)).unwrap();
            spawn(|| sleep(Duration::from_secs(5)));
        });
    }
}

#[test]
fn a_process_that_lives_on_is_a_leak() {
    let (first, _) = fails_again_the_same_way("child_leak", "these processes live on after the test");
    let listed = first.lines().filter(|line| line.contains("messages in its mailbox")).count();
    assert_eq!(listed, 1, "{first}");
    assert!(first.contains("forgotten, 0 messages"), "{first}");
}

#[test]
fn child_dead_letter() {
    if is_child() {
        Check::new().seeds(5).no_dead_letters().systematic(|| {
            let gone = spawn(|_: Mailbox<String>| ());
            sleep(Duration::from_millis(1));
            gone.send("hello".to_owned());
        });
    }
}

#[test]
fn a_dead_letter_can_fail_a_test() {
    fails_again_the_same_way("child_dead_letter", "which nobody expected\n  String");
}

#[test]
fn child_schedule() {
    if is_child() {
        testkit::exhaustive(2, || {
            let value = Arc::new(AtomicU32::new(0));
            for _ in 0..2 {
                let value = Arc::clone(&value);
                spawn(move || {
                    let read = value.load(SeqCst);
                    reduce(1);
                    value.store(read + 1, SeqCst);
                });
            }
            sleep(Duration::from_secs(1));
            assert_eq!(value.load(SeqCst), 2, "an update is lost");
        });
    }
}

#[test]
fn a_schedule_that_fails_prints_the_command_that_repeats_it() {
    fails_again_the_same_way("child_schedule", "an update is lost");
}

#[test]
fn child_expectations() {
    if !is_child() {
        return;
    }
    match std::env::var(CHILD).unwrap().as_str() {
        "crash" => testkit::systematic(1, || {
            testkit::expect_crash("this", || {
                spawn(|| panic!("that"));
            });
        }),
        "dead letters" => testkit::systematic(1, || {
            let gone = spawn(|_: Mailbox<u8>| ());
            sleep(Duration::from_millis(1));
            testkit::expect_dead_letters::<u32, _>(1, || gone.send(1));
        }),
        "log" => testkit::systematic(1, || {
            testkit::expect_log(tracing::Level::ERROR, "fire", || tracing::error!("smoke"));
        }),
        "probe" => testkit::systematic(1, || {
            let mut probe = Probe::new();
            probe.address().send(1);
            probe.address().send(2);
            probe.expect(3);
        }),
        "nothing" => testkit::systematic(1, || {
            let mut probe: Probe<u32> = Probe::new();
            probe.within(Duration::from_secs(1), |probe| probe.receive());
        }),
        "something" => testkit::systematic(1, || {
            let mut probe = Probe::new();
            engset_runtime::send_after(Duration::from_secs(59), probe.address(), "late");
            probe.expect_no(Duration::from_secs(60));
        }),
        "fish" => testkit::systematic(1, || {
            let mut probe = Probe::new();
            (0..3).for_each(|number| probe.address().send(number));
            probe.fish(|number| *number == 9);
        }),
        "late" => testkit::systematic(1, || {
            let mut probe: Probe<u32> = Probe::new();
            probe.within(Duration::from_secs(1), |_| sleep(Duration::from_secs(2)));
        }),
        "alive" => testkit::systematic(1, || {
            let mut probe: Probe<u32> = Probe::new();
            probe.expect_terminated(spawn(|| sleep(Duration::MAX)));
        }),
        "outside" => testkit::arm("a", testkit::When::Always),
        other => panic!("no such part: {other}"),
    }
}

#[test]
fn expectations_that_are_not_met_say_what_came_instead() {
    let cases: [(&str, &[&str]); 10] = [
        ("crash", &["a crash was expected within 3s, and these were others:", ": that"]),
        ("dead letters", &["1 dead letters of type u32 were expected, and 0 came", "[\"u8\"]"]),
        ("log", &["no ERROR event with \"fire\" was logged", "ERROR smoke"]),
        ("probe", &["expected 3, but got 1; then [2]", "tests/testkit_failures.rs"]),
        ("nothing", &["a message was expected, but nothing came within"]),
        ("something", &["no message was expected for 60s, but got \"late\""]),
        ("fish", &["the message that was wanted did not come within 3s; these did: [0, 1, 2]"]),
        ("late", &["it took 2", "and should have taken 1s at most"]),
        ("alive", &["should have ended within 3s, and lives"]),
        ("outside", &["this works only in a process of a test that the kit runs"]),
    ];
    for (part, texts) in cases {
        let output = failing("child_expectations", &[(CHILD, part)]);
        for text in texts {
            assert!(output.contains(text), "{part}: no {text:?} in:\n{output}");
        }
    }
}

#[test]
fn child_seeds() {
    if is_child() {
        testkit::systematic(3, || assert!(engset_runtime::now().is_zero()));
    }
}

#[test]
fn variables_that_are_no_numbers_are_named() {
    let output = failing("child_seeds", &[("ENGSET_SEED", "seven")]);
    assert!(output.contains("ENGSET_SEED is \"seven\", but must be a whole number"), "{output}");
    let output = failing("child_schedule", &[("ENGSET_SCHEDULE", "1-2")]);
    assert!(output.contains("ENGSET_SCHEDULE is \"1-2\", but must be like"), "{output}");
}
