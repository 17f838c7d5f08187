#!/usr/bin/env bash
# The documentation builds without a warning (broken links, for example), and docs/soundness.md names each file with unsafe code. About
# half a minute on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features engset/certs,engset/tls,engset/hyper,engset/tokio
for file in $(grep -rlE 'unsafe (\{|fn|impl)' scheduler/src --include='*.rs' --exclude=tests.rs --exclude-dir=worker); do
    name="${file#scheduler/src/}"
    grep -qF "\`$name\`" docs/soundness.md || { echo "docs/soundness.md does not name $name" >&2; exit 1; }
done
