//! Services of tower as services of hyper.

use hyper::{Request, body::Incoming};
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// A tower service for hyper. See [`tower`].
#[derive(Clone, Debug)]
pub struct TowerService<S>(S);

/// Makes a hyper service of a tower service: of axum's `Router`, above all. It is cloned for each request.
pub fn tower<S: Service<Request<Incoming>> + Clone>(service: S) -> TowerService<S> {
    TowerService(service)
}

impl<S: Service<Request<Incoming>> + Clone> hyper::service::Service<Request<Incoming>> for TowerService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = TowerFuture<S>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        TowerFuture(Step::Asking(Box::new((self.0.clone(), request))))
    }
}

/// The response of a [`TowerService`].
pub struct TowerFuture<S: Service<Request<Incoming>>>(Step<S>);

enum Step<S: Service<Request<Incoming>>> {
    /// Until the service is ready.
    Asking(Box<(S, Request<Incoming>)>),
    Answering(Pin<Box<S::Future>>),
    Over,
}

// What is pinned is in a box of its own.
impl<S: Service<Request<Incoming>>> Unpin for TowerFuture<S> {}

impl<S: Service<Request<Incoming>>> Future for TowerFuture<S> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let step = &mut self.get_mut().0;
        if let Step::Asking(asking) = step {
            if let Err(error) = ready!(asking.0.poll_ready(context)) {
                *step = Step::Over;
                return Poll::Ready(Err(error));
            }
            let Step::Asking(asking) = mem::replace(step, Step::Over) else { unreachable!("just seen") };
            let (mut service, request) = *asking;
            *step = Step::Answering(Box::pin(service.call(request)));
        }
        match step {
            Step::Answering(future) => {
                let result = ready!(future.as_mut().poll(context));
                *step = Step::Over;
                Poll::Ready(result)
            }
            _ => panic!("a service's future is polled after its end"),
        }
    }
}

impl<S: Service<Request<Incoming>>> fmt::Debug for TowerFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TowerFuture")
    }
}
