//! The attribute that makes ordinary Rust code preemptible in the engset runtime.
//!
//! An engset process runs until it has used up its *reductions*: a budget that every call into the runtime
//! (send, receive, spawn, timers) draws on. Code that computes without calling the runtime draws on nothing
//! and would keep its scheduler thread until it returns. [`macro@preemptible`] closes that gap: it adds a
//! call of `engset::reduce` at the entry of a function and at the start of each iteration of each loop in it.
//! When the budget is used up, that call suspends the process, and the next one runs.
//!
//! Use it through the `engset` crate, as `#[engset::preemptible]`; this crate only holds the implementation.
//! See [`macro@preemptible`] for the options, the cost, and what the attribute cannot see.

#![forbid(unsafe_code)]

mod instrument;
mod options;

use proc_macro::TokenStream;

/// Charges reductions at function entry and on every loop iteration, so that the scheduler can preempt the
/// code.
///
/// # Where it goes
///
/// - on a function or method **with a body**: free, inherent, in a trait implementation, or a trait's default
///   method; generic, `unsafe`, `extern` and `async` ones too;
/// - on an `impl` block, a `trait` block, or an inline `mod name { ... }`: every function inside is
///   rewritten, at any depth.
///
/// An item inside that carries the attribute itself is left to that attribute, so its own options apply and
/// nothing is charged twice.
///
/// ```
/// # mod rt { pub fn reduce(_units: u32) {} }
/// # use engset_macros::preemptible;
/// // In a program this is `#[engset::preemptible]`; here, `rt` stands in for the runtime.
/// #[preemptible(crate = rt)]
/// fn collatz(mut n: u64) -> u32 {
///     let mut steps = 0;
///     while n != 1 {
///         n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
///         steps += 1;
///     }
///     steps
/// }
/// assert_eq!(collatz(27), 111);
/// ```
///
/// The function above becomes
///
/// ```
/// # mod engset { pub fn reduce(_units: u32) {} }
/// fn collatz(mut n: u64) -> u32 {
///     engset::reduce(1);
///     let mut steps = 0;
///     while n != 1 {
///         engset::reduce(1);
///         n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
///         steps += 1;
///     }
///     steps
/// }
/// # assert_eq!(collatz(27), 111);
/// ```
///
/// # What is charged
///
/// - the entry of each function, nested `fn` items included;
/// - each iteration of each `for`, `while`, `while let` and `loop`, also in closures and `async` blocks.
///
/// The entry of a closure is not charged. An `async fn` pays for its entry when it is first polled. Outside
/// of a process, `reduce` does nothing, so the same function can be called from any thread.
///
/// # Options
///
/// Options are separated by commas, each given at most once.
///
/// | option | default | meaning |
/// |---|---|---|
/// | `cost = N` | `1` | units per function entry and per iteration, an integer literal from 1 to 4000 |
/// | `stride = N` | `1` | charge `N` iterations at a time, an integer literal from 1 to 65536 |
/// | `crate = path` | `::engset` | where to find `reduce`, for crates that re-export engset |
///
/// A relative `crate` path is resolved where each call is generated: inside a `mod`, give one that starts
/// with `crate` or `::`. The path must lead to a `fn reduce(units: u32)`.
///
/// ## `stride`
///
/// With `stride = N`, iterations are counted in a local variable, and every `N`th one charges `N` times
/// `cost` at once. The counter is set up before an outermost loop and shared by the loops nested in it, so
/// nests of short loops are charged as well; closures, `async` blocks and nested functions have their own.
/// Labels, `break` with a value, `continue` and `?` work as before. The up to `N - 1` iterations since the
/// last charge are not charged when the outermost loop ends. In particular, a closure that is called often
/// and whose own loops each end in fewer than `N` iterations is never charged for them.
///
/// ```
/// # mod rt { pub fn reduce(_units: u32) {} }
/// # use engset_macros::preemptible;
/// #[preemptible(stride = 256, crate = rt)]
/// fn position_of_max(values: &[f32]) -> usize {
///     let mut best = 0;
///     for (i, v) in values.iter().enumerate() {
///         if *v > values[best] {
///             best = i;
///         }
///     }
///     best
/// }
/// assert_eq!(position_of_max(&[1.0, 7.0, 3.0]), 1);
/// ```
///
/// # Cost
///
/// A charge is a call that updates a counter in memory: expect about a nanosecond per iteration of a tight
/// loop. Where the body does more than a few operations this is lost in the noise. For loops over numbers or
/// bytes, `stride` replaces it by an increment and a compare in registers. The iteration still contains a
/// branch to a call, which usually stops the compiler from vectorising it. To keep a loop vectorised, split
/// it by hand: an outer loop over chunks, in a function with the attribute, and the inner loop over one chunk
/// in a function without it.
///
/// ```
/// # mod rt { pub fn reduce(_units: u32) {} }
/// # use engset_macros::preemptible;
/// fn sum_chunk(chunk: &[u32]) -> u64 {
///     chunk.iter().map(|&n| u64::from(n)).sum()
/// }
///
/// #[preemptible(cost = 100, crate = rt)]
/// fn sum(values: &[u32]) -> u64 {
///     let mut total = 0;
///     for chunk in values.chunks(4096) {
///         total += sum_chunk(chunk);
///     }
///     total
/// }
/// assert_eq!(sum(&[2; 10_000]), 20_000);
/// ```
///
/// # What is not seen
///
/// - **Macros.** The arguments of a macro call and `macro_rules!` definitions are left as they are: a loop
///   inside of `vec![...]` or `println!(...)`, or one that a macro expands to, is not charged.
/// - **Callees.** Functions that do not carry the attribute, including iterator methods such as `for_each`,
///   `fold` or `sum`, sorting, and formatting: they run to their end.
/// - **Constant code.** `const` and `static` items with everything in them, `const` blocks, array lengths,
///   const arguments, and enum discriminants are not touched. This covers the initialiser of a
///   `static X: LazyLock<_>`, which must not be suspended halfway either.
/// - **Other files.** A `mod name;` inside a marked module; mark what is in that file.
///
/// A process can be suspended at every charge, so do not hold a blocking lock that other processes want, such
/// as the guard of a [`std::sync::Mutex`], over a charged loop or a call of a marked function.
///
/// # Errors
///
/// `const fn` is refused, as a charge is not possible in constant evaluation. In a marked block or module, or
/// nested in a marked function, a `const fn` is refused only if it contains a loop; otherwise it is left as
/// it is.
///
/// ```compile_fail
/// # mod rt { pub fn reduce(_units: u32) {} }
/// # use engset_macros::preemptible;
/// #[preemptible(crate = rt)] // error: `const fn` cannot be preemptible: ...
/// const fn answer() -> u32 {
///     42
/// }
/// ```
///
/// Unknown or repeated options, values out of range, and other kinds of items are compile errors as well.
///
/// # Whole blocks
///
/// ```
/// # mod rt { pub fn reduce(_units: u32) {} }
/// # use engset_macros::preemptible;
/// struct Grid(Vec<Vec<u8>>);
///
/// #[preemptible(crate = rt)]
/// impl Grid {
///     const fn new() -> Self {
///         Self(Vec::new())
///     }
///
///     fn count(&self, wanted: u8) -> usize {
///         let mut found = 0;
///         for row in &self.0 {
///             for &cell in row {
///                 found += usize::from(cell == wanted);
///             }
///         }
///         found
///     }
///
///     #[preemptible(cost = 8, crate = rt)] // these options, instead of those of the block
///     fn push(&mut self, row: Vec<u8>) {
///         self.0.push(row);
///     }
/// }
///
/// let mut grid = Grid::new();
/// grid.push(vec![1, 2, 1]);
/// assert_eq!(grid.count(1), 2);
/// ```
#[proc_macro_attribute]
pub fn preemptible(options: TokenStream, item: TokenStream) -> TokenStream {
    instrument::expand(options.into(), item.into()).into()
}
