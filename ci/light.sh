#!/usr/bin/env bash
# Without its features no crate needs tokio, hyper or axum. A second. (What is behind the features is tested with the rest.)
set -euo pipefail
cd "$(dirname "$0")/.."
for package in engset-scheduler engset-runtime engset-stdlib engset-net engset; do
    if cargo tree -p "$package" -e normal --prefix none | grep -qE '^(tokio|hyper|axum) '; then
        echo "light: $package depends on tokio or hyper without a feature" >&2
        exit 1
    fi
done
