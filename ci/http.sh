#!/usr/bin/env bash
# HTTP and the bridge to tokio, which are features: their tests, and the example with real clients. A few minutes, if it has to be compiled.
# Needs: curl (without it the requests by curl are left out, and the test says so).
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy -p engset --all-targets --features hyper,tokio -- -D warnings
cargo clippy -p engset-net --all-targets --features hyper,tokio -- -D warnings
cargo test -p engset-net --features hyper,tokio --test http --test bridge
cargo test -p engset-example-http
# Without the features nothing of this is there.
for package in engset-scheduler engset-runtime engset-stdlib engset-net engset; do
    if cargo tree -p "$package" -e normal --prefix none | grep -qE '^(tokio|hyper|axum) '; then
        echo "http: $package depends on tokio or hyper without a feature" >&2
        exit 1
    fi
done
