//! On processes.

use crate::{Options, app, hogs};
use axum::routing::get;
use engset::{
    Config, Mailbox, Reply,
    net::{TcpListener, http},
    spawn,
    stdlib::signals::{self, OsSignal},
};
use std::{error::Error, net::Ipv4Addr, time::Duration};

/// Requests under way have so long to end.
const GRACE: Duration = Duration::from_secs(10);

enum Message {
    Wait(Reply<()>),
    End,
}

/// Runs until SIGTERM or SIGINT.
pub fn run(options: Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    engset::run_with(Config::new().workers(options.workers), move || serve(options))?
}

fn serve(options: Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    let visits = spawn(|mut mailbox: Mailbox<Reply<u64>>| {
        for number in 1.. {
            mailbox.message().send(number);
        }
    });
    // A handler may call a process like any other function: its connection waits.
    let count = get(move || async move { visits.call(|reply| reply).unwrap_or_default().to_string() });
    let router = app::router().route("/visits", count);
    for _ in 0..options.hogs {
        let hog = || {
            loop {
                hogs::work();
            }
        };
        engset::Builder::new().spread().spawn(hog)?;
    }
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, options.port))?;
    let serving = http::serve(listener, http::tower(router))?;
    eprintln!(
        "http: listening on port {}",
        serving.local_addr().map_or(options.port, |address| address.port())
    );
    let end = spawn(|mut mailbox: Mailbox<Message>| {
        let mut waiting = Vec::new();
        while let Message::Wait(reply) = mailbox.message() {
            waiting.push(reply);
        }
        waiting.into_iter().for_each(|reply| reply.send(()));
    });
    signals::subscribe(&[OsSignal::Terminate, OsSignal::Interrupt], end, |_| Message::End)?;
    end.call_timeout(Message::Wait, Duration::MAX)?;
    let ended = serving.shutdown(GRACE);
    eprintln!("http: {}", if ended { "ended" } else { "some requests did not end" });
    Ok(())
}
