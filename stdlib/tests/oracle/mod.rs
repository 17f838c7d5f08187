//! The scenarios of `statem.erl`, here.

pub(crate) mod machines;
pub(crate) mod script;

use engset_runtime::{Address, CallError, Mailbox, Pid, self_pid};
use std::{fmt::Display, time::Duration};

/// What a machine says: who, and what.
pub(crate) type Said = (Pid, String);

/// Who hears it.
#[derive(Clone, Copy)]
pub(crate) struct Say(Address<Said>);

impl Say {
    pub(crate) fn say(self, text: impl Display) {
        self.0.send((self_pid(), text.to_string()));
    }
}

/// Writes down what machines say and answer.
pub(crate) struct Tester<'a> {
    mailbox: &'a mut Mailbox<Said>,
    machine: Pid,
    name: String,
    pub(crate) lines: Vec<String>,
}

impl<'a> Tester<'a> {
    pub(crate) fn new(mailbox: &'a mut Mailbox<Said>) -> Self {
        Tester { mailbox, machine: self_pid(), name: String::new(), lines: Vec::new() }
    }

    pub(crate) fn say(&self) -> Say {
        Say(self.mailbox.address())
    }

    /// The next scenario.
    pub(crate) fn scenario(&mut self, name: impl Into<String>, machine: impl Into<Pid>) {
        (self.name, self.machine) = (name.into(), machine.into());
    }

    fn line(&mut self, text: impl Display) {
        self.lines.push(format!("{}: {text}", self.name));
    }

    pub(crate) fn answer<T: Display>(&mut self, answer: Result<T, CallError>) {
        let answer = answer.expect("an answer");
        self.line(format_args!("answer {answer}"));
    }

    /// Takes over what the machine says until it says this.
    #[track_caller]
    pub(crate) fn until(&mut self, last: &str) {
        loop {
            let Some((who, text)) = self.mailbox.message_timeout(Duration::from_secs(20)) else {
                panic!("{} never says {last}; so far {:#?}", self.name, self.lines)
            };
            if who == self.machine {
                self.line(&text);
                if text == last {
                    return;
                }
            }
        }
    }
}
