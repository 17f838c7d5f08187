//! Servers that are a state and a closure.

use super::{Context, GenServer, Next};
use std::{any::Any, fmt};

/// A server that is a state and a closure.
///
/// ```
/// # engset_runtime::run(|| {
/// use engset_runtime::Reply;
/// use engset_stdlib::{GenServer, Next, from_fn};
///
/// let ticket = from_fn(0_u32, |last, reply: Reply<u32>, _| {
///     *last += 1;
///     reply.send(*last);
///     Next::wait()
/// })
/// .start()?;
/// assert_eq!(ticket.call(|reply| reply), Ok(1));
/// assert_eq!(ticket.call(|reply| reply), Ok(2));
/// # Ok::<(), engset_stdlib::StartError>(())
/// # }).unwrap().unwrap();
/// ```
pub fn from_fn<T, M, F>(state: T, handle: F) -> FnServer<T, M, F>
where
    T: Send + 'static,
    M: Send + 'static,
    F: FnMut(&mut T, M, &mut Context<M>) -> Next + Send + 'static,
{
    FnServer { state, handle, format: None, takes: std::marker::PhantomData }
}

/// See [`from_fn`].
#[derive(Clone)]
pub struct FnServer<T, M, F> {
    state: T,
    handle: F,
    format: Option<fn(&T, &mut dyn fmt::Write) -> fmt::Result>,
    takes: std::marker::PhantomData<fn(M)>,
}

impl<T: fmt::Debug, M, F> FnServer<T, M, F> {
    /// Reports and [`sys::state_text`](crate::sys::state_text) show its state as `Debug` does.
    #[must_use]
    pub fn debug_state(mut self) -> Self {
        self.format = Some(|state, out| write!(out, "{state:?}"));
        self
    }
}

impl<T, M, F> GenServer for FnServer<T, M, F>
where
    T: Send + 'static,
    M: Send + 'static,
    F: FnMut(&mut T, M, &mut Context<M>) -> Next + Send + 'static,
{
    type Message = M;

    fn handle(&mut self, message: M, context: &mut Context<M>) -> Next {
        (self.handle)(&mut self.state, message, context)
    }

    fn format_state(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self.format {
            Some(format) => format(&self.state, out),
            None => out.write_str(std::any::type_name::<T>()),
        }
    }

    fn sys_state(&mut self) -> &mut dyn Any {
        &mut self.state
    }
}

impl<T: fmt::Debug, M, F> fmt::Debug for FnServer<T, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FnServer").field(&self.state).finish()
    }
}
