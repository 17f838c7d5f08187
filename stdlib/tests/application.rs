//! Applications: order, failures, what an end means; and services, which run them.

#![allow(clippy::unit_arg, reason = "tasks of one line")]

mod support;

use engset_runtime::{
    Address, Config, ExitReason, Mailbox, Pid, exit, link, lookup, self_pid, sleep, spawn, spawn_link,
    trap_exits, whereis,
};
use engset_stdlib::{
    Application, ApplicationError, ApplicationSpec, ChildSpec, Context, DependencyError, Environment, Forced,
    GenServer, Next, Service, ServiceError, StartError, StartType, StopCause, StopReport, Supervisor,
    application::{self, from_fn},
    service,
    shutdown::{BEFORE_UNBIND, CoordinatedShutdown, STOP},
    signals::{self, OsSignal},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{eventually, everywhere, nothing_more, wait_dead};

const SECOND: Duration = Duration::from_secs(1);

/// What applications tell the test: their name, and what they do.
type Note = (&'static str, &'static str);

/// How an application of these tests behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Good,
    FailsToStart,
    PanicsInStart,
    FailsInPhase,
    PanicsInPrepStop,
    PanicsInStop,
    StartHangs,
}
use Script::*;

struct Part {
    name: &'static str,
    needs: Vec<&'static str>,
    script: Script,
    log: Address<Note>,
}

/// The only child of a part's supervisor; registered under the part's name.
struct Worker {
    name: &'static str,
    log: Address<Note>,
}

impl GenServer for Worker {
    type Message = ();

    fn handle(&mut self, (): (), _: &mut Context<()>) -> Next {
        Next::stop()
    }

    fn terminate(&mut self, _: &ExitReason, _: &mut Context<()>) {
        self.log.send((self.name, "worker ends"));
    }
}

impl Application for Part {
    fn spec(&self) -> ApplicationSpec {
        let spec =
            self.needs.iter().fold(ApplicationSpec::new(self.name), |spec, name| spec.depends_on(*name));
        if self.script == FailsInPhase { spec.start_phase("one").start_phase("two") } else { spec }
    }

    fn start(&mut self, environment: &Environment) -> Result<Pid, StartError> {
        assert_eq!(environment.name(), self.name);
        self.log.send((self.name, "start"));
        match self.script {
            FailsToStart => return Err(StartError::InitFailed(ExitReason::error("no tickets"))),
            PanicsInStart => panic!("no shop"),
            StartHangs => sleep(Duration::MAX),
            _ => {}
        }
        let (name, log) = (self.name, self.log);
        let worker = ChildSpec::server(name, move || Worker { name, log }.options().name(name).trap_exits());
        Ok(Supervisor::one_for_one().child(worker).start_link()?.pid())
    }

    fn start_phase(&mut self, phase: &str, _: &Environment) -> Result<(), ExitReason> {
        self.log.send((self.name, if phase == "one" { "phase one" } else { "phase two" }));
        if phase == "two" { Err(ExitReason::error("not two")) } else { Ok(()) }
    }

    fn prep_stop(&mut self, _: &Environment) {
        assert!(self.script != PanicsInPrepStop, "prep_stop fails");
        self.log.send((self.name, "prep_stop"));
    }

    fn stop(&mut self, _: &Environment) {
        assert!(self.script != PanicsInStop, "stop fails");
        self.log.send((self.name, "stop"));
    }
}

fn part(log: &Mailbox<Note>, name: &'static str, needs: &[&'static str], script: Script) -> Part {
    Part { name, needs: needs.to_vec(), script, log: log.address() }
}

fn all(parts: Vec<Part>) -> Vec<(Box<dyn Application>, StartType)> {
    let boxed = |part| (Box::new(part) as Box<dyn Application>, StartType::Temporary);
    parts.into_iter().map(boxed).collect()
}

#[track_caller]
fn expect(mailbox: &mut Mailbox<Note>, notes: &[Note]) {
    for note in notes {
        assert_eq!(mailbox.message_timeout(10 * SECOND).as_ref(), Some(note));
    }
}

fn stopping(name: &'static str) -> [Note; 3] {
    [(name, "prep_stop"), (name, "worker ends"), (name, "stop")]
}

