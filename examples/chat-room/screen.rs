//! What the users see, in the order in which they see it.

use engset::stdlib::{Agent, StartError};

/// Where users show their lines. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Screen(Agent<Vec<String>>);

impl Screen {
    /// A screen, linked with this process.
    pub fn open() -> Result<Self, StartError> {
        Agent::start_link(Vec::new()).map(Screen)
    }

    /// A user sees a line.
    pub fn show(&self, user: &str, text: &str) {
        let line = format!("[{user}] {text}");
        self.0.cast(|lines| lines.push(line));
    }

    /// What has been shown since the last look.
    pub fn seen(&self) -> Vec<String> {
        // Without a screen there is nothing to see.
        self.0.update(std::mem::take).unwrap_or_default()
    }
}
