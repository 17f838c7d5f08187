//! Work that never ends: what the answers have to hold their own against.

use std::hint::black_box;

/// A piece of the work, of some microseconds. Within a process of engset it is instrumented: others have their turn
/// when the slice is used up. Elsewhere `reduce` does nothing.
pub fn work() {
    let mut state = black_box(1_u64);
    for _ in 0..1000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        engset::reduce(1);
    }
    black_box(state);
}
