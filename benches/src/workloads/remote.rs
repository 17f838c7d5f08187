//! `remote_pingpong`, `remote_stream`: two OS processes, a node in each. `remote_node` is the other one.

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::Options,
};
use engset::{
    Address, Mailbox, Node, Reply,
    dist::{Config, Distribution, Secret, tcp},
    register_mailbox,
    remote::{Bytes, Remote, register},
};
use serde::{Deserialize, Serialize};
use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// To the other node.
#[derive(Serialize, Deserialize)]
enum Job {
    Ping(Address<u64>, u64),
    Part(Bytes),
    /// The last one of a stream.
    End(Address<u64>),
    Call(Reply<u64>),
}

impl Remote for Job {
    const NAME: &'static str = "benches.Job";
}

const WARM_UP: u64 = 2000;

fn join(node: &Node, name: &str, address: SocketAddr) -> Distribution {
    let config = Config::new(format!("{name}@{address}"), Secret::new("of the benchmarks"));
    match tcp::join(node, config, address) {
        Ok((distribution, _)) => distribution,
        Err(error) => panic!("{error}"),
    }
}

fn free_address() -> SocketAddr {
    match TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()) {
        Ok(address) => address,
        Err(error) => panic!("no free port: {error}"),
    }
}

fn worker(name: &str, mut mailbox: Mailbox<Job>) {
    register::<Job>();
    let registered = register_mailbox(name, &mailbox);
    assert_eq!(registered, Ok(()));
    let mut parts = 0;
    loop {
        match mailbox.message() {
            Job::Ping(from, number) => from.send(number),
            Job::Part(_) => parts += 1,
            Job::Call(reply) => reply.send(parts),
            Job::End(from) => from.send(std::mem::take(&mut parts)),
        }
    }
}

/// Serves until its input is closed.
pub(super) fn node(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let port = options.number("port") as u16;
    join(node, "other", ([127, 0, 0, 1], port).into());
    node.spawn(|mailbox| worker("worker", mailbox)).map_err(Failure::Spawn)?;
    node.spawn(|mailbox| worker("sink", mailbox)).map_err(Failure::Spawn)?;
    // An error is an end, too.
    let _ = std::io::stdin().read(&mut [0]);
    Ok(Vec::new())
}

/// The other OS process; it ends with this one.
struct Other(Child, SocketAddr);

impl Other {
    fn start(node: &Node) -> Self {
        let address = free_address();
        let program = std::env::current_exe().unwrap_or_else(|error| panic!("this program: {error}"));
        let child = Command::new(program)
            .args([
                "remote_node",
                &format!("port={}", address.port()),
                &format!("threads={}", node.config().get_workers()),
            ])
            .stdin(Stdio::piped())
            .spawn();
        Other(child.unwrap_or_else(|error| panic!("the other node: {error}")), address)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It is not ours any more, if it cannot be waited for.
        let _ = self.0.wait();
    }
}

fn find(distribution: &Distribution, other: SocketAddr) -> Address<Job> {
    find_name(distribution, other, "worker")
}

fn find_name(distribution: &Distribution, other: SocketAddr, name: &str) -> Address<Job> {
    loop {
        match distribution.lookup(&format!("other@{other}"), name) {
            Ok(worker) => return worker,
            // It is starting.
            Err(_) => engset::sleep(Duration::from_millis(20)),
        }
    }
}

pub(super) fn pingpong(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let n = options.number("n");
    let other = Other::start(node);
    let distribution = join(node, "bench", free_address());
    let address = other.1;
    let (time, ()) = first_process(node, move |mut mailbox: Mailbox<u64>| {
        let (worker, me) = (find(&distribution, address), mailbox.address());
        let mut trip = |number| {
            worker.send(Job::Ping(me, number));
            assert_eq!(mailbox.message(), number);
        };
        (0..WARM_UP).for_each(&mut trip);
        timed(|| (0..n).for_each(trip))
    })?;
    Ok(vec![Figure::new("rtt", time.as_secs_f64() * 1e6 / n as f64, "us")])
}

pub(super) fn stream(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, size) = (options.number("n"), options.number("size") as usize);
    let other = Other::start(node);
    let distribution = join(node, "bench", free_address());
    let address = other.1;
    let (time, count) = first_process(node, move |mut mailbox: Mailbox<u64>| {
        let (worker, me) = (find(&distribution, address), mailbox.address());
        worker.send(Job::End(me));
        mailbox.message();
        timed(|| {
            for _ in 0..n {
                worker.send(Job::Part(Bytes(vec![7; size])));
            }
            worker.send(Job::End(me));
            mailbox.message()
        })
    })?;
    assert_eq!(count, n, "messages that have arrived");
    let megabytes = n as f64 * size as f64 / 1e6 / time.as_secs_f64();
    Ok(vec![Figure::rate("rate", n, time, "msgs/s"), Figure::new("bytes", megabytes, "MB/s")])
}

/// Bytes of one message of the load.
const LOAD: usize = 1 << 20;

pub(super) fn mixed(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (calls, mebibytes) = (options.number("calls"), options.number("mebibytes"));
    let other = Other::start(node);
    let distribution = join(node, "bench", free_address());
    let address = other.1;
    let (_, (idle, loaded, heartbeat)) = first_process(node, move |_: Mailbox<u64>| {
        let worker = find(&distribution, address);
        let sink = find_name(&distribution, address, "sink");
        let call = || {
            let (time, result) = timed(|| worker.call(Job::Call));
            assert!(result.is_ok(), "a call: {result:?}");
            time
        };
        let _: Vec<Duration> = (0..WARM_UP).map(|_| call()).collect();
        let mut idle: Vec<Duration> = (0..calls).map(|_| call()).collect();
        let (done, is_done) = std::sync::mpsc::channel();
        engset::spawn(move |mut mailbox: Mailbox<u64>| {
            for _ in 0..mebibytes {
                sink.send(Job::Part(Bytes(vec![7; LOAD])));
            }
            sink.send(Job::End(mailbox.address()));
            // All has arrived.
            let arrived = mailbox.message();
            assert_eq!(done.send(arrived), Ok(()));
        });
        let mut loaded = Vec::new();
        let arrived = loop {
            loaded.push(call());
            if let Ok(arrived) = is_done.try_recv() {
                break arrived;
            }
        };
        assert_eq!(arrived, mebibytes, "messages that have arrived");
        let name = format!("other@{address}");
        let late = distribution.heartbeat_gap(&name).unwrap_or_default();
        timed(|| (percentile(&mut idle), percentile(&mut loaded), late))
    })?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(vec![
        Figure::new("idle_p99", micros(idle), "us"),
        Figure::new("loaded_p99", micros(loaded), "us"),
        Figure::new("heartbeat_gap", heartbeat.as_secs_f64() * 1e3, "ms"),
    ])
}

/// The 99th.
fn percentile(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}
