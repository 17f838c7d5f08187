#!/usr/bin/env bash
# All tests in debug, with all features. About four minutes on two cores. Needs: erl, for the comparison with
# Erlang/OTP (Debian: erlang-base); redis-cli and redis-benchmark, for the key-value example (Debian: redis-tools); curl, openssl and nc,
# for the echo example (Debian: curl, openssl, netcat-openbsd).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v redis-cli >/dev/null || { echo "redis-cli is missing" >&2; exit 1; }
command -v erl >/dev/null || { echo "erl is missing" >&2; exit 1; }
export ENGSET_REQUIRE_ERL=1 ENGSET_REQUIRE_REDIS=1 ENGSET_REQUIRE_CLIENTS=1
cargo test --workspace --features engset/certs,engset/tls,engset/hyper,engset/tokio
