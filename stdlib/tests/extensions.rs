//! Extensions: one of each type for each node, created once, stopped in reverse.

mod support;

use engset_runtime::{
    Config, Extension, ExtensionError, Mailbox, Node, extension, kill, run_with, sleep, spawn, yield_now,
};
use engset_stdlib::{Service, ServiceError, service};
use std::{
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use support::{eventually, everywhere, wait_dead};

type Notes = Arc<Mutex<Vec<&'static str>>>;

/// What happened on a node: itself an extension, so that nodes that run at the same time do not mix.
#[derive(Default)]
struct Log(Notes);

impl Extension for Log {
    fn create(_: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Log::default())
    }
}

fn note(node: &Node, what: &'static str) {
    // Found also when none is created any more.
    let log = node.find_extension::<Log>().expect("created first");
    log.0.lock().unwrap().push(what);
}

fn log(node: &Node) -> Notes {
    Arc::clone(&node.extension::<Log>().unwrap().0)
}

macro_rules! logging {
    ($($name:ident needs $($needs:ident)*;)*) => {
        $(#[derive(Debug)]
        struct $name;

        impl Extension for $name {
            fn create(node: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
                log(node);
                $(node.extension::<$needs>()?;)*
                // Others want it meanwhile.
                if engset_runtime::try_self_pid().is_some() {
                    yield_now();
                    sleep(Duration::from_millis(1));
                }
                note(node, concat!("create ", stringify!($name)));
                Ok($name)
            }

            fn stop(&self, node: &Node) {
                note(node, concat!("stop ", stringify!($name)));
            }
        })*
    };
}

logging! {
    Pool needs;
    Cache needs Pool;
    Metrics needs Pool Cache;
    Left needs Right;
    Right needs Middle;
    Middle needs Left;
}

#[test]
fn one_for_all_processes_created_once() {
    everywhere(|_: &mut Mailbox<()>| {
        let node = Node::current().unwrap();
        assert!(node.find_extension::<Metrics>().is_none());
        let all: Vec<_> = (0..8)
            .map(|number| {
                spawn(move || {
                    // Those that need each other, wanted in different orders.
                    if number % 2 == 0 {
                        extension::<Metrics>().unwrap();
                    }
                    extension::<Pool>().unwrap();
                    extension::<Cache>().unwrap();
                    extension::<Metrics>().unwrap();
                })
            })
            .collect();
        all.into_iter().for_each(wait_dead);
        let (one, other) = (extension::<Metrics>().unwrap(), node.extension::<Metrics>().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        let mut notes = log(&node).lock().unwrap().clone();
        assert_eq!(notes.len(), 3, "{notes:?}");
        notes.sort_unstable();
        assert_eq!(notes, ["create Cache", "create Metrics", "create Pool"]);
    });
}

#[test]
fn they_stop_with_the_node_in_the_reverse_order_of_their_creation() {
    for config in [Config::new().workers(1), Config::new().seed(7)] {
        let node = Node::start(config).unwrap();
        node.extension::<Metrics>().unwrap();
        let notes = log(&node);
        assert!(node.stop());
        assert_eq!(
            *notes.lock().unwrap(),
            ["create Pool", "create Cache", "create Metrics", "stop Metrics", "stop Cache", "stop Pool"]
        );
        assert!(matches!(node.extension::<Pool>(), Err(ExtensionError::Stopped)));
        assert!(node.find_extension::<Pool>().is_none());
    }
}

#[test]
fn each_node_has_its_own() {
    let nodes = [1, 2].map(|_| Node::start(Config::new().workers(1)).unwrap());
    let [one, other] = [0, 1].map(|at| nodes[at].extension::<Pool>().unwrap());
    assert!(!Arc::ptr_eq(&nodes[0].extension::<Log>().unwrap(), &nodes[1].extension::<Log>().unwrap()));
    drop((one, other));
    assert!(nodes.iter().all(Node::stop));
}

#[test]
fn threads_that_are_no_processes_wait_for_each_other_too() {
    let node = Node::start(Config::new().workers(2)).unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let node = &node;
            scope.spawn(move || {
                if number % 2 == 0 {
                    node.extension::<Metrics>().unwrap();
                } else {
                    node.spawn(|| drop(extension::<Metrics>().unwrap())).unwrap();
                    node.extension::<Cache>().unwrap();
                }
            });
        }
    });
    node.extension::<Metrics>().unwrap();
    assert_eq!(log(&node).lock().unwrap().len(), 3);
    assert!(node.stop());
}

