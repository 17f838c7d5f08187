//! Tests of the stacks' region.

use std::os::unix::process::ExitStatusExt;

use corosensei::stack::Stack as _;
use corosensei::{Coroutine, CoroutineResult};

use super::{
    class::{CHUNK_BYTES, MAX_SIZE, MIN_CHUNK_STACKS, MIN_SIZE},
    pages::kernel_can_read,
    *,
};

const DEFAULT: StackClass = StackClass::DEFAULT;

/// Both modes, or what of them this kernel has.
fn modes() -> Vec<GuardMode> {
    match GuardMode::detect() {
        GuardMode::Kernel => vec![GuardMode::Kernel, GuardMode::Protect],
        GuardMode::Protect => vec![GuardMode::Protect],
    }
}

/// The lowest page of the stack, and only that, cannot be read.
fn is_guarded(stack: &Stack) -> bool {
    let (low, guard) = (stack.limit().get(), stack.region.guard);
    !kernel_can_read(low) && !kernel_can_read(low + guard - 8) && kernel_can_read(low + guard)
}

/// Writes to all pages but the lowest usable one, which `is_guarded` wants to find zeroed.
fn touch(stack: &mut Stack) {
    let (low, step) = (stack.limit().get(), stack.region.guard);
    for addr in (low + 2 * step..stack.base().get()).step_by(step) {
        // SAFETY: R2, R4.
        unsafe { (addr as *mut u8).write_volatile(7) };
    }
}

fn resident_pages(stack: &Stack) -> usize {
    residence(stack).into_iter().filter(|&is_resident| is_resident).count()
}

