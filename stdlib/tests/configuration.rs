//! Layers, the users' types, settings of processes by name, and reading it anew while the node runs.

mod support;

use engset_runtime::{
    Address, Builder, Config, Limit, Mailbox, Node, Overflow, Priority, RunError, SendError,
    config::{ConfigError, Origin},
    run_with, sleep,
};
use engset_stdlib::{
    Application, ApplicationSpec, ChildSpec, Environment, GenServer, Service, StartError, StartType,
    Supervisor, application, configuration, service,
    signals::{self, OsSignal},
};
use proptest::prelude::*;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

#[derive(Debug, Deserialize, PartialEq)]
struct Shop {
    pool: Pool,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    doors: Vec<Door>,
    #[serde(default)]
    limits: BTreeMap<String, u32>,
    note: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Pool {
    size: u16,
    share: f64,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Plain,
    Fast {
        factor: u8,
    },
}

#[derive(Debug, Deserialize, PartialEq)]
struct Door {
    wide: bool,
}

const GOOD: &str = r#"
[app.shop]
pool = { size = 4, share = 1 }
mode = { fast = { factor = 2 } }
limits = { "a.b" = 1 }

[[app.shop.doors]]
wide = true
"#;

/// A file that is deleted with its owner.
struct Temporary(PathBuf);

impl Temporary {
    fn new(text: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = Temporary(env::temp_dir().join(format!("engset-{}-{number}.toml", std::process::id())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("a temporary file can be written");
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("it is there");
    }
}

fn shop(toml: &str) -> Result<Shop, ConfigError> {
    Config::new().toml(toml)?.get("app.shop")
}

#[test]
fn a_section_becomes_a_value_of_the_users_type() {
    let expected = Shop {
        pool: Pool { size: 4, share: 1.0 },
        mode: Mode::Fast { factor: 2 },
        doors: vec![Door { wide: true }],
        limits: BTreeMap::from([("a.b".to_owned(), 1)]),
        note: None,
    };
    assert_eq!(shop(GOOD).unwrap(), expected);
    let config = Config::new().toml(GOOD).unwrap();
    assert_eq!(config.get::<u32>("app.shop.limits.\"a.b\"").unwrap(), 1);
    let simple = shop("[app.shop]\nmode = 'plain'\npool = { size = 1, share = 0.5 }\nnote = 'x'").unwrap();
    assert_eq!((simple.mode, simple.note.as_deref()), (Mode::Plain, Some("x")));
}

#[test]
fn errors_tell_the_path_the_value_and_where_it_stands() {
    let file = Temporary::new("[app.shop]\n\npool = { size = 'x', share = 1 }\n");
    let path = file.0.display();
    let error = Config::new().file(&file.0).unwrap().get::<Shop>("app.shop").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("app.shop.pool.size: expected u16, found string \"x\" ({path} line 3)")
    );
    match &error {
        ConfigError::Value { key, origin: Some(Origin::File { line: 3, .. }), .. } => {
            assert_eq!(key, "app.shop.pool.size")
        }
        other => panic!("{other:?}"),
    }
    for (from, to, expected) in [
        (
            "size = 4",
            "size = 70000",
            "app.shop.pool.size: expected u16, found integer 70000 (settings text line 3)",
        ),
        ("size = 4, ", "", "app.shop.pool.size: it is not set, and has no default"),
        (
            "size = 4",
            "size = 4, sise = 5",
            "app.shop.pool.sise: there is no such setting (settings text line 3); did you mean size?",
        ),
        ("fast", "slow", "app.shop.mode.slow: expected \"plain\" or \"fast\", found string \"slow\""),
        (
            "factor = 2",
            "factor = -2",
            "app.shop.mode.fast.factor: expected u8, found integer -2 (settings text line 4)",
        ),
        (
            "= true",
            "= 1",
            "app.shop.doors[0].wide: expected a boolean, found integer 1 (settings text line 8)",
        ),
        (
            "pool = {",
            "pool = 5 #",
            "app.shop.pool: expected struct Pool, found integer 5 (settings text line 3)",
        ),
        (
            "= 1 }\n\n",
            "= 'y' }\n\n",
            "app.shop.limits.\"a.b\": expected u32, found string \"y\" (settings text line 5)",
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        assert_eq!(shop(&text).unwrap_err().to_string(), expected);
    }
    assert_eq!(shop("").unwrap_err().to_string(), "app.shop.pool: it is not set, and has no default");
    let missing = Config::new().file("/nowhere/engset.toml").unwrap_err();
    assert!(missing.to_string().starts_with("/nowhere/engset.toml: "), "{missing}");
}

#[test]
fn wrong_settings_of_processes_are_found_at_once() {
    for (toml, expected) in [
        (
            "[process.x]\nprio = 'low'",
            "process.x.prio: there is no such setting (settings text line 2); there are mailbox, priority, stack_size, pool_size",
        ),
        (
            "[process.x]\nprioritty = 'low'",
            "process.x.prioritty: there is no such setting (settings text line 2); did you mean priority?",
        ),
        (
            "[process.'a.*']\npriority = 'fast'",
            "process.\"a.*\".priority: expected \"max\" or \"high\" or \"normal\" or \"low\", found string \"fast\" (settings text line 2)",
        ),
        (
            "[process.x]\nmailbox = { messages = 0 }",
            "process.x.mailbox.messages: expected at least 1, found integer 0 (settings text line 2)",
        ),
        (
            "[process.x]\nmailbox = 5",
            "process.x.mailbox: expected a table, found integer 5 (settings text line 2)",
        ),
        (
            "[process.x]\nstack_size = '1 MiB'",
            "process.x.stack_size: expected usize, found string \"1 MiB\" (settings text line 2)",
        ),
        ("process = 1", "process: expected a table, found integer 1 (settings text line 1)"),
    ] {
        assert_eq!(Config::new().toml(toml).unwrap_err().to_string(), expected);
    }
}

#[test]
fn the_most_exact_pattern_wins_for_each_setting() {
    let config = Config::new()
        .toml("[process.'**']\npriority = 'low'\npool_size = 1\n[process.'shop.*']\npool_size = 2\nstack_size = 65536\n")
        .unwrap()
        .toml("[process.'shop.till']\npool_size = 3\n[process.'*.till']\nstack_size = 1")
        .unwrap();
    let of = |name| {
        let settings = config.process(name);
        (settings.priority(), settings.pool_size(), settings.stack_size())
    };
    let low = Some(Priority::Low);
    assert_eq!(of("shop.till"), (low, Some(3), Some(65536)));
    assert_eq!(of("shop.clerk"), (low, Some(2), Some(65536)));
    assert_eq!(of("shop.clerk.1"), (low, Some(1), None));
}

/// How many messages a mailbox takes whose process does not look.
fn room(address: Address<u32>) -> usize {
    (0..100).take_while(|number| !matches!(address.try_send(*number), Err(SendError::Full(_)))).count()
}

fn idle(_: Mailbox<u32>) {
    sleep(Duration::MAX);
}

/// In both modes.
#[track_caller]
fn nodes(config: &Config, test: fn()) {
    for config in [config.clone().workers(2), config.clone().seed(5), config.clone().seed(6)] {
        run_with(config.crash_reports_per_second(0), test)
            .unwrap_or_else(|error: RunError| panic!("{error}"));
    }
}

#[test]
fn settings_of_a_process_are_applied_when_it_starts() {
    let config = Config::new()
        .toml(
            "[process.'shop.*']\nmailbox = { messages = 5, overflow = 'drop_newest' }\n\
             [process.'shop.big']\nmailbox = { messages = 50 }\n\
             [process.'child']\nmailbox = { messages = 7, overflow = 'drop_newest' }\n",
        )
        .unwrap();
    nodes(&config, || {
        assert_eq!(room(Builder::new().spawn(idle).unwrap()), 100);
        assert_eq!(room(Builder::new().name("elsewhere").spawn(idle).unwrap()), 100);
        assert_eq!(room(Builder::new().name("shop.small").spawn(idle).unwrap()), 5);
        assert_eq!(room(Builder::new().name("shop.big").spawn(idle).unwrap()), 50);
        // What the configuration says wins; what it does not say stays as the program has it.
        let own = Limit::messages(20).overflow(Overflow::DropNewest);
        assert_eq!(room(Builder::new().name("shop.own").mailbox(own.clone()).spawn(idle).unwrap()), 5);
        assert_eq!(room(Builder::new().name("else").mailbox(own).spawn(idle).unwrap()), 20);
        let node = Node::current().unwrap();
        assert_eq!(room(Builder::new().name("shop.outside").spawn_on(&node, idle).unwrap()), 5);
    });
}

fn sleep_for_ever() -> engset_stdlib::Next {
    sleep(Duration::MAX);
    engset_stdlib::Next::wait()
}

#[test]
fn a_child_without_a_name_is_configured_by_its_id() {
    let config =
        Config::new().toml("[process.clerk]\nmailbox = { messages = 3, overflow = 'drop_newest' }").unwrap();
    nodes(&config, || {
        let (tell, told) = std::sync::mpsc::channel();
        let clerk = ChildSpec::server("clerk", move || Clerk(tell.clone()));
        Supervisor::one_for_one().child(clerk).start_link().unwrap();
        let clerk = told.try_recv().unwrap();
        // The first is taken out, and keeps it busy.
        clerk.send(0);
        support::eventually("it is busy", || Node::current().unwrap().mailbox_len(clerk) == Some(0));
        assert_eq!(room(clerk), 3);
    });
}

struct Clerk(std::sync::mpsc::Sender<Address<u32>>);

impl GenServer for Clerk {
    type Message = u32;

    fn init(
        &mut self,
        context: &mut engset_stdlib::Context<u32>,
    ) -> Result<engset_stdlib::Next, engset_runtime::ExitReason> {
        self.0.send(context.address()).unwrap();
        Ok(engset_stdlib::Next::wait())
    }

    fn handle(&mut self, _: u32, _: &mut engset_stdlib::Context<u32>) -> engset_stdlib::Next {
        sleep_for_ever()
    }
}

#[derive(Debug, PartialEq)]
enum Note {
    Reload(Result<Vec<String>, String>),
    Changed(&'static str, u32),
}

fn reload_note(reload: configuration::Reload) -> Note {
    match reload {
        configuration::Reload::Changed(changes) => Note::Reload(Ok(changes.keys.clone())),
        configuration::Reload::Failed(error) => Note::Reload(Err(error.to_string())),
        other => panic!("{other:?}"),
    }
}

/// Tells when its section has changed.
struct Listener(&'static str, Address<Note>);

#[derive(serde::Serialize)]
struct Defaults {
    size: u32,
}

impl Application for Listener {
    fn spec(&self) -> ApplicationSpec {
        ApplicationSpec::new(self.0).defaults(Defaults { size: 7 })
    }

    fn start(&mut self, _: &Environment) -> Result<engset_runtime::Pid, StartError> {
        Ok(Supervisor::one_for_one().start_link()?.pid())
    }

    fn config_changed(&mut self, _: &engset_runtime::config::Changes, environment: &Environment) {
        self.1.send(Note::Changed(self.0, environment.get("size").unwrap()));
    }
}

#[test]
fn reloading_tells_subscribers_and_applications_and_keeps_what_was_when_it_fails() {
    for seed in [None, Some(1), Some(2), Some(3)] {
        let file = Temporary::new("[app.shop]\nsize = 1\n[process.p]\npool_size = 1");
        let config = Config::new().file(&file.0).unwrap();
        let config = match seed {
            None => config.workers(2),
            Some(seed) => config.seed(seed),
        };
        let test = move || {
            // If it crashes, so does this.
            let scene =
                engset_runtime::spawn_link(move |mut mailbox: Mailbox<Note>| collect(&mut mailbox, &file));
            support::wait_dead(scene.pid());
        };
        run_with(config, test).unwrap();
    }
}

fn collect(mailbox: &mut Mailbox<Note>, file: &Temporary) {
    let me = mailbox.address();
    let changed = |keys: &[&str]| Note::Reload(Ok(keys.iter().map(|key| (*key).to_owned()).collect()));
    application::start(Listener("shop", me), StartType::Temporary).unwrap();
    application::start(Listener("other", me), StartType::Temporary).unwrap();
    let shop = Environment::of("shop").unwrap();
    let size = || shop.get::<u32>("size").unwrap();
    assert_eq!((size(), Environment::of("other").unwrap().get::<u32>("size").unwrap()), (1, 7));
    let subscription = configuration::subscribe(me, reload_note).unwrap();

    file.write("slice = 5000\n[app.shop]\nsize = 2\n[process.p]\npool_size = 2");
    configuration::reload();
    let mut notes = [mailbox.message(), mailbox.message()];
    notes.sort_by_key(|note| matches!(note, Note::Reload(_)));
    assert_eq!(
        notes,
        [Note::Changed("shop", 2), changed(&["app.shop.size", "process.p.pool_size", "slice"])]
    );
    let node = Node::current().unwrap();
    assert_eq!((size(), node.live_config().process("p").pool_size()), (2, Some(2)));
    assert_eq!(node.config().get::<u32>("app.shop.size").unwrap(), 1, "as it was at the start");

    file.write("[app.shop]\nsize = 3\n[proces.p]");
    configuration::reload();
    match mailbox.message() {
        Note::Reload(Err(error)) => assert!(error.ends_with("did you mean process?"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!((size(), node.live_config().process("p").pool_size()), (2, Some(2)));

    // The default of the application shows again.
    file.write("slice = 5000\n[process.p]\npool_size = 2");
    configuration::reload();
    let mut notes = [mailbox.message(), mailbox.message()];
    notes.sort_by_key(|note| matches!(note, Note::Reload(_)));
    assert_eq!(notes, [Note::Changed("shop", 7), changed(&["app.shop.size"])]);
    assert_eq!(
        node.live_config().explain("app.shop.size").unwrap().to_string(),
        "app.shop.size = 7 (default of application shop)"
    );

    assert!(configuration::unsubscribe(subscription));
    configuration::reload();
    support::nothing_more(mailbox);
}

#[test]
fn sighup_makes_a_service_read_it_anew() {
    for seed in 0..20 {
        let file = Temporary::new("app.size = 1");
        let config = Config::new().file(&file.0).unwrap().seed(seed);
        let report = Service::new(config)
            .started(move || {
                file.write("app.size = 2");
                assert_eq!(signals::simulate(OsSignal::Hangup).unwrap(), 1);
                support::eventually("it is read", || configuration::get::<u32>("app.size").unwrap() == 2);
                service::stop("done").unwrap();
            })
            .run();
        assert!(report.unwrap().is_clean());
    }
}

// --- the order of layers, against a model ---

/// A layer: values at paths of which none is below another.
fn layer() -> impl Strategy<Value = BTreeMap<&'static str, i64>> {
    let key = prop::sample::select(vec![
        "app.a.x",
        "app.a.y",
        "app.b.x",
        "app.\"b.c\".x",
        "app.z",
        "slice",
        "spin_us",
    ]);
    prop::collection::btree_map(key, 1_i64..1000, 0..5)
}

proptest! {
    #[test]
    fn the_latest_layer_that_has_a_value_wins_and_explain_tells_it(
        layers in prop::collection::vec((layer(), any::<bool>()), 0..6),
        defaults in layer(),
        defaults_at in 0_usize..6,
    ) {
        let mut config = Config::new();
        let mut model: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for (at, (layer, by_code)) in layers.iter().enumerate() {
            if at == defaults_at {
                for (key, value) in &defaults {
                    config = config.with_defaults("a test", key, *value).unwrap();
                }
            }
            let text: String = layer.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            if *by_code {
                for (key, value) in layer {
                    config = config.set(key, *value).unwrap();
                }
            } else {
                config = config.toml(&text).unwrap();
            }
            for (key, value) in layer {
                model.entry(key).or_default().push(*value);
            }
        }
        if defaults_at < layers.len() {
            for (key, value) in &defaults {
                model.entry(key).or_default().insert(0, *value);
            }
        }
        for (key, values) in &model {
            prop_assert_eq!(config.get::<i64>(key).unwrap(), *values.last().unwrap());
            prop_assert_eq!(config.explain(key).unwrap().value, values.last().unwrap().to_string());
        }
        let again = config.reread().unwrap();
        prop_assert!(again.changes_since(&config).keys.is_empty());
        prop_assert_eq!(again.explain("slice").map(|slice| slice.value), config.explain("slice").map(|slice| slice.value));
    }
}
