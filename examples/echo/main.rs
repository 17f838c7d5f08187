//! An echo server: one process for each connection, plain or encrypted.
//!
//! ```text
//! cargo run --release --features tls --example echo -- --port 7000
//! nc 127.0.0.1 7000
//!
//! cargo run --release --features tls --example echo -- --port 7443 --tls chain.pem key.pem
//! openssl s_client -connect localhost:7443 -CAfile authority.pem
//!
//! cargo run --release --features tls --example echo -- --port 7443 --tls chain.pem key.pem --http
//! curl --cacert authority.pem https://localhost:7443/
//! ```
//!
//! `--clients authority.pem` lets in clients with a certificate of that authority only. With `--http` the answer to a request is the
//! request, as a page.

#![allow(unreachable_pub, reason = "a program: what is `pub` here is for its other modules")]

mod server;

use server::Options;
use std::{path::PathBuf, process::ExitCode};

const USAGE: &str = "Usage: echo [--port PORT] [--tls CHAIN KEY [--clients AUTHORITIES]] [--http]";

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        let mut value = |what: &str| args.next().ok_or(format!("{arg} needs {what}"));
        match arg.as_str() {
            "--port" => {
                let text = value("a port")?;
                options.port = text.parse().map_err(|_| format!("--port needs a port, not {text:?}"))?;
            }
            "--tls" => options.tls = Some((value("a chain")?.into(), PathBuf::from(value("a key")?))),
            "--clients" => options.clients = Some(value("authorities")?.into()),
            "--http" => options.http = true,
            _ => return Err(format!("there is no option {arg}")),
        }
    }
    if options.clients.is_some() && options.tls.is_none() {
        return Err("--clients needs --tls".to_owned());
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("echo: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let run = engset::run(move || {
        let server = server::Server::new(&options)?;
        eprintln!("echo: listening on {}", server.address()?);
        server.serve()
    });
    match run {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}
