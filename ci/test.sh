#!/usr/bin/env bash
# All tests in debug, the command of the read-me file. About four minutes on two cores. Needs: erl, for the comparison with
# Erlang/OTP (Debian: erlang-base).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v erl >/dev/null || { echo "erl is missing" >&2; exit 1; }
ENGSET_REQUIRE_ERL=1 cargo test --workspace
