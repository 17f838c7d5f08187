//! The whole: its tree, and lines that go in and come out.
//!
//! ```text
//! chat (one for one)
//! ├── lobby
//! ├── rooms (dynamic)
//! └── users (dynamic)
//! ```

use crate::{
    command,
    lobby::{self, Lobby},
    screen::Screen,
    user::{Request, User},
};
use engset::{
    lookup,
    prelude::*,
    stdlib::{ChildSpec, DynamicSupervisor, GenServer, StartError, Supervisor},
};
use std::{fmt::Write, time::Duration};

const USERS: &str = "users";
/// Crashes in ten seconds that are no more than somebody who plays with the button.
const CRASHES: usize = 100;

/// Rooms and users.
#[derive(Clone, Debug)]
pub struct Chat {
    screen: Screen,
}

impl Chat {
    /// Starts it, linked with this process.
    pub fn open() -> Result<Self, StartError> {
        let screen = Screen::open()?;
        let patience = Duration::from_secs(10);
        let dynamic = |name| DynamicSupervisor::builder().name(name).intensity(CRASHES, patience).child(name);
        Supervisor::one_for_one()
            .child(ChildSpec::server("lobby", || Lobby::default().options().name(lobby::NAME)))
            .child(dynamic(lobby::ROOMS))
            .child(dynamic(USERS))
            .start_link()?;
        Ok(Chat { screen })
    }

    /// A line of input: returns when the user has done what it says.
    pub fn input(&self, line: &str) {
        let line = line.trim();
        if line.is_empty() || line.starts_with("//") {
            return;
        }
        let line = match command::parse(line) {
            Ok(line) => line,
            Err(error) => return self.screen.show("?", &error.to_string()),
        };
        let done = self.user(&line.user).map(|user| {
            user.call(|reply| Request::Do(line.command, reply)).map_err(|error| error.to_string())
        });
        if let Ok(Err(error)) | Err(error) = done {
            self.screen.show(&line.user, &format!("! {error}"));
        }
    }

    /// The process of a user; it is started when it is first needed.
    fn user(&self, name: &str) -> Result<Address<Request>, String> {
        let registered = format!("user {name}");
        if let Ok(user) = lookup(&registered) {
            return Ok(user);
        }
        let (user, screen, as_name) = (name.to_owned(), self.screen.clone(), registered.clone());
        let spec = ChildSpec::server(name, move || {
            User::new(user.clone(), screen.clone()).options().name(as_name.clone())
        });
        let users = DynamicSupervisor::named(USERS).map_err(|error| error.to_string())?;
        users.start_child(spec).map_err(|error| error.to_string())?;
        lookup(&registered).map_err(|error| error.to_string())
    }

    /// What has been shown since the last look.
    pub fn seen(&self) -> Vec<String> {
        self.screen.seen()
    }
}

/// Plays the lines of a text. After each, all that follows from it has time to happen: in systematic mode the time is
/// virtual, so that is certain, and takes none.
///
/// # Errors
///
/// The chat does not start.
pub fn play(text: &str) -> Result<String, StartError> {
    let chat = Chat::open()?;
    let mut output = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        chat.input(line);
        sleep(Duration::from_secs(1));
        // Writing to a `String` cannot fail, here and below.
        let _ = writeln!(output, "> {line}");
        // Who sees it first is chance; here it is the alphabet.
        let mut seen = chat.seen();
        seen.sort();
        for line in seen {
            let _ = writeln!(output, "  {line}");
        }
    }
    Ok(output)
}