fn names() -> Vec<Arc<str>> {
    application::which().unwrap().into_iter().map(|info| info.name).collect()
}

#[test]
fn applications_start_after_what_they_need_and_stop_before_it() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let parts = vec![
            part(mailbox, "web", &["shop", "log"], Good),
            part(mailbox, "shop", &["database"], Good),
            part(mailbox, "database", &[], Good),
            part(mailbox, "log", &[], Good),
        ];
        application::start_all(all(parts)).unwrap();
        let order = ["database", "shop", "log", "web"];
        order.iter().for_each(|name| expect(mailbox, &[(name, "start")]));
        assert_eq!(names(), order.map(Arc::from));
        assert!(application::which().unwrap().iter().all(|info| info.top.is_some()));

        match application::stop("database") {
            Err(ApplicationError::Needed { name, by }) => assert_eq!((&*name, &*by), ("database", "shop")),
            other => panic!("{other:?}"),
        }
        application::stop_all().unwrap();
        order.iter().rev().for_each(|name| expect(mailbox, &stopping(name)));
        assert_eq!(names(), [] as [Arc<str>; 0]);
        assert_eq!(whereis("database"), None);
        nothing_more(mailbox);
    });
}

#[test]
fn what_cannot_be_ordered_does_not_start_at_all() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let cycle = vec![
            part(mailbox, "z", &[], Good),
            part(mailbox, "a", &["b"], Good),
            part(mailbox, "b", &["c"], Good),
            part(mailbox, "c", &["a"], Good),
        ];
        match application::start_all(all(cycle)) {
            Err(ApplicationError::Dependencies(DependencyError::Cycle(names))) => {
                assert_eq!(names, ["a", "b", "c"])
            }
            other => panic!("{other:?}"),
        }
        let unknown = vec![part(mailbox, "shop", &["databas"], Good), part(mailbox, "database", &[], Good)];
        let error = application::start_all(all(unknown)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "applications: \"shop\" depends on \"databas\", which is not there; did you mean \"database\"?"
        );
        let twice = vec![part(mailbox, "a", &[], Good), part(mailbox, "a", &[], Good)];
        assert!(matches!(
            application::start_all(all(twice)),
            Err(ApplicationError::Dependencies(DependencyError::Duplicate { name })) if name == "a"
        ));
        nothing_more(mailbox);
        assert_eq!(names(), [] as [Arc<str>; 0]);
    });
}

#[test]
fn a_start_that_fails_stops_what_was_started_with_it() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        application::start(part(mailbox, "before", &[], Good), StartType::Temporary).unwrap();
        expect(mailbox, &[("before", "start")]);
        for round in 0..2 {
            let parts = vec![
                part(mailbox, "a", &["before"], Good),
                part(mailbox, "b", &["a"], Good),
                part(mailbox, "bad", &["b"], FailsToStart),
                part(mailbox, "after", &["bad"], Good),
            ];
            match application::start_all(all(parts)) {
                Err(ApplicationError::Start { name, error }) => {
                    assert_eq!(&*name, "bad");
                    assert_eq!(error, StartError::InitFailed(ExitReason::error("no tickets")));
                }
                other => panic!("round {round}: {other:?}"),
            }
            expect(mailbox, &[("a", "start"), ("b", "start"), ("bad", "start")]);
            expect(mailbox, &stopping("b"));
            expect(mailbox, &stopping("a"));
        }
        nothing_more(mailbox);
        assert_eq!(names(), [Arc::from("before")]);
    });
}

#[test]
fn a_panic_in_start_and_a_phase_that_fails_are_failures_of_the_start() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        match application::start(part(mailbox, "bad", &[], PanicsInStart), StartType::Permanent) {
            Err(ApplicationError::Start {
                error: StartError::InitExited(ExitReason::Panic(panic)), ..
            }) => {
                assert_eq!(panic.message, "no shop");
            }
            other => panic!("{other:?}"),
        }
        expect(mailbox, &[("bad", "start")]);
        match application::start(part(mailbox, "bad", &[], FailsInPhase), StartType::Permanent) {
            Err(ApplicationError::StartPhase { phase, reason, .. }) => {
                assert_eq!((&*phase, reason), ("two", ExitReason::error("not two")));
            }
            other => panic!("{other:?}"),
        }
        let notes = ["start", "phase one", "phase two", "worker ends", "stop"].map(|what| ("bad", what));
        expect(mailbox, &notes);
        application::start(part(mailbox, "bad", &[], Good), StartType::Permanent).unwrap();
        assert!(matches!(
            application::start(part(mailbox, "bad", &[], Good), StartType::Permanent),
            Err(ApplicationError::AlreadyStarted { .. })
        ));
        assert!(matches!(
            application::start(part(mailbox, "x", &["y"], Good), StartType::Permanent),
            Err(ApplicationError::DependencyNotStarted { dependency, .. }) if &*dependency == "y"
        ));
        assert!(matches!(application::stop("nobody"), Err(ApplicationError::NotStarted { .. })));
    });
}

