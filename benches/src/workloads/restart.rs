//! `restart`: a child that crashes on each message, and a supervisor that starts it again.

use crate::{
    measure::{Failure, Figure, first_process, timed},
    options::Options,
};
use engset::{
    Address, ExitReason, Mailbox, Node,
    stdlib::{ChildSpec, Context, GenServer, Next, Supervisor, from_fn},
};
use std::time::Duration;

/// To the child: crash.
struct Crash(u64);

/// Tells the driver its address each time it is started.
struct Child {
    driver: Address<Address<Crash>>,
    panics: bool,
}

impl GenServer for Child {
    type Message = Crash;

    fn init(&mut self, context: &mut Context<Crash>) -> Result<Next, ExitReason> {
        self.driver.send(context.address());
        Ok(Next::wait())
    }

    fn handle(&mut self, Crash(number): Crash, _context: &mut Context<Crash>) -> Next {
        if self.panics {
            panic!("crash {number}");
        }
        Next::stop_with(ExitReason::error("crash"))
    }
}

pub(super) fn restart(node: &Node, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (n, others, panics) = (options.number("n"), options.number("others"), options.word("end") == "panic");
    let time = first_process(node, move |mut mailbox: Mailbox<Address<Crash>>| {
        let driver = mailbox.address();
        let mut supervisor = Supervisor::one_for_one().intensity(usize::MAX, Duration::from_secs(1));
        for number in 0..others {
            let idle = || from_fn((), |(), (): (), _: &mut Context<()>| Next::wait());
            supervisor = supervisor.child(ChildSpec::server(format!("other {number}"), idle));
        }
        let child = move || Child { driver, panics };
        let supervisor = supervisor.child(ChildSpec::server("child", child));
        supervisor.start().unwrap_or_else(|error| panic!("the supervisor does not start: {error}"));
        let mut child = mailbox.message();
        let (time, ()) = timed(|| {
            for number in 0..n {
                child.send(Crash(number));
                child = mailbox.message();
            }
        });
        time
    })?;
    Ok(vec![Figure::rate("rate", n, time, "restarts/s")])
}
