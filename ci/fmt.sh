#!/usr/bin/env bash
# Formatting. Seconds. Needs: rustfmt.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
