//! How nodes find each other: the directory of the host, a file, a list, DNS; and what is bad in them.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

use engset_net::dist::{
    Config, Discovery, Distribution, HostNames, JoinError, Secret,
    discovery::{DiscoveryError, Dns, Found, HostError, MOST, Nodes, NodesFile},
    simulation::Simulation,
    tcp,
};
use engset_runtime::Node;
use std::{
    env,
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);
const NET: Duration = Duration::from_secs(60);

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("engset-discovery-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a new directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("its owner");
        Scratch(path)
    }

    fn host(&self) -> HostNames {
        HostNames::at(&self.0).expect("it is good")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("it is ours");
        path
    }

    fn files(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it is ours").file_name();
        let mut names: Vec<String> = fs::read_dir(&self.0)
            .expect("it is there")
            .map(|entry| name(entry).into_string().expect("text"))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn start(name: &str, host: HostNames) -> Result<(Node, Distribution, SocketAddr), JoinError> {
    let node = Node::start(engset_runtime::Config::new().workers(1_usize)).expect("a node");
    let config =
        Config::new(name, Secret::new("of this test")).on_host(host).look_every(Duration::from_millis(50));
    match tcp::join(&node, config, any_port()) {
        Ok((distribution, address)) => Ok((node, distribution, address)),
        Err(error) => {
            assert!(node.stop());
            Err(error)
        }
    }
}

fn names(distribution: &Distribution) -> Vec<String> {
    distribution.nodes().iter().map(|(name, _)| name.to_string()).collect()
}

#[track_caller]
fn wait_until(what: impl Fn() -> bool) {
    let end = Instant::now() + NET;
    while !what() {
        assert!(Instant::now() < end, "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn nodes_of_one_host_find_each_other_without_ports_and_a_stopped_one_is_gone() {
    let scratch = Scratch::new();
    let (one, of_one, _) = start("one", scratch.host()).expect("it joins");
    let (two, of_two, _) = start("two", scratch.host()).expect("it joins");
    let (three, of_three, _) = start("three", scratch.host()).expect("it joins");
    wait_until(|| [&of_one, &of_two, &of_three].iter().all(|all| all.nodes().len() == 2));
    assert_eq!(scratch.files(), ["engset~one", "engset~three", "engset~two"]);
    assert!(two.stop());
    wait_until(|| names(&of_one) == ["three"] && names(&of_three) == ["one"]);
    assert_eq!(scratch.files(), ["engset~one", "engset~three"]);
    // On another port, as a rule.
    let (two, of_two, _) = start("two", scratch.host()).expect("the name is free");
    wait_until(|| of_two.nodes().len() == 2 && of_one.nodes().len() == 2);
    assert!(one.stop() & two.stop() & three.stop());
    assert_eq!(scratch.files(), Vec::<String>::new());
}

#[test]
fn a_name_is_had_by_one_node_of_a_cluster_at_a_time() {
    let scratch = Scratch::new();
    let (node, ..) = start("one", scratch.host()).expect("it joins");
    match start("one", scratch.host()) {
        Err(JoinError::Host(HostError::Taken { name })) => assert_eq!(name, "one"),
        other => panic!("{:?}", other.map(|(_, distribution, _)| distribution)),
    }
    let other = Node::start(engset_runtime::Config::new().workers(1_usize)).expect("a node");
    let config = Config::new("one", Secret::new("of this test")).cluster("another").on_host(scratch.host());
    let (of_other, _) = tcp::join(&other, config, any_port()).expect("another cluster");
    assert_eq!(scratch.files(), ["another~one", "engset~one"]);
    assert!(of_other.nodes().is_empty());
    assert!(node.stop() & other.stop());
}

#[test]
fn a_name_is_free_as_soon_as_it_is_given_up_whoever_else_looks() {
    let scratch = Scratch::new();
    let running = AtomicU32::new(2);
    thread::scope(|scope| {
        for number in 0..2 {
            let (scratch, running) = (&scratch, &running);
            scope.spawn(move || {
                for _ in 0..20 {
                    let (node, ..) = start(&format!("n{number}"), scratch.host()).expect("it is free");
                    assert!(node.stop());
                }
                running.fetch_sub(1, Ordering::Relaxed);
            });
            scope.spawn(move || {
                while running.load(Ordering::Relaxed) > 0 {
                    for found in scratch.host().nodes("engset").expect("it is readable") {
                        assert!(found.name == "n0" || found.name == "n1", "{found:?}");
                    }
                    thread::yield_now();
                }
            });
        }
    });
    assert_eq!(scratch.files(), Vec::<String>::new());
}

#[test]
fn files_that_nobody_has_locked_are_stale_and_go() {
    let scratch = Scratch::new();
    scratch.write("engset~dead", "engset 1\ndead\n127.0.0.1:1\n");
    scratch.write("other~dead", "engset 1\ndead\n127.0.0.1:1\n");
    assert_eq!(scratch.host().nodes("engset").expect("it is readable"), []);
    assert_eq!(scratch.files(), ["other~dead"], "that of another cluster is not looked at");
    // A stale one of the own name is no obstacle.
    scratch.write("engset~one", "anything");
    let (node, _, address) = start("one", scratch.host()).expect("it joins");
    let found = scratch.host().nodes("engset").expect("it is readable");
    assert_eq!(found, [Found::at("one", address.to_string())]);
    assert!(node.stop());
}

#[test]
fn what_is_no_entry_is_passed_over() {
    let scratch = Scratch::new();
    let mut held: Vec<File> = Vec::new();
    let long = "x".repeat(300);
    let texts: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"engset 1\none".to_vec(),
        b"engset 2\none\n127.0.0.1:1\n".to_vec(),
        b"engset 1\none\nnot an address\n".to_vec(),
        b"engset 1\n\n127.0.0.1:1\n".to_vec(),
        b"engset 1\none\n127.0.0.1:1\nmore\n".to_vec(),
        b"engset 1\n\xff\xfe\n127.0.0.1:1\n".to_vec(),
        format!("engset 1\n{long}\n127.0.0.1:1\n").into_bytes(),
        vec![b'x'; 1 << 20],
        b"engset 1\na\tb\n127.0.0.1:1\n".to_vec(),
    ];
    for (at, text) in texts.iter().enumerate() {
        let mut file = File::create(scratch.0.join(format!("engset~bad{at}"))).expect("it is ours");
        file.write_all(text).expect("it is ours");
        file.lock().expect("nobody has it");
        held.push(file);
    }
    fs::create_dir(scratch.0.join("engset~directory")).expect("it is ours");
    symlink("/etc/passwd", scratch.0.join("engset~link")).expect("it is ours");
    let pipe = scratch.0.join("engset~pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is mkfifo").success());
    assert_eq!(scratch.host().nodes("engset").expect("it is readable"), []);
    let (node, ..) = start("one", scratch.host()).expect("it joins among them");
    assert_eq!(scratch.host().nodes("engset").expect("it is readable").len(), 1);
    assert!(node.stop());
    drop(held);
}

#[test]
fn an_entry_that_leads_elsewhere_misleads_nobody() {
    let scratch = Scratch::new();
    let (one, of_one, address) = start("one", scratch.host()).expect("it joins");
    // Somebody claims to be "two", at the port of "one": the handshake finds out.
    let mut file = File::create(scratch.0.join("engset~two")).expect("it is ours");
    write!(file, "engset 1\ntwo\n{address}\n").expect("it is ours");
    file.lock().expect("nobody has it");
    let (three, of_three, _) = start("three", scratch.host()).expect("it joins");
    wait_until(|| names(&of_three) == ["one"] && names(&of_one) == ["three"]);
    thread::sleep(Duration::from_millis(200));
    assert_eq!((names(&of_three), names(&of_one)), (vec!["one".to_owned()], vec!["three".to_owned()]));
    assert!(one.stop() & three.stop());
}

#[test]
fn a_directory_that_others_may_write_into_is_refused() {
    let scratch = Scratch::new();
    let open = scratch.0.join("open");
    fs::create_dir(&open).expect("it is ours");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("its owner");
    let error = HostNames::at(&open).expect_err("refused");
    assert!(error.to_string().ends_with("open cannot be trusted: others may write into it"), "{error}");
    let link = scratch.0.join("link");
    symlink(&scratch.0, &link).expect("it is ours");
    let error = HostNames::at(&link).expect_err("refused");
    assert!(error.to_string().contains("it is no directory"), "{error}");
    let file = scratch.write("file", "");
    assert!(matches!(HostNames::at(file), Err(HostError::Io { .. } | HostError::Unsafe { .. })));
    assert!(matches!(HostNames::at("/proc/engset"), Err(HostError::Io { .. })));
    let new = scratch.0.join("made").join("for us");
    HostNames::at(&new).expect("it is made");
    assert_eq!(fs::metadata(&new).expect("it is there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn names_of_all_kinds_are_files_or_an_error() {
    let scratch = Scratch::new();
    for name in ["..", "a/b", "ü 💬", ".hidden", "a~b", "%41", "shop@10.0.0.1:7"] {
        let (node, ..) = start(name, scratch.host()).expect("it joins");
        let found = scratch.host().nodes("engset").expect("it is readable");
        assert_eq!(found.iter().map(|found| &*found.name).collect::<Vec<_>>(), [name]);
        assert_eq!(scratch.files().len(), 1, "{:?}", scratch.files());
        assert!(node.stop());
    }
    let error = start(&"ü".repeat(100), scratch.host()).map(drop).expect_err("three letters for each byte");
    assert!(error.to_string().contains("too long for a file"), "{error}");
}

#[test]
fn a_file_of_nodes_is_read_anew_and_a_mistake_in_it_changes_nothing() {
    let scratch = Scratch::new();
    let path = scratch.0.join("nodes");
    let mut simulation = Simulation::new(1);
    let config = Config::new("a@1", Secret::new("simulation"))
        .connect_all(false)
        .discover(NodesFile::new(&path))
        .look_every(SECOND);
    let a = simulation.start_with(config, "a@1").expect("the file may come later");
    let _others = ["b@2", "c@3"].map(|name| simulation.start(name).expect("a node"));
    simulation.run_for(5 * SECOND);
    assert_eq!(names(&a.distribution), Vec::<String>::new());
    scratch.write("nodes", "# others\na@1\nb@2   # the second\n");
    simulation.run_for(5 * SECOND);
    assert_eq!(names(&a.distribution), ["b@2"]);
    scratch.write("nodes", "c@3\nthis is no node\n");
    simulation.run_for(5 * SECOND);
    assert_eq!(names(&a.distribution), ["b@2"], "not even the good line");
    scratch.write("nodes", "somewhere 3\nc@3\n");
    simulation.run_for(5 * SECOND);
    assert_eq!(names(&a.distribution), ["b@2", "c@3"], "who is not named any more stays");
    // What is lost is found again, if it is named.
    simulation.reset("a@1", "b@2");
    simulation.reset("a@1", "c@3");
    simulation.run_for(10 * SECOND);
    assert_eq!(names(&a.distribution), ["c@3"]);
}

#[test]
fn bad_files_are_named_errors_with_the_line() {
    let scratch = Scratch::new();
    let nodes = |text: &[u8]| NodesFile::new(scratch.write("nodes", text)).nodes();
    assert_eq!(nodes(b"\n  \n# nothing\n").expect("it is empty"), []);
    let all = nodes(b"a@1\nb 10.0.0.2:7 # there\n").expect("it is good");
    assert_eq!(all, [Found::named("a@1"), Found::at("b", "10.0.0.2:7")]);
    let error = nodes(b"a@1\nb c d\n").expect_err("three words").to_string();
    assert!(
        error.ends_with("nodes, line 2: \"b c d\" is not a node's name, or a name and an address"),
        "{error}"
    );
    assert!(matches!(nodes(b"a\xff\n"), Err(DiscoveryError::BadLine { line: 1, .. })));
    assert!(matches!(nodes("x".repeat(256).as_bytes()), Err(DiscoveryError::BadLine { line: 1, .. })));
    let many: String = (0..=MOST).map(|number| format!("n{number}\n")).collect();
    assert!(matches!(nodes(many.as_bytes()), Err(DiscoveryError::TooMany { .. })));
    assert!(matches!(nodes(&vec![b'\n'; 2 << 20]), Err(DiscoveryError::TooMany { .. })));
    assert!(matches!(NodesFile::new("/no/such/file").nodes(), Err(DiscoveryError::Io { .. })));
    assert!(matches!(NodesFile::new(&scratch.0).nodes(), Err(DiscoveryError::Io { .. })), "a directory");
    let unknown =
        Dns::new("shop", "no.such.host.invalid", 7100).nodes().expect_err("no such host").to_string();
    assert!(unknown.starts_with("the host no.such.host.invalid: "), "{unknown}");
}

#[test]
fn a_list_is_tried_again_until_all_are_there() {
    let mut simulation = Simulation::new(2);
    let list = Nodes::new(["b@2"]).and(Found::at("c", "3"));
    let config =
        Config::new("a@1", Secret::new("simulation")).connect_all(false).discover(list).look_every(SECOND);
    let a = simulation.start_with(config, "a@1").expect("a node");
    simulation.run_for(30 * SECOND);
    assert!(a.distribution.nodes().is_empty());
    let _b = simulation.start("b@2").expect("a node");
    simulation.run_for(10 * SECOND);
    assert_eq!(names(&a.distribution), ["b@2"]);
    simulation.restart("b@2", true).expect("a node");
    simulation.run_for(30 * SECOND);
    assert_eq!(names(&a.distribution), ["b@2"]);
}

#[test]
fn dns_names_the_nodes_and_they_connect() {
    // The port has to be the same for all, and free.
    let free =
        || std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let (one, of_one, port) = loop {
        let address = free();
        let node = Node::start(engset_runtime::Config::new().workers(1_usize)).expect("a node");
        let config = Config::new(format!("shop@{address}"), Secret::new("of this test"));
        match tcp::join(&node, config, address) {
            Ok((distribution, _)) => break (node, distribution, address.port()),
            // Somebody was faster.
            Err(_) => assert!(node.stop()),
        }
    };
    let two = Node::start(engset_runtime::Config::new().workers(1_usize)).expect("a node");
    let dns = Dns::new("shop", "localhost", port);
    let config = Config::new("tool", Secret::new("of this test")).discover(dns).hidden();
    let (of_two, _) = tcp::join(&two, config, any_port()).expect("it joins");
    wait_until(|| !of_two.hidden_nodes().is_empty());
    assert_eq!(&*of_two.hidden_nodes()[0].0, format!("shop@127.0.0.1:{port}"));
    assert!(of_one.nodes().is_empty(), "it is a hidden one");
    assert!(one.stop() & two.stop());
}
