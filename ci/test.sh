#!/usr/bin/env bash
# All tests in debug, the command of the read-me file. About four minutes on two cores. Needs: erl, for the comparison with
# Erlang/OTP (Debian: erlang-base); redis-cli and redis-benchmark, for the key-value example (Debian: redis-tools).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v redis-cli >/dev/null || { echo "redis-cli is missing" >&2; exit 1; }
command -v erl >/dev/null || { echo "erl is missing" >&2; exit 1; }
ENGSET_REQUIRE_ERL=1 ENGSET_REQUIRE_REDIS=1 cargo test --workspace
cargo test -p engset-net --features certs --test dist_tls
cargo test -p engset-net --features certs --doc dist::certs
