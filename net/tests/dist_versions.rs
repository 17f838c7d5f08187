//! Two programs of different age: a type of one name looks different in them. Nothing is read as what it is not.

#![allow(clippy::disallowed_methods, reason = "tests look at the real clock and block real threads")]

use engset_net::dist::{Config, Distribution, HostNames, RemoteError, RequestError, Secret, tcp};
use engset_runtime::{
    CallError, Mailbox, Node, Reply, Undecodable, register_mailbox,
    remote::{Remote, fingerprint, register},
    sleep,
};
use serde::{Deserialize, Serialize};
use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

const NET: Duration = Duration::from_secs(60);
const NAME: &str = "tests.versions.Order";

/// The old program's.
mod old {
    use super::{Deserialize, NAME, Remote, Reply, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(crate) enum Order {
        Buy { pieces: u32, price: u32 },
        Ask(Reply<u32>),
    }

    impl Remote for Order {
        const NAME: &'static str = NAME;
    }
}

/// The new one's: the fields have changed places. Read by position, each value would be good, and wrong.
mod new {
    use super::{Deserialize, NAME, Remote, Reply, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(crate) enum Order {
        Buy { price: u32, pieces: u32 },
        Ask(Reply<u32>),
    }

    impl Remote for Order {
        const NAME: &'static str = NAME;
    }
}

/// The same in both.
#[derive(Serialize, Deserialize)]
enum Count {
    Ordered(Reply<u32>),
}

impl Remote for Count {
    const NAME: &'static str = "tests.versions.Count";
}

fn join(node: &Node, name: &str, directory: &PathBuf) -> Distribution {
    let host = HostNames::at(directory).expect("a directory");
    let config = Config::new(name, Secret::new("of this test")).on_host(host);
    tcp::join(node, config, ([127, 0, 0, 1], 0).into()).expect("it joins").0
}

/// The new program: it counts what it is ordered.
fn new_program(directory: &PathBuf) {
    let node = Node::start(engset_runtime::Config::new().workers(1_usize)).expect("a node");
    let ordered = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ordered);
    let shop = move |mut mailbox: Mailbox<new::Order>| {
        register::<new::Order>();
        register_mailbox("shop", &mailbox).expect("the name is free");
        loop {
            match mailbox.message() {
                new::Order::Buy { price, pieces } => {
                    ordered.fetch_add(price * pieces, Ordering::Relaxed);
                }
                new::Order::Ask(reply) => {
                    ordered.fetch_add(1, Ordering::Relaxed);
                    reply.send(1);
                }
            }
        }
    };
    node.spawn(shop).expect("a process");
    let count = move |mut mailbox: Mailbox<Count>| {
        register::<Count>();
        register_mailbox("count", &mailbox).expect("the name is free");
        loop {
            let Count::Ordered(reply) = mailbox.message();
            reply.send(counted.load(Ordering::Relaxed));
        }
    };
    node.spawn(count).expect("a process");
    let _joined = join(&node, "new", directory);
    thread::sleep(2 * NET);
}

#[test]
fn a_program_of_another_age_is_refused_by_name_and_nothing_is_misread() {
    if let Some(directory) = env::var_os("ENGSET_TEST_CHILD") {
        return new_program(&PathBuf::from(directory));
    }
    let directory = env::temp_dir().join(format!("engset-versions-{}", std::process::id()));
    let mut child = Command::new(env::current_exe().expect("the test binary"))
        .args(["a_program_of_another_age_is_refused_by_name_and_nothing_is_misread", "--exact"])
        .env("ENGSET_TEST_CHILD", &directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    let node = Node::start(engset_runtime::Config::new().workers(1_usize)).expect("a node");
    let others = join(&node, "old", &directory);
    let (tell, told) = mpsc::channel();
    let body = move || {
        let count = others.named::<Count>("new", "count");
        while count.call(Count::Ordered).is_err() {
            sleep(Duration::from_millis(20));
        }
        let shop = others.named::<old::Order>("new", "shop");
        let misread = Undecodable::DifferentType {
            name: NAME.to_owned(),
            sent: fingerprint::<old::Order>(),
            read: fingerprint::<new::Order>(),
        };
        // The first one is refused there, those after it here.
        for _ in 0..3 {
            assert_eq!(shop.call(old::Order::Ask), Err(CallError::Undecodable(misread.clone())));
        }
        assert!(misread.to_string().contains("looks different there"), "{misread}");
        // However many: this is a matter of versions, and the connection is as good as before.
        for _ in 0..500 {
            shop.send(old::Order::Buy { pieces: 1, price: 1_000_000 });
        }
        assert_eq!(shop.lookup().map(|_| ()), Err(RemoteError::Refused(RequestError::Different)));
        let by_position = others.lookup::<old::Order>("new", "shop").map(|_| ());
        assert_eq!(by_position, Err(RemoteError::Refused(RequestError::Different)));
        let ordered = count.call(Count::Ordered);
        tell.send((ordered, others.nodes().len())).expect("the test waits");
    };
    node.spawn(body).expect("a process");
    let result = told.recv_timeout(NET);
    child.kill().expect("it runs");
    child.wait().expect("it has ended");
    assert_eq!(result, Ok((Ok(0), 1)));
    assert!(node.stop());
    fs::remove_dir_all(&directory).expect("it is there");
}