#[test]
fn a_panic_in_a_stop_is_told_and_the_rest_of_the_stop_happens() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        for (script, message, left) in [
            (PanicsInPrepStop, "prep_stop fails", ["worker ends", "stop"]),
            (PanicsInStop, "stop fails", ["prep_stop", "worker ends"]),
        ] {
            application::start(part(mailbox, "a", &[], script), StartType::Permanent).unwrap();
            match application::stop_all() {
                Err(ApplicationError::Stop { message: told, .. }) => assert_eq!(told, message),
                other => panic!("{other:?}"),
            }
            expect(mailbox, &[("a", "start"), ("a", left[0]), ("a", left[1])]);
            assert_eq!(whereis("a"), None);
        }
        nothing_more(mailbox);
    });
}

#[test]
fn one_that_ends_by_itself_is_stopped_and_can_be_started_again() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        for _ in 0..2 {
            application::start(part(mailbox, "a", &[], Good), StartType::Temporary).unwrap();
            let top = application::which().unwrap()[0].top.unwrap();
            exit(top, ExitReason::Kill);
            eventually("it is gone", || names().is_empty());
            expect(mailbox, &[("a", "start")]);
            // The worker is ended by the link with its supervisor; the order of both is open.
            let mut notes = [mailbox.message(), mailbox.message()];
            notes.sort_unstable();
            assert_eq!(notes, [("a", "stop"), ("a", "worker ends")]);
        }
        nothing_more(mailbox);
    });
}

#[test]
fn one_that_hangs_in_its_start_can_be_stopped() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let hanging = part(mailbox, "a", &[], StartHangs);
        let log = mailbox.address();
        spawn(move || match application::start(hanging, StartType::Temporary) {
            Err(ApplicationError::Stopped { .. }) => log.send(("starter", "stopped")),
            other => panic!("{other:?}"),
        });
        expect(mailbox, &[("a", "start")]);
        assert_eq!(application::which().unwrap()[0].top, None);
        application::stop("a").unwrap();
        expect(mailbox, &[("starter", "stopped")]);
        application::start(part(mailbox, "a", &[], Good), StartType::Temporary).unwrap();
    });
}

#[test]
fn the_start_of_one_does_not_depend_on_who_asked_for_it() {
    everywhere(|mailbox: &mut Mailbox<Note>| {
        let ours = part(mailbox, "a", &[], Good);
        let starter = spawn(move || application::start(ours, StartType::Temporary).unwrap());
        wait_dead(starter);
        assert_eq!(names(), [Arc::from("a")]);
    });
}

// --- services ---

/// Runs a service on two workers, and in systematic mode under several seeds.
#[track_caller]
fn services(test: impl Fn(Config)) {
    test(Config::new().workers(2).crash_reports_per_second(0));
    (0..40).for_each(|seed| test(Config::new().seed(seed).crash_reports_per_second(0)));
}

/// What happened in a service, for the thread that runs it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// An application whose top process lives until it is asked to end, or gets its order to end for a reason.
fn simple(log: &Log, name: &'static str, needs: &[&'static str]) -> impl Application + use<> {
    let spec = needs.iter().fold(ApplicationSpec::new(name), |spec, name| spec.depends_on(*name));
    let log = log.clone();
    from_fn(spec, move |_| {
        log.note(format!("{name} starts"));
        let log = log.clone();
        let top = engset_runtime::Builder::new().name(name).link().spawn(
            move |mut mailbox: Mailbox<ExitReason>| {
                trap_exits(true);
                match mailbox.receive() {
                    engset_runtime::Received::Message(reason) => engset_runtime::exit_self(reason),
                    engset_runtime::Received::Event(_) => log.note(format!("{name} stops")),
                }
            },
        )?;
        Ok(top.pid())
    })
}

