#!/usr/bin/env bash
# Each workload of the benchmarks, small: they run to their end. No figures; those need a quiet machine. About a quarter of a
# minute on two cores, if they are compiled.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p engset-benches --bin workloads
run() { echo "+ $*"; timeout 120 "${CARGO_TARGET_DIR:-target}/release/workloads" "$@"; }
run spawn n=10000
run spawn n=10000 kind=server
run idle n=10000
run idle n=10000 kind=server
run pingpong n=10000
run pingpong n=10000 kind=server
run pairs pairs=8 n=2000
run fanin senders=8 n=2000
run fanin senders=8 n=2000 bound=100
run ring hops=50000
run bigring size=2000 hops=20000
run big n=32 pings=100
run skynet depth=3
run call n=10000
run hog seconds=1
run hog seconds=1 mode=native
run timers n=10000
run monitor n=10000
run crash n=10000
run flood n=10000
run flat size=1000 n=1000
run flat size=1000 n=1000 kind=server
run boxes accounts=50 n=100
run boxes accounts=50 n=100 kind=server
run restart n=2000
run restart n=2000 end=stop others=100
