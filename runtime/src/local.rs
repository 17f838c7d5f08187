//! Process-local storage. A thread-local belongs to a worker thread, and so to whatever runs there next;
//! this belongs to the process, and dies with it.

use crate::{process::self_pid, state};
use std::{any::TypeId, fmt};

/// A variable of which each process has its own. See [`process_local!`](crate::process_local).
pub struct ProcessLocal<T: 'static> {
    init: fn() -> T,
}

impl<T: Send + 'static> ProcessLocal<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(init: fn() -> T) -> Self {
        ProcessLocal { init }
    }

    /// Calls `f` with this process' value, which is made first if need be.
    ///
    /// # Panics
    ///
    /// Outside of a process, and if `f` comes back to the same variable.
    pub fn with<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self_pid();
        let key = (TypeId::of::<T>(), std::ptr::from_ref(self).addr());
        let found = state::with(|state| state.rare().locals.insert(key, Box::new(Taken))).flatten();
        // It goes back also if `init` or `f` panics; what `init` did not make leaves no trace.
        struct Back {
            key: (TypeId, usize),
            value: Option<Box<dyn std::any::Any + Send>>,
        }
        impl Drop for Back {
            fn drop(&mut self) {
                let value = self.value.take();
                drop(state::with(|state| match value {
                    Some(value) => state.rare().locals.insert(self.key, value),
                    None => state.rare().locals.remove(&self.key),
                }));
            }
        }
        let mut back = Back { key, value: found };
        if back.value.is_none() {
            back.value = Some(Box::new((self.init)()));
        }
        let value = back.value.as_mut().and_then(|value| value.downcast_mut::<T>());
        match value {
            Some(value) => f(value),
            None => panic!("a process-local variable is used while it is in use"),
        }
    }

    /// Replaces this process' value; returns the old one, or what it would have been.
    ///
    /// # Panics
    ///
    /// As [`ProcessLocal::with`].
    pub fn replace(&'static self, value: T) -> T {
        self.with(|place| std::mem::replace(place, value))
    }
}

/// In the place of a value that is in use.
struct Taken;

impl<T> fmt::Debug for ProcessLocal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessLocal<{}>", std::any::type_name::<T>())
    }
}

/// Declares [`ProcessLocal`] variables.
///
/// ```
/// engset_runtime::process_local! {
///     static DEPTH: u32 = 0;
/// }
///
/// # engset_runtime::run(|| {
/// DEPTH.with(|depth| *depth += 1);
/// assert_eq!(DEPTH.with(|depth| *depth), 1);
/// engset_runtime::spawn(|| assert_eq!(DEPTH.with(|depth| *depth), 0));
/// # }).unwrap();
/// ```
#[macro_export]
macro_rules! process_local {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $type:ty = $init:expr;)*) => {
        $($(#[$meta])* $vis static $name: $crate::ProcessLocal<$type> = $crate::ProcessLocal::new(|| $init);)*
    };
}
