//! On tokio.

use crate::{Options, app, hogs};
use axum::{routing::get, serve::ListenerExt};
use std::{
    error::Error,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, runtime, signal::unix, task};

/// How long a polite hog computes before it gives way.
const TURN: Duration = Duration::from_millis(1);

/// Runs until SIGTERM or SIGINT.
pub fn run(options: Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(options.workers).enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    let visits = Arc::new(AtomicU64::new(0));
    let count = get(move || async move { (visits.fetch_add(1, Ordering::Relaxed) + 1).to_string() });
    let router = app::router().route("/visits", count);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, options.port)).await?;
    eprintln!("http: listening on port {}", listener.local_addr()?.port());
    // On the workers, as everything else that is measured.
    let server = tokio::spawn(async move {
        let (mut terminate, mut interrupt) = signals()?;
        let end = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), router)
            .with_graceful_shutdown(end)
            .await
    });
    for _ in 0..options.hogs {
        tokio::spawn(hog(options.polite));
    }
    server.await??;
    eprintln!("http: ended");
    Ok(())
}

fn signals() -> std::io::Result<(unix::Signal, unix::Signal)> {
    Ok((unix::signal(unix::SignalKind::terminate())?, unix::signal(unix::SignalKind::interrupt())?))
}

#[allow(clippy::disallowed_methods, reason = "no process of engset")]
async fn hog(polite: bool) {
    let mut start = Instant::now();
    loop {
        hogs::work();
        if polite && start.elapsed() >= TURN {
            task::yield_now().await;
            start = Instant::now();
        }
    }
}