#[test]
fn a_service_starts_and_stops_in_order() {
    services(|config| {
        let log = Log::default();
        let (started, tasks) = (log.clone(), log.clone());
        let report = Service::new(config)
            .application(simple(&log, "shop", &["store"]))
            .application(simple(&log, "store", &[]))
            .started(move || {
                started.note("started");
                let shutdown = CoordinatedShutdown::current().unwrap();
                shutdown.add_task(BEFORE_UNBIND, "first", move || Ok(tasks.note("first"))).unwrap();
                service::stop("closing time").unwrap();
            })
            .run()
            .unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.cause, StopCause::Requested("closing time".into()));
        let expected = ["store starts", "shop starts", "started", "first", "shop stops", "store stops"];
        assert_eq!(log.all(), expected);
    });
}

#[test]
fn the_end_of_a_permanent_application_stops_the_service_with_its_reason() {
    let end = |config: Config, start_type, reason: ExitReason| {
        let log = Log::default();
        let result = Service::new(config)
            .application(simple(&log, "other", &[]))
            .application_as(start_type, simple(&log, "it", &["other"]))
            .started(move || {
                lookup::<ExitReason>("it").unwrap().send(reason);
                eventually("it is gone", || names().len() < 2);
                // If the service goes on, this ends it.
                sleep(SECOND);
                drop(service::stop("all is well"));
            })
            .run();
        assert_eq!(log.all(), ["other starts", "it starts", "other stops"]);
        result
    };
    let crash = || ExitReason::error("crash");
    let ended = |result: Result<StopReport, ServiceError>, expected: ExitReason| match result {
        Err(error @ ServiceError::ApplicationEnded { .. }) => {
            assert_eq!(error.exit_code(), 1);
            assert_eq!(error.to_string(), format!("stopped (the application it ended: {expected})"));
        }
        other => panic!("{other:?}"),
    };
    services(|config| {
        ended(end(config.clone(), StartType::Permanent, ExitReason::Normal), ExitReason::Normal);
        ended(end(config.clone(), StartType::Permanent, crash()), crash());
        ended(end(config.clone(), StartType::Transient, crash()), crash());
        ended(end(config.clone(), StartType::Transient, ExitReason::Shutdown), ExitReason::Shutdown);
    });
    let config = Config::new().seed(1).crash_reports_per_second(0);
    for (start_type, reason) in [
        (StartType::Transient, ExitReason::Normal),
        (StartType::Temporary, crash()),
        (StartType::Temporary, ExitReason::Normal),
    ] {
        let report = end(config.clone(), start_type, reason).unwrap();
        assert_eq!(report.cause, StopCause::Requested("all is well".into()));
    }
}

#[test]
fn a_service_that_does_not_start_stops_what_it_has_started() {
    services(|config| {
        let log = Log::default();
        let bad = from_fn(ApplicationSpec::new("bad").depends_on("store"), |_| {
            Err(StartError::InitFailed(ExitReason::error("no")))
        });
        let error = Service::new(config)
            .application(bad)
            .application(simple(&log, "store", &[]))
            .started(|| panic!("it has not started"))
            .run()
            .unwrap_err();
        assert_eq!(error.to_string(), "the application \"bad\" did not start: init failed: error: no");
        assert_eq!(error.exit_code(), 1);
        assert_eq!(log.all(), ["store starts", "store stops"]);
    });
}

#[test]
fn a_signal_while_it_starts_is_a_stop() {
    services(|config| {
        let log = Log::default();
        let hanging = log.clone();
        let slow = from_fn(ApplicationSpec::new("slow").depends_on("store"), move |_| {
            hanging.note("slow starts");
            signals::simulate(OsSignal::Terminate).unwrap();
            sleep(Duration::MAX);
            unreachable!("it sleeps")
        });
        let report =
            Service::new(config).application(slow).application(simple(&log, "store", &[])).run().unwrap();
        assert_eq!(report.cause, StopCause::Signal(OsSignal::Terminate));
        assert_eq!(log.all(), ["store starts", "slow starts", "store stops"]);
    });
}

