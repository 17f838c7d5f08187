//! What a scenario plays on: the tester's mailbox, and a world in which its partners live.
//!
//! A scenario is written once. [`World::spawn`] makes a partner: on the same node, or on another one in a simulated network. So a
//! partner must learn of everybody else by messages: a pid that its closure has caught would not have gone through the
//! network. That is why it is given the tester's address, as it sees it.

use engset::{
    Address, Alias, Event, ExitReason, Item, Mailbox, MonitorRef, Pid, Received, Reply, remote::Remote,
};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};

/// Longer than anything takes that is to come.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Long enough for what is not to come. In virtual time it costs nothing.
pub(crate) const QUIET: Duration = Duration::from_millis(60);

/// What travels in scenarios.
#[derive(Serialize, Deserialize)]
pub(crate) enum Note {
    Text(String),
    Number(u32),
    Pid(Pid),
    Ask(Reply<u32>),
    Bytes(Vec<u8>),
    /// For the one who makes partners elsewhere.
    Make(Address<Note>, Reply<Address<Note>>),
    Alias(Alias<Note>),
}

impl Remote for Note {
    const NAME: &'static str = "conformance.Note";
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Text(text) => f.write_str(text),
            Note::Number(number) => write!(f, "{number}"),
            Note::Pid(_) => f.write_str("a pid"),
            Note::Ask(_) => f.write_str("a question"),
            Note::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Note::Make(..) => f.write_str("a request"),
            Note::Alias(_) => f.write_str("an alias"),
        }
    }
}

/// What a partner does: it has a mailbox, and knows the tester.
pub(crate) type Partner = Box<dyn FnOnce(Mailbox<Note>, Address<Note>) + Send>;

/// Where partners live.
pub(crate) trait World: Send + Sync {
    /// A new partner, as the tester sees it.
    fn spawn(&self, tester: Address<Note>, partner: Partner) -> Address<Note>;
}

/// On the tester's own node.
pub(crate) struct Here;

impl World for Here {
    fn spawn(&self, tester: Address<Note>, partner: Partner) -> Address<Note> {
        engset::spawn(move |mailbox: Mailbox<Note>| partner(mailbox, tester))
    }
}

/// One run of a scenario.
pub(crate) struct Stage {
    pub(crate) mailbox: Mailbox<Note>,
    world: Arc<dyn World>,
    lines: Vec<String>,
}

impl Stage {
    pub(crate) fn new(mailbox: Mailbox<Note>, world: Arc<dyn World>) -> Self {
        Stage { mailbox, world, lines: Vec::new() }
    }

    pub(crate) fn lines(self) -> Vec<String> {
        self.lines
    }

    /// A line of the trace.
    pub(crate) fn line(&mut self, text: impl fmt::Display) {
        self.lines.push(text.to_string());
    }

    pub(crate) fn me(&self) -> Address<Note> {
        self.mailbox.address()
    }

    pub(crate) fn partner(
        &self,
        partner: impl FnOnce(Mailbox<Note>, Address<Note>) + Send + 'static,
    ) -> Address<Note> {
        self.world.spawn(self.me(), Box::new(partner))
    }

    /// One that waits for ever.
    pub(crate) fn sleeper(&self) -> Address<Note> {
        self.partner(|_, _| engset::sleep(Duration::MAX))
    }

    /// One that has ended.
    pub(crate) fn dead(&mut self) -> Address<Note> {
        let partner = self.partner(|_, _| ());
        let reference = engset::monitor(partner);
        self.down(reference);
        partner
    }

    /// What comes next; it must come.
    #[track_caller]
    pub(crate) fn next(&mut self) -> String {
        match self.mailbox.receive_timeout(LONG) {
            Some(received) => show(&received),
            None => panic!("nothing came; so far: {:?}", self.lines),
        }
    }

    /// How the process of this monitor has ended. Everything else stays in the mailbox.
    #[track_caller]
    pub(crate) fn down(&mut self, reference: MonitorRef) -> String {
        let is_it = |item: Item<'_, Note>| matches!(item, Item::Event(Event::Down(down)) if down.reference == reference);
        match self.mailbox.select_timeout(is_it, LONG) {
            Some(received) => show(&received),
            None => panic!("no Down came; so far: {:?}", self.lines),
        }
    }

    /// All that comes until nothing comes.
    pub(crate) fn drain(&mut self) -> String {
        let mut seen = Vec::new();
        while let Some(received) = self.mailbox.receive_timeout(QUIET) {
            seen.push(show(&received));
        }
        if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") }
    }
}

/// As the traces have it.
pub(crate) fn show(received: &Received<Note>) -> String {
    match received {
        Received::Message(note) => format!("{note:?}"),
        Received::Event(Event::Exit(exit)) => format!("exit {}", name(&exit.reason)),
        Received::Event(Event::Down(down)) => format!("down {}", name(&down.reason.as_exit())),
        Received::Event(Event::Timer(_)) => "timer".to_owned(),
        Received::Event(Event::NodeUp(_)) => "nodeup".to_owned(),
        Received::Event(Event::NodeDown(_)) => "nodedown".to_owned(),
        Received::Event(other) => format!("{other:?}"),
    }
}

/// A reason as Erlang calls it.
pub(crate) fn name(reason: &ExitReason) -> String {
    match reason {
        ExitReason::Error(text) => text.to_string(),
        ExitReason::Panic(panic) => format!("crash {}", panic.message),
        other => other.to_string(),
    }
}
