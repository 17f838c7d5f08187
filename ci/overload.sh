#!/usr/bin/env bash
# 64 fast senders to one slow receiver, with each policy, on one node and on two. Fails if a mailbox holds more than its policy allows. Half a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --release -p engset-benches --bin overload -- --time 1000
