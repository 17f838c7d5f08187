#!/usr/bin/env bash
# Examples and benchmarks compile in release. A minute or two on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
# What does without a C compiler by default stays so.
if cargo tree --workspace --edges normal,build --invert cc --quiet 2>/dev/null | grep -q .; then
    echo "a C compiler is needed by default:" >&2
    cargo tree --workspace --edges normal,build --invert cc >&2
    exit 1
fi
cargo build --release --workspace --examples --bins --benches --features engset/certs,engset/tls,engset/hyper,engset/tokio
