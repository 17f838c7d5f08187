//! The shutdown of a large tree.

use engset_runtime::{
    Config, DownReason, Event, ExitReason, Mailbox, Node, Received, Reply, run_with, spawn,
};
use engset_stdlib::{ChildSpec, Context, GenServer, Next, Supervisor};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const SUPERVISORS: u32 = 100;
const CHILDREN: u32 = 1000;

/// Counts up when it starts and down when it is stopped; each time the number that it finds must be its own.
struct Leaf {
    number: u32,
    alive: Arc<AtomicU32>,
}

impl GenServer for Leaf {
    type Message = ();

    fn init(&mut self, _: &mut Context<()>) -> Result<Next, ExitReason> {
        assert_eq!(self.alive.fetch_add(1, Ordering::Relaxed), self.number, "in start order");
        Ok(Next::wait())
    }

    fn handle(&mut self, (): (), _: &mut Context<()>) -> Next {
        Next::wait()
    }

    fn terminate(&mut self, _: &ExitReason, _: &mut Context<()>) {
        assert_eq!(self.alive.fetch_sub(1, Ordering::Relaxed), self.number + 1, "in reverse order");
    }
}

fn tree(alive: &Arc<AtomicU32>) -> Supervisor {
    let mut root = Supervisor::one_for_one();
    for branch in 0..SUPERVISORS {
        let mut supervisor = Supervisor::one_for_one();
        for leaf in 0..CHILDREN {
            let (number, alive) = (branch * CHILDREN + leaf, Arc::clone(alive));
            let make = move || Leaf { number, alive: Arc::clone(&alive) }.options().trap_exits();
            supervisor = supervisor.child(ChildSpec::server(leaf.to_string(), make));
        }
        root = root.child(ChildSpec::supervisor(branch.to_string(), supervisor));
    }
    root.start_link().unwrap()
}

#[test]
fn a_tree_of_a_hundred_thousand_processes_stops_in_reverse_order() {
    let config = Config::new().workers(2).crash_reports_per_second(5);
    let run = run_with(config, || {
        let alive = Arc::new(AtomicU32::new(0));
        let (counter, done) = (Arc::clone(&alive), Arc::clone(&alive));
        let watcher = spawn(move |mut mailbox: Mailbox<Reply<DownReason>>| {
            let reply = mailbox.message();
            // The tree's parent: its end, with reason `Shutdown`, is the order to stop.
            let parent = spawn(move |mut mailbox: Mailbox<Reply<Supervisor>>| {
                let root = tree(&counter);
                mailbox.message().send(root);
                engset_runtime::exit_self(ExitReason::Shutdown);
            });
            let root = parent.call_timeout(|reply| reply, Duration::MAX).unwrap();
            engset_runtime::monitor(root);
            match mailbox.receive() {
                Received::Event(Event::Down(down)) => reply.send(down.reason),
                other => panic!("{other:?}"),
            }
        });
        let reason = watcher.call_timeout(|reply| reply, Duration::MAX).unwrap();
        // The monitor may have come too late only if everything has stopped by then.
        let known = [DownReason::Exited(ExitReason::Shutdown), DownReason::NoProc];
        assert!(known.contains(&reason), "{reason}");
        assert_eq!(done.load(Ordering::Relaxed), 0);
        assert_eq!(Node::current().unwrap().crashes(), 0, "all in order");
        assert!(Node::current().unwrap().processes().len() < 10);
    });
    run.unwrap();
}
