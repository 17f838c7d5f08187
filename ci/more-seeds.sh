#!/usr/bin/env bash
# Many more seeds than the tests take by default: conformance, semantics, distribution, the simulation of clusters. `ci/more-seeds.sh [SEEDS]`, 500 by
# default: 15 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export ENGSET_SEEDS="${1:-500}" RUST_BACKTRACE=0
cargo test --release -p engset --test conformance each_row_under_many_seeds each_row_with_partners_on_another_node
cargo test --release -p engset-net --test dist_seeds
cargo test --release -p engset --test sim
cargo test --release -p engset --test signal_order --test links --test monitors --test calls --test mailbox_limits