#[test]
fn those_that_need_each_other_are_an_error_that_names_them() {
    everywhere(|_: &mut Mailbox<()>| {
        let error = extension::<Right>().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("extensions need each other") && text.contains("Middle -> "), "{text}");
        assert!(text.ends_with("Right"), "{text}");
        // It left nothing behind.
        extension::<Metrics>().unwrap();
        assert!(extension::<Left>().is_err());
    });
}

static TRIES: AtomicUsize = AtomicUsize::new(0);

struct Bad;

impl Extension for Bad {
    fn create(_: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match TRIES.fetch_add(1, Ordering::Relaxed) {
            0 => Err("not yet".into()),
            1 => panic!("not at all"),
            _ => Ok(Bad),
        }
    }
}

#[test]
fn a_creation_that_fails_is_tried_again_by_the_next() {
    let config = Config::new().workers(2).crash_reports_per_second(0);
    run_with(config, || {
        match extension::<Bad>() {
            Err(ExtensionError::Create { name, error }) => {
                assert!(name.ends_with("Bad") && error.to_string() == "not yet");
            }
            _ => panic!("it was created"),
        }
        wait_dead(spawn(|| drop(extension::<Bad>())));
        assert!(extension::<Bad>().is_ok());
    })
    .unwrap();
    assert_eq!(TRIES.load(Ordering::Relaxed), 3);
}

/// Never done while its switch is off.
struct Slow;

#[derive(Default)]
struct Switch(AtomicUsize);

impl Extension for Switch {
    fn create(_: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Switch::default())
    }
}

impl Extension for Slow {
    fn create(node: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
        if node.extension::<Switch>()?.0.fetch_add(1, Ordering::Relaxed) == 0 {
            sleep(Duration::MAX);
        }
        Ok(Slow)
    }
}

#[test]
fn a_creator_that_is_killed_lets_the_next_one_try() {
    everywhere(|_: &mut Mailbox<()>| {
        let switch = extension::<Switch>().unwrap();
        let creator = spawn(|| drop(extension::<Slow>()));
        eventually("it creates", || switch.0.load(Ordering::Relaxed) == 1);
        let waiting = spawn(|| drop(extension::<Slow>().unwrap()));
        yield_now();
        kill(creator);
        wait_dead(waiting);
        assert_eq!(switch.0.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn outside_of_a_process_there_is_none() {
    assert!(matches!(extension::<Pool>(), Err(ExtensionError::OutsideOfProcess)));
}

#[test]
fn a_service_creates_what_it_is_told_and_stops_it_while_processes_run() {
    let run = |config: Config| {
        let notes: Arc<Mutex<Option<Notes>>> = Arc::default();
        let place = Arc::clone(&notes);
        let result = Service::new(config)
            .extension::<Cache>()
            .offer_extension::<Metrics>("metrics")
            .started(move || {
                *place.lock().unwrap() = Some(log(&Node::current().unwrap()));
                service::stop("now").unwrap();
            })
            .run();
        let notes = notes.lock().unwrap().take().map(|notes| notes.lock().unwrap().clone());
        (result, notes)
    };
    for config in [Config::new().workers(2), Config::new().seed(3)] {
        let (result, notes) = run(config.clone());
        assert!(result.unwrap().is_clean());
        assert_eq!(notes.unwrap(), ["create Pool", "create Cache", "stop Cache", "stop Pool"]);
        let (result, notes) = run(config.clone().toml("extensions = ['metrics']").unwrap());
        assert!(result.unwrap().is_clean());
        assert_eq!(notes.unwrap()[2..4], ["create Metrics", "stop Metrics"]);
        match run(config.toml("extensions = ['metrix']").unwrap()).0 {
            Err(error @ ServiceError::UnknownExtension { .. }) => {
                assert_eq!(error.exit_code(), 78);
                assert!(error.to_string().ends_with("there is no \"metrix\"; did you mean \"metrics\"?"));
            }
            other => panic!("{other:?}"),
        }
    }
}
