//! The application that keeps the tickets.

use super::say;
use engset::{
    ExitReason, Pid, Reply,
    stdlib::{
        Application, ApplicationSpec, ChildSpec, Context, Environment, GenServer, Next, StartError,
        Supervisor,
    },
};

pub(crate) struct Store;

impl Application for Store {
    fn spec(&self) -> ApplicationSpec {
        ApplicationSpec::new("store")
    }

    fn start(&mut self, _: &Environment) -> Result<Pid, StartError> {
        // It traps exits, so that its `terminate` runs when the supervisor stops it.
        let tickets = ChildSpec::server("tickets", || Tickets(0).options().name("tickets").trap_exits());
        let top = Supervisor::one_for_one().child(tickets).start_link()?;
        say("store: started");
        Ok(top.pid())
    }

    fn stop(&mut self, _: &Environment) {
        say("store: stopped");
    }
}

/// Tickets sold.
struct Tickets(u64);

pub(crate) enum Request {
    /// The number of the ticket.
    Sell(Reply<u64>),
}

impl GenServer for Tickets {
    type Message = Request;

    fn handle(&mut self, Request::Sell(reply): Request, _: &mut Context<Request>) -> Next {
        self.0 += 1;
        reply.send(self.0);
        Next::wait()
    }

    fn terminate(&mut self, reason: &ExitReason, _: &mut Context<Request>) {
        say(&format!("store: {} tickets sold ({reason})", self.0));
    }
}