/// Of each page of the stack, the lowest first: is it in memory?
fn residence(stack: &Stack) -> Vec<bool> {
    let len = stack.span();
    let mut pages = vec![0u8; len / stack.region.guard];
    // SAFETY: mincore only looks at the pages, and writes one byte for each.
    let done = unsafe { libc::mincore(stack.limit().get() as *mut c_void, len, pages.as_mut_ptr()) };
    assert_eq!(done, 0);
    pages.iter().map(|page| page & 1 != 0).collect()
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Runs a coroutine that uses `depth` frames of at least 1 KiB.
fn use_stack(stack: Stack, depth: usize) -> Stack {
    fn frames(depth: usize) -> usize {
        let frame = std::hint::black_box([depth as u8; 1024]);
        if depth == 0 { 0 } else { frames(depth - 1) + 1 + usize::from(frame[0] != depth as u8) }
    }
    let mut coroutine = Coroutine::with_stack(stack, move |yielder, ()| {
        yielder.suspend(());
        frames(depth)
    });
    assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
    assert!(matches!(coroutine.resume(()), CoroutineResult::Return(n) if n == depth));
    coroutine.into_stack()
}

#[test]
fn regions_and_stacks_are_shared_and_sent() {
    fn check<T: Send + Sync>() {}
    check::<StackRegion>();
    check::<Stack>();
    check::<StackError>();
}

#[test]
fn sizes_map_to_classes() {
    assert_eq!(class_for(0), Err(StackError::ZeroSize));
    assert_eq!(class_for(1).unwrap().stack_size(), MIN_SIZE.max(4 * page_size()));
    assert_eq!(class_for(256 << 10), Ok(DEFAULT));
    assert_eq!(DEFAULT.stack_size(), 256 << 10);
    assert_eq!(class_for((256 << 10) + 1).unwrap().stack_size(), 512 << 10);
    let max = class_for(MAX_SIZE).unwrap();
    assert_eq!((max.stack_size(), max.slot()), (MAX_SIZE, CLASSES - 1));
    assert_eq!(
        class_for(MAX_SIZE + 1),
        Err(StackError::SizeTooLarge { requested: MAX_SIZE + 1, max: MAX_SIZE })
    );
    assert_eq!(class_for(usize::MAX), Err(StackError::SizeTooLarge { requested: usize::MAX, max: MAX_SIZE }));
    for slot in 0..CLASSES {
        let class = StackClass(slot as u8);
        assert!(class.per_chunk() >= MIN_CHUNK_STACKS && class.chunk_len(page_size()) >= CHUNK_BYTES);
    }
}

#[test]
fn stacks_come_back_last_in_first_out() {
    for mode in modes() {
        let region = StackRegion::new(100, mode).unwrap();
        assert!(format!("{region:?}").contains(&format!("{mode:?}")));
        let (a, b, c) =
            (region.take(DEFAULT).unwrap(), region.take(DEFAULT).unwrap(), region.take(DEFAULT).unwrap());
        assert_eq!((a.index(), b.index(), c.index()), (0, 1, 2));
        drop(b);
        drop(a);
        drop(c);
        let mut batch = Vec::new();
        assert_eq!(region.take_batch(DEFAULT, 4, &mut batch), Ok(4));
        assert_eq!(batch.iter().map(Stack::index).collect::<Vec<_>>(), [2, 0, 1, 3]);
        assert!(batch.iter().all(is_guarded));
        assert_eq!(region.take_batch(DEFAULT, 0, &mut batch), Ok(0));
    }
}

#[test]
fn every_class_has_disjoint_guarded_coloured_stacks() {
    for mode in modes() {
        let region = StackRegion::new(1000, mode).unwrap();
        let mut all = Vec::new();
        for slot in class_for(1).unwrap().slot()..CLASSES {
            let class = StackClass(slot as u8);
            assert_eq!(region.take_batch(class, 17, &mut all), Ok(17));
        }
        for stack in &all {
            let (base, low) = (stack.base().get(), stack.limit().get());
            assert_eq!(base % corosensei::stack::STACK_ALIGNMENT, 0);
            let colour = stack.index() as usize % 16 * 64;
            assert_eq!(base, low + stack.region.guard + stack.class().stack_size() - HEAD - colour);
            assert_eq!(base - low - stack.region.guard, stack.usable_size());
            assert_eq!((stack.span() / page_size()) % 2, 1, "tops in all sets of the TLB");
            assert!(stack.usable_size() > corosensei::stack::MIN_STACK_SIZE);
            assert!(is_guarded(stack), "{stack:?}");
            assert!(kernel_can_read(base - 8));
        }
        all.sort_unstable_by_key(Stack::low);
        assert!(all.windows(2).all(|w| w[0].low() + w[0].span() <= w[1].low()));
        for stack in all {
            drop(use_stack(stack, 2));
        }
    }
}

#[test]
fn locate_finds_guards_and_nothing_else() {
    let region = StackRegion::new(100_000, GuardMode::detect()).unwrap();
    let large = class_for(1 << 20).unwrap();
    // More than a chunk of each of two classes, taken in turns.
    let mut stacks = Vec::new();
    for _ in 0..3 {
        region.take_batch(DEFAULT, 3000, &mut stacks).unwrap();
        region.take_batch(large, 700, &mut stacks).unwrap();
    }
    for stack in &stacks {
        let (low, guard) = (stack.limit().get(), region.guard);
        let fault =
            Some(Fault { class: stack.class(), index: stack.index(), usable_size: stack.usable_size() });
        assert_eq!(region.locate(low), fault);
        assert_eq!(region.locate(low + guard - 1), fault);
        assert_eq!(overflow::find(low + 8), fault);
        assert_eq!(region.locate(low + guard), None);
        assert_eq!(region.locate(stack.base().get() - 1), None);
    }
    assert_eq!(region.locate(0), None);
    assert_eq!(region.locate(usize::MAX), None);
    assert_eq!(region.locate(&raw const stacks as usize), None);
}

#[test]
fn the_maximum_is_a_maximum_of_stacks_in_use() {
    let region = StackRegion::new(3, GuardMode::detect()).unwrap();
    let mut batch = Vec::new();
    assert_eq!(region.take_batch(DEFAULT, 10, &mut batch), Ok(3));
    let full = StackError::TooManyStacks { limit: 3 };
    assert_eq!(region.take(DEFAULT).unwrap_err(), full);
    assert_eq!(region.take_batch(DEFAULT, 1, &mut batch), Err(full));
    batch.clear();
    let small = class_for(1).unwrap();
    assert_eq!(region.take_batch(small, 10, &mut batch), Ok(3));
}

#[test]
fn the_last_stack_keeps_the_chunks_mapped() {
    let region = StackRegion::new(10, GuardMode::detect()).unwrap();
    let stack = region.take(DEFAULT).unwrap();
    drop(region);
    let low = stack.limit().get();
    assert!(overflow::find(low).is_some());
    drop(use_stack(stack, 10));
}

#[test]
fn protect_mode_refuses_when_guards_run_out() {
    let region = StackRegion::with_guard_limit(1000, GuardMode::Protect, 40).unwrap();
    let mut stacks = Vec::new();
    assert_eq!(region.take_batch(DEFAULT, 100, &mut stacks), Ok(40));
    let Err(error @ StackError::NoGuard { limit: 40, max_map_count }) = region.take(DEFAULT) else {
        panic!("a stack without a guard");
    };
    assert!(max_map_count > 40);
    let text = error.to_string();
    assert!(text.contains("40") && text.contains(&format!("vm.max_map_count = {max_map_count}")), "{text}");

    // A guard that is not needed goes over to another class, and comes back.
    let small = class_for(1).unwrap();
    touch(&mut stacks[0]);
    let freed = stacks.swap_remove(0).index();
    let other = region.take(small).unwrap();
    assert!(is_guarded(&other));
    assert!(region.take(DEFAULT).is_err() && region.take(small).is_err());
    drop(use_stack(other, 2));
    let again = region.take(DEFAULT).unwrap();
    assert_eq!(again.index(), freed);
    assert!(is_guarded(&again) && stacks.iter().all(is_guarded));
    assert_eq!(resident_pages(&again), 1, "only what is_guarded has read");
}

#[test]
fn protect_mode_stays_within_the_process_limit() {
    if !child::here() {
        return child::succeeds(module_path!(), "protect_mode_stays_within_the_process_limit");
    }
    let limit = ProtectLimit::read();
    let (first, second) = (
        StackRegion::new(usize::MAX, GuardMode::Protect).unwrap(),
        StackRegion::new(usize::MAX, GuardMode::Protect).unwrap(),
    );
    let class = class_for(1).unwrap();
    let mut stacks = Vec::new();
    // A system may have set max_map_count very high; then there is no need to go to its end.
    let most = limit.guards.min(100_000);
    assert_eq!(first.take_batch(class, most / 2, &mut stacks), Ok(most / 2));
    assert_eq!(second.take_batch(class, most - most / 2, &mut stacks), Ok(most - most / 2));
    assert!(mappings() < limit.max_map_count / 4 * 3 + 200);
    if most == limit.guards {
        let no_guard = StackError::NoGuard { limit: limit.guards, max_map_count: limit.max_map_count };
        assert_eq!(first.take(class).unwrap_err(), no_guard);
        assert_eq!(second.take(class).unwrap_err(), no_guard);
    }
    // The end of a region frees its guards.
    drop(first);
    stacks.retain(|s| Arc::ptr_eq(&s.region, &second));
    assert!(second.take(class).is_ok());
}

#[test]
fn a_hundred_thousand_stacks_need_few_mappings() {
    if !child::here() {
        return child::succeeds(module_path!(), "a_hundred_thousand_stacks_need_few_mappings");
    }
    if GuardMode::detect() != GuardMode::Kernel {
        return;
    }
    let region = StackRegion::new(100_000, GuardMode::Kernel).unwrap();
    let mut stacks = Vec::new();
    while stacks.len() < 100_000 {
        region.take_batch(DEFAULT, 64.min(100_000 - stacks.len()), &mut stacks).unwrap();
    }
    assert_eq!(region.take(DEFAULT).unwrap_err(), StackError::TooManyStacks { limit: 100_000 });
    assert!(stacks.iter().all(is_guarded));
    let count = mappings();
    assert!(count < 200, "{count} mappings");
}

#[test]
fn address_space_that_runs_out_is_a_typed_error() {
    if !child::here() {
        return child::succeeds(module_path!(), "address_space_that_runs_out_is_a_typed_error");
    }
    let region = StackRegion::new(usize::MAX, GuardMode::detect()).unwrap();
    let kept = region.take(DEFAULT).unwrap();
    let cap = libc::rlimit { rlim_cur: 2 << 30, rlim_max: 2 << 30 };
    // SAFETY: only reads `cap`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &cap) }, 0);
    let largest = class_for(MAX_SIZE).unwrap();
    assert_eq!(
        region.take(largest).unwrap_err(),
        StackError::OutOfAddressSpace { requested: largest.chunk_len(page_size()), os_error: libc::ENOMEM }
    );
    drop(use_stack(kept, 10));
}

#[test]
fn adjacent_stacks_are_one_run() {
    let region = StackRegion::new(100, GuardMode::detect()).unwrap();
    let mut stacks = Vec::new();
    region.take_batch(DEFAULT, 10, &mut stacks).unwrap();
    let size = DEFAULT.span(page_size());
    let low = stacks[0].low();
    drop(stacks.remove(4));
    stacks.reverse();
    let mut runs = Vec::new();
    for_each_run(&mut stacks, |low, len| runs.push((low, len)));
    assert_eq!(runs, [(low, 4 * size), (low + 5 * size, 5 * size)]);
    for_each_run(&mut [], |_, _| panic!("no stacks, no run"));
}

#[test]
fn released_memory_is_gone_and_guards_are_not() {
    for mode in modes() {
        let region = StackRegion::new(100, mode).unwrap();
        let mut stacks = Vec::new();
        region.take_batch(DEFAULT, 8, &mut stacks).unwrap();
        let neighbour = stacks.remove(3);
        let mut neighbour = use_stack(neighbour, 100);
        touch(&mut neighbour);
        stacks.iter_mut().for_each(touch);
        let pages = DEFAULT.span(region.guard) / region.guard;
        assert!(stacks.iter().all(|s| resident_pages(s) == pages - 2));
        assert_eq!(StackRegion::release_memory(&mut stacks), 7 * DEFAULT.span(region.guard));
        assert!(stacks.iter().all(|s| resident_pages(s) == 0));
        assert!(resident_pages(&neighbour) >= pages - 2, "it was not among them");
        assert!(stacks.iter().all(is_guarded));
        for stack in stacks {
            let stack = use_stack(stack, 100);
            assert!(resident_pages(&stack) >= 25);
        }
    }
}

#[test]
fn top_pages_come_by_the_batch_or_as_they_are_touched() {
    for mode in modes() {
        let region = StackRegion::new(2000, mode).unwrap();
        let mut stacks = Vec::new();
        region.take_batch(DEFAULT, 1500, &mut stacks).unwrap();
        touch(&mut stacks[700]);
        StackRegion::back_tops(&mut stacks);
        let pages: Vec<_> = stacks.iter().map(resident_pages).collect();
        assert_eq!(pages[700], DEFAULT.span(region.guard) / region.guard - 2, "what was there stays");
        // Not with every kernel.
        let backed = pages[0];
        assert!(backed <= 1, "{backed} pages");
        assert!(pages.iter().enumerate().all(|(index, &count)| index == 700 || count == backed), "{pages:?}");
        assert!(stacks.iter().all(is_guarded));
        assert_eq!(residence(&stacks[3]).last(), Some(&(backed == 1)), "it is the page that is used first");
    }
}

/// In a child: touches the guard of a stack whose memory was released.
fn touch_guard(mode: GuardMode) {
    let region = StackRegion::new(100, mode).unwrap();
    let mut stacks = Vec::new();
    region.take_batch(DEFAULT, 3, &mut stacks).unwrap();
    StackRegion::release_memory(&mut stacks);
    let guard = stacks[1].limit().get() + region.guard;
    // SAFETY: R2, R4; not a guard.
    unsafe { (guard as *mut u8).write_volatile(1) };
    // SAFETY: none; the test is that this faults.
    unsafe { ((guard - 1) as *mut u8).write_volatile(1) };
}

#[test]
fn kernel_guard_faults() {
    if child::here() {
        touch_guard(GuardMode::Kernel);
    } else if GuardMode::detect() == GuardMode::Kernel {
        let output = child::run(module_path!(), "kernel_guard_faults");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    }
}

#[test]
fn protect_guard_faults() {
    if child::here() {
        touch_guard(GuardMode::Protect);
    } else {
        let output = child::run(module_path!(), "protect_guard_faults");
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
    }
}

#[test]
fn workers_take_and_give_at_once() {
    let region = StackRegion::new(64, GuardMode::detect()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut mine = Vec::new();
                for round in 0..200 {
                    region.take_batch(DEFAULT, 1 + round % 16, &mut mine).unwrap();
                    for stack in mine.drain(..) {
                        drop(use_stack(stack, 1));
                    }
                }
            });
        }
    });
    let state = region.lock();
    assert_eq!(state.live, 0);
    let mut free = state.classes[DEFAULT.slot()].free.clone();
    free.sort_unstable();
    assert!(free.iter().map(|&i| i as usize).eq(0..state.classes[DEFAULT.slot()].carved));
}

#[test]
fn errors_say_what_to_do() {
    let texts = [
        StackError::OutOfAddressSpace { requested: 1 << 30, os_error: libc::ENOMEM },
        StackError::TooManyStacks { limit: 5 },
        StackError::NoGuard { limit: 5, max_map_count: 6 },
        StackError::GuardRefused { os_error: libc::EINVAL },
        StackError::SizeTooLarge { requested: 9, max: 8 },
        StackError::ZeroSize,
        StackError::TooManyRegions { limit: 3 },
    ]
    .map(|e| {
        let e: Box<dyn std::error::Error> = Box::new(e);
        e.to_string()
    });
    assert!(texts[0].contains("1073741824") && texts[0].contains("Cannot allocate memory"));
    assert!(texts.iter().all(|t| t.len() > 20));
}
