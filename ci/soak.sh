#!/usr/bin/env bash
# Soak and chaos with a verdict: `ci/soak.sh [SECONDS]`, 60 by default, and the time that it takes to build. The program's own default is ten minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --release -p engset-benches --bin soak -- --time "${1:-60}"
