//! Reading the configuration of the running node, and hearing of its changes.
//!
//! A [`Service`](crate::Service) reads files and environment anew when it gets `SIGHUP`; [`reload`] does it by hand. Who has
//! subscribed, and the applications whose sections have changed, are told of it. If something cannot be read everything
//! stays as it was.

use crate::{
    application_controller,
    subscribers::{Subscribers, offer},
};
use engset_runtime::{
    Address, Extension, ExtensionError, Node, blocking,
    config::{Changes, ConfigError},
    extension,
};
use serde::de::DeserializeOwned;
use std::{error::Error, sync::Arc};

/// How an attempt to read the configuration anew has gone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reload {
    /// These keys have other values now. There may be none.
    Changed(Arc<Changes>),
    /// It is wrong. Everything is as it was.
    Failed(Arc<ConfigError>),
}

#[derive(Default)]
struct Configuration(Subscribers<Reload>);

impl Extension for Configuration {
    fn create(_: &Node) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self::default())
    }

    fn stop(&self, _: &Node) {
        self.0.clear();
    }
}

/// A subscription, for [`unsubscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subscription(u64);

/// What is at a key of the configuration of the caller's node, as it is now. See [`Config::get`](engset_runtime::Config::get).
///
/// ```
/// # engset_runtime::run(|| {
/// let size: Option<u32> = engset_stdlib::configuration::get("app.pool.size")?;
/// assert_eq!(size.unwrap_or(4), 4);
/// # Ok::<(), engset_runtime::config::ConfigError>(())
/// # }).unwrap().unwrap();
/// ```
///
/// # Errors
///
/// As there.
///
/// # Panics
///
/// Outside of a process.
#[track_caller]
pub fn get<T: DeserializeOwned>(key: &str) -> Result<T, ConfigError> {
    here().live_config().get(key)
}

#[track_caller]
fn here() -> Node {
    match Node::current() {
        Some(node) => node,
        None => panic!("this can only be done within a process; elsewhere there is Node::live_config"),
    }
}

/// From now on each attempt to read the configuration anew is a message for `to`, made by `map`. It ends with the process, or by
/// [`unsubscribe`].
///
/// # Errors
///
/// The node stops, or this is no process.
pub fn subscribe<M: Send + 'static>(
    to: Address<M>,
    map: impl Fn(Reload) -> M + Send + Sync + 'static,
) -> Result<Subscription, ExtensionError> {
    let subscribers = extension::<Configuration>()?;
    Ok(Subscription(subscribers.0.add(move |reload| offer(to, map(reload.clone())))))
}

/// Ends a subscription. False: there was none.
pub fn unsubscribe(subscription: Subscription) -> bool {
    extension::<Configuration>().is_ok_and(|subscribers| subscribers.0.remove(subscription.0))
}

/// Reads files and environment anew, and tells all who want to know.
///
/// # Panics
///
/// Outside of a process.
///
/// # Signals
///
/// The process waits while files are read.
pub fn reload() -> Reload {
    let node = here();
    let result = blocking(move || node.reload_config());
    let reload = match result {
        Ok(changes) => {
            let restart: Vec<_> = changes.need_restart().collect();
            if !restart.is_empty() {
                tracing::warn!(target: "engset", keys = ?restart, "changed settings that take effect with the next start");
            }
            Reload::Changed(Arc::new(changes))
        }
        Err(error) => {
            tracing::error!(target: "engset", %error, "the configuration stays as it was");
            Reload::Failed(Arc::new(error))
        }
    };
    if let Reload::Changed(changes) = &reload {
        application_controller::tell_changes(Arc::clone(changes));
    }
    if let Ok(subscribers) = extension::<Configuration>() {
        subscribers.0.publish(&reload);
    }
    reload
}
