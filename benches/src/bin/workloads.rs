//! Runs one workload and prints its figures: see `--help`.

#![allow(clippy::print_stdout, reason = "the figures are the output")]

use engset::Node;
use engset_benches::options::{self, Options};
use std::{error::Error, process::ExitCode};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|arg| arg == "--help" || arg == "-h") {
        print!("{}", options::help());
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("workloads: {error}\nworkloads --help shows them all.");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("workloads: the node has not stopped in time");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("workloads: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Has the node stopped, with all of its processes?
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let workload = options.workload();
    let node = Node::start(workload.config(options.config()?))?;
    for figure in (workload.run)(&node, options)? {
        println!("{} {figure}", workload.name);
    }
    if std::env::var_os("WORKLOADS_METRICS").is_some() {
        for (number, metrics) in (1..).zip(node.metrics()) {
            eprintln!("worker {number}: {metrics:?}");
        }
    }
    if workload.name == "hog" && options.word("mode") == "native" {
        // Nothing stops these but the end of the program.
        std::process::exit(0);
    }
    Ok(node.stop())
}