#[test]
fn the_deadline_and_the_second_signal_force_the_end_and_tell_what_hangs() {
    let hang = |config: Config, second: bool| {
        let stubborn = from_fn(ApplicationSpec::new("stubborn"), move |_| {
            let child = ChildSpec::new("child", move || {
                let options = engset_runtime::Builder::new().name("sleeper").link().trap_exits();
                Ok(options
                    .spawn(move |mut mailbox: Mailbox<()>| {
                        mailbox.receive();
                        if second {
                            signals::simulate(OsSignal::Interrupt).unwrap();
                        }
                        sleep(Duration::MAX);
                    })?
                    .pid())
            });
            Ok(Supervisor::one_for_one().child(child.shutdown_after(3600 * SECOND)).start_link()?.pid())
        });
        let stop = || assert_eq!(signals::simulate(OsSignal::Terminate).unwrap(), 1);
        let config = config.set("stop.phases.stop.timeout_ms", 3_600_000).unwrap();
        match Service::new(config).application(stubborn).started(stop).run() {
            Err(ServiceError::Forced(report)) => report,
            other => panic!("{other:?}"),
        }
    };
    for seed in 0..40 {
        let config = Config::new().seed(seed);
        let report = hang(config.clone().set("stop.deadline_ms", 600_000).unwrap(), false);
        assert_eq!((report.by, report.phase.as_deref()), (Forced::Deadline, Some(STOP)));
        assert_eq!(report.tasks.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["applications"]);
        let named: Vec<_> = report.processes.iter().filter_map(|(_, name)| name.as_deref()).collect();
        assert_eq!(named.len(), 2, "{report}");
        assert!(named.contains(&"sleeper") && named.contains(&"application.stubborn"), "{report}");

        let report = hang(config, true);
        assert_eq!(report.by, Forced::Signal(OsSignal::Interrupt));
        assert_eq!(ServiceError::Forced(report).exit_code(), 130);
    }
    let report = hang(Config::new().workers(2).set("stop.deadline_ms", 50).unwrap(), false);
    assert!(report.to_string().contains("process sleeper"), "{report}");
}

#[test]
fn a_task_that_fails_makes_the_report_unclean_and_an_abort_is_an_error() {
    services(|config| {
        let run = |config: Config| {
            let log = Log::default();
            let result = Service::new(config)
                .application(simple(&log, "store", &[]))
                .started(|| {
                    let shutdown = CoordinatedShutdown::current().unwrap();
                    shutdown.add_task(BEFORE_UNBIND, "bad", || Err("no".into())).unwrap();
                    service::stop("now").unwrap();
                })
                .run();
            (result, log.all())
        };
        let (result, log) = run(config.clone());
        assert_eq!(
            result.unwrap().to_string(),
            "stopped (requested: now); in the phase before-unbind, \"bad\" failed: error: no"
        );
        assert_eq!(log, ["store starts", "store stops"]);

        let (result, log) = run(config.set("stop.phases.before-unbind.recover", false).unwrap());
        match result {
            Err(ServiceError::Aborted(report)) => assert_eq!(report.aborted.as_deref(), Some(BEFORE_UNBIND)),
            other => panic!("{other:?}"),
        }
        assert_eq!(log[0], "store starts");
        assert!(
            log.get(1).is_none_or(|line| line == "store stops"),
            "at most its process was ended with the node"
        );
    });
}

#[test]
fn applications_outside_of_a_process_are_an_error() {
    let error =
        application::start(from_fn(ApplicationSpec::new("a"), |_| Ok(self_pid())), StartType::Permanent);
    assert!(matches!(error, Err(ApplicationError::Controller(_))));
    assert!(service::stop("nothing runs").is_err());
}

#[test]
fn a_linked_process_of_an_application_ends_with_it() {
    everywhere(|_: &mut Mailbox<()>| {
        let app = from_fn(ApplicationSpec::new("a"), |_| {
            let top = spawn_link(|| sleep(Duration::MAX));
            link(top);
            Ok(top)
        });
        application::start(app, StartType::Temporary).unwrap();
        let top = application::which().unwrap()[0].top.unwrap();
        application::stop("a").unwrap();
        assert!(!engset_runtime::is_alive(top));
    });
}
