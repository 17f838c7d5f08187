#!/usr/bin/env bash
# The documentation builds without a warning (broken links, for example). About half a minute on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features engset/certs,engset/tls,engset/hyper,engset/tokio
