#!/usr/bin/env bash
# The simulated cluster under 2,000 seeds, with its oracles: order, at most once, one Down for each monitor, nothing that comes back
# to life, nothing lost in silence; and the same seed gives the same run. Half a minute on two cores, and a minute or two to compile.
set -euo pipefail
cd "$(dirname "$0")/.."
ENGSET_SEEDS="${ENGSET_SEEDS:-2000}" cargo test --release -p engset-net --test dist_seeds
