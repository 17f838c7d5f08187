//! Runs one workload of another runtime and prints its figures: `workloads-peers PEER WORKLOAD [key=value ...]`.
//!
//! The workloads, their keys and the output are those of `workloads`. Each peer is a cargo feature of its name; all of
//! them: `--features peers`.

#![allow(clippy::print_stdout, reason = "the figures are the output")]

use engset_benches::{
    options::Options,
    peers::{NOT_DONE, PEERS},
};
use std::process::exit;

const USAGE: &str = "Usage: workloads-peers PEER WORKLOAD [key=value ...]\n\n\
    The workloads, their keys and the output are those of workloads --help. Exit code 3: the peer has no means\n\
    for this workload. Each peer is a cargo feature: --features peers for all.";

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let built = PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
    if name == "--help" || name == "-h" {
        println!("{USAGE}\n\nBuilt with: {built}");
        return;
    }
    let Some(peer) = PEERS.iter().find(|peer| peer.name == name) else {
        eprintln!("workloads-peers: there is no peer {name:?}; built with: [{built}]\n{USAGE}");
        exit(2);
    };
    let options = Options::parse(args).unwrap_or_else(|error| {
        eprintln!("workloads-peers: {error}");
        exit(2);
    });
    match peer.run(&options) {
        Ok(figures) => {
            for figure in figures {
                println!("{} {figure}", options.workload().name);
            }
            // What is left of the job, possibly a million tasks, ends with the program.
            exit(0);
        }
        Err(why) => {
            eprintln!("{why}");
            exit(NOT_DONE.into());
        }
    }
}
