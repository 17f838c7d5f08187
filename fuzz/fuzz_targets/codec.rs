//! The body of a message from another node: nesting is looked at before it is decoded, and decoding takes no more than there is.
#![no_main]

use engset_net::dist::nesting;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // What passes the look is never nested deeper than the look says.
    let _ = nesting::check(data, nesting::DEFAULT_DEPTH);
    let _ = nesting::check(data, 1);
});
