//! The application that sells the tickets.

use super::{Settings, say, store::Request};
use engset::{
    ExitReason, Pid,
    config::Changes,
    lookup, sleep,
    stdlib::{
        Application, ApplicationSpec, ChildSpec, Context, Environment, GenServer, Next, StartError,
        Supervisor,
    },
};
use std::time::Duration;

pub(crate) struct Shop;

impl Application for Shop {
    fn spec(&self) -> ApplicationSpec {
        ApplicationSpec::new("shop").depends_on("store").defaults(Settings::default())
    }

    fn start(&mut self, environment: &Environment) -> Result<Pid, StartError> {
        // Read now, so that a mistake keeps the service from starting; and by each clerk anew.
        environment.all::<Settings>()?;
        let environment = environment.clone();
        let clerk = ChildSpec::new("clerk", move || {
            let settings = environment.all::<Settings>()?;
            Ok(Clerk(settings).options().name("clerk").trap_exits().start_link()?.pid())
        })
        .shutdown_after(Duration::from_secs(60));
        let top =
            Supervisor::one_for_one().intensity(10, Duration::from_secs(1)).child(clerk).start_link()?;
        say("shop: started");
        Ok(top.pid())
    }

    fn config_changed(&mut self, changes: &Changes, _: &Environment) {
        say(&format!("shop: changed: {}", changes.keys.join(", ")));
    }

    fn prep_stop(&mut self, _: &Environment) {
        say("shop: about to stop");
    }

    fn stop(&mut self, _: &Environment) {
        say("shop: stopped");
    }
}

/// Sells a ticket whenever nothing else has come for a while.
struct Clerk(Settings);

impl Clerk {
    fn next(&self) -> Next {
        Next::wait_for(Duration::from_millis(self.0.period_ms))
    }
}

impl GenServer for Clerk {
    type Message = ();

    fn init(&mut self, _: &mut Context<()>) -> Result<Next, ExitReason> {
        Ok(self.next())
    }

    fn handle(&mut self, (): (), _: &mut Context<()>) -> Next {
        self.next()
    }

    fn timeout(&mut self, _: &mut Context<()>) -> Next {
        let store = lookup("tickets").expect("the store is open");
        let number = store.call(Request::Sell).expect("the store answers");
        assert!(self.0.crash_every == 0 || number % self.0.crash_every != 0, "ticket {number} fell down");
        self.next()
    }

    fn terminate(&mut self, _: &ExitReason, _: &mut Context<()>) {
        match self.0.hang.as_deref() {
            Some("asleep") => sleep(Duration::MAX),
            Some("busy") => loop {
                std::hint::spin_loop();
            },
            _ => say("shop: the last customer is served"),
        }
    }
}
