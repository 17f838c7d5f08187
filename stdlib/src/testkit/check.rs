//! One run of a test and its verdict; and a test under many seeds, on threads, or by all schedules.
//!
//! A run has a fresh node. The test is a process of it; when that process has ended the run has, and these are looked
//! at, in this order: how the process ended, what other processes crashed, dead letters, leaks.

use super::{
    explorer::Explorer,
    failure::{Cause, Failure, Waiting},
    log::Capture,
    recorder::{Crash, Recorder},
    replay::{self, Replay},
    trace,
};
use engset_runtime::{Choice, Config, Node, Priority, RunError, Script, self_pid};
use std::{cell::Cell, panic::Location, sync::Arc, time::Duration};

/// Seeds, if nobody says how many.
const SEEDS: u64 = 100;
/// Processes that may live in a run of an exhaustive test.
const SMALL: u32 = 4096;

/// A test's conditions: how often it runs, how long it may take, what may happen in it.
///
/// ```
/// use engset_stdlib::testkit::Check;
/// use engset_runtime::{spawn, sleep};
/// use std::time::Duration;
///
/// Check::new().seeds(20).allow_crashes().no_leaks(Duration::ZERO).systematic(|| {
///     spawn(|| panic!("it may"));
///     sleep(Duration::from_secs(3600)); // of virtual time
/// });
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it runs a test"]
pub struct Check {
    config: Config,
    seeds: u64,
    first_seed: u64,
    max_time: Duration,
    max_steps: u64,
    max_schedules: u64,
    free_switches: bool,
    deadline: Duration,
    crashes: Crashes,
    dead_letters: bool,
    leaks: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Crashes {
    None,
    Any,
    Exactly(u64),
}

impl Default for Check {
    fn default() -> Self {
        Self::new()
    }
}

/// How a run goes.
enum Mode {
    Seed(u64),
    Script(Arc<Script>),
    /// By a script that the explorer chooses; it is told of all that happens.
    Guided(Arc<Script>, Arc<Explorer>),
    Threads,
}

/// What an exhaustive test has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explored {
    /// Runs, each with another schedule.
    pub schedules: u64,
    /// Runs that were given up in the middle, because another one is the same: of [`Check::interleavings`] only.
    pub abandoned: u64,
    /// All within the bound; else the limit of schedules has ended it.
    pub complete: bool,
}

impl Check {
    /// 100 seeds; no process may crash; a run ends with a failure after a day of virtual time or ten million slices.
    pub fn new() -> Self {
        Check {
            config: Config::new(),
            seeds: SEEDS,
            first_seed: 0,
            max_time: Duration::from_secs(24 * 3600),
            max_steps: 10_000_000,
            max_schedules: 1_000_000,
            free_switches: false,
            deadline: Duration::from_secs(60),
            crashes: Crashes::None,
            dead_letters: true,
            leaks: None,
        }
    }

    /// Settings of the node. Those that the kit sets itself are overwritten: seed, observer, crash reports; in exhaustive
    /// tests also the number of processes, which is small.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// So many seeds. `ENGSET_SEEDS` overrides it.
    pub fn seeds(mut self, count: u64) -> Self {
        self.seeds = count;
        self
    }

    /// Beginning with this one. Default 0. `ENGSET_SEED` overrides it.
    pub fn first_seed(mut self, seed: u64) -> Self {
        self.first_seed = seed;
        self
    }

    /// The most virtual time that a run may take: a net for tests that wait while a timer of something else fires
    /// again and again, so that there is no deadlock.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time;
        self
    }

    /// The most slices that a run may take. In exhaustive tests a slice ends at each reduction point; there the
    /// limit is 100,000 at most.
    pub fn max_steps(mut self, slices: u64) -> Self {
        self.max_steps = slices;
        self
    }

    /// The most schedules of an exhaustive test. Default: a million.
    pub fn max_schedules(mut self, schedules: u64) -> Self {
        self.max_schedules = schedules;
        self
    }

    /// In exhaustive tests only interruptions count against the bound; who goes on when a process waits or ends is tried in
    /// every way (*preemption bounding*). More schedules, by far: for programs of a dozen steps.
    pub fn free_switches(mut self) -> Self {
        self.free_switches = true;
        self
    }

    /// With threads: the most real time that a run may take. Default: a minute.
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = time;
        self
    }

    /// Any number of processes may crash (but for the test's own process).
    pub fn allow_crashes(mut self) -> Self {
        self.crashes = Crashes::Any;
        self
    }

    /// Exactly so many processes must crash, besides those that the test [expects](super::expect_crash).
    pub fn crashes(mut self, count: u64) -> Self {
        self.crashes = Crashes::Exactly(count);
        self
    }

    /// No message may find its receiver dead, besides those that the test [expects](super::expect_dead_letters).
    pub fn no_dead_letters(mut self) -> Self {
        self.dead_letters = false;
        self
    }

    /// When the test has ended and so much more virtual time has passed, no process that it has started may live. With
    /// threads: real time.
    pub fn no_leaks(mut self, grace: Duration) -> Self {
        self.leaks = Some(grace);
        self
    }

    /// Runs the test under each seed.
    ///
    /// # Panics
    ///
    /// If it fails under one, with the seed and the command that repeats it; and if a variable of the environment is no
    /// number.
    #[track_caller]
    pub fn systematic(&self, test: impl Fn() + Send + Sync + 'static) {
        if let Err(failure) = self.try_systematic(test) {
            failure.raise();
        }
    }

    /// The same with the failure as a value.
    ///
    /// # Errors
    ///
    /// The first failure.
    ///
    /// # Panics
    ///
    /// If a variable of the environment is no number.
    #[track_caller]
    pub fn try_systematic(&self, test: impl Fn() + Send + Sync + 'static) -> Result<(), Box<Failure>> {
        let (at, test): (_, Arc<dyn Fn() + Send + Sync>) = (Location::caller(), Arc::new(test));
        let (seeds, replays) = replay::seeds(self.first_seed, self.seeds);
        let capture = Capture::new();
        capture.on_this_thread(|| {
            for seed in seeds {
                self.run(Mode::Seed(seed), &test, &capture)
                    .map_err(|cause| Failure::new(cause, Replay::Seed(seed), at, replays))?;
            }
            Ok(())
        })
    }

    /// Runs the test with threads, so many times: for what the systematic mode cannot show. Time is real then, and nothing
    /// can be replayed.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn threaded(&self, rounds: u32, test: impl Fn() + Send + Sync + 'static) {
        let (at, test): (_, Arc<dyn Fn() + Send + Sync>) = (Location::caller(), Arc::new(test));
        let capture = Capture::new();
        for _ in 0..rounds {
            if let Err(cause) = self.run(Mode::Threads, &test, &capture) {
                Failure::new(cause, Replay::Nothing, at, true).raise();
            }
        }
    }

    /// Runs the test by every schedule that has at most so many deviations: see [`exhaustive`](super::exhaustive).
    ///
    /// # Panics
    ///
    /// If it fails by one, with the command that repeats it; and if there are more schedules than may be.
    #[track_caller]
    pub fn exhaustive(&self, deviations: u32, test: impl Fn() + Send + Sync + 'static) -> Explored {
        match self.try_exhaustive(deviations, test) {
            Err(failure) => failure.raise(),
            Ok(explored) if explored.complete => explored,
            Ok(explored) => panic!(
                "more than {} schedules with at most {deviations} deviations: a smaller test, or a smaller bound",
                explored.schedules
            ),
        }
    }

    /// The same with the failure as a value, and an end at [`max_schedules`](Check::max_schedules) without one.
    ///
    /// # Errors
    ///
    /// The first failure.
    ///
    /// # Panics
    ///
    /// If `ENGSET_SCHEDULE` is no schedule.
    #[track_caller]
    pub fn try_exhaustive(
        &self,
        deviations: u32,
        test: impl Fn() + Send + Sync + 'static,
    ) -> Result<Explored, Box<Failure>> {
        let (at, test): (_, Arc<dyn Fn() + Send + Sync>) = (Location::caller(), Arc::new(test));
        let capture = Capture::new();
        let given = replay::schedule();
        let replays = given.is_some();
        capture.on_this_thread(|| {
            let mut plan = given.unwrap_or_default();
            let mut schedules = 0;
            loop {
                let bound = deviations;
                let script = Script::new(plan, bound, self.free_switches);
                let result = self.run(Mode::Script(Arc::clone(&script)), &test, &capture);
                let made = script.made();
                let taken: Vec<u32> = made.iter().map(|choice| choice.taken).collect();
                let schedule = Replay::Schedule(replay::abridged(&taken));
                result.map_err(|cause| Failure::new(cause, schedule.clone(), at, replays))?;
                if script.diverged() {
                    return Err(Failure::new((Cause::Diverged, String::new()), schedule, at, replays));
                }
                schedules += 1;
                let next = if replays { None } else { following(made) };
                match next {
                    None => return Ok(Explored { schedules, abandoned: 0, complete: true }),
                    Some(_) if schedules >= self.max_schedules => {
                        return Ok(Explored { schedules, abandoned: 0, complete: false });
                    }
                    Some(next) => plan = next,
                }
            }
        })
    }

    /// Runs the test by all interleavings whose order matters: see [`interleavings`](super::interleavings).
    ///
    /// # Panics
    ///
    /// If it fails by one, with the command that repeats it; and if there are more schedules than may be.
    #[track_caller]
    pub fn interleavings(&self, test: impl Fn() + Send + Sync + 'static) -> Explored {
        match self.try_interleavings(test) {
            Err(failure) => failure.raise(),
            Ok(explored) if explored.complete => explored,
            Ok(explored) => panic!("more than {} schedules: a smaller test", explored.schedules),
        }
    }

    /// The same with the failure as a value, and an end at [`max_schedules`](Check::max_schedules) without one.
    ///
    /// # Errors
    ///
    /// The first failure.
    ///
    /// # Panics
    ///
    /// If `ENGSET_SCHEDULE` is no schedule.
    #[track_caller]
    pub fn try_interleavings(
        &self,
        test: impl Fn() + Send + Sync + 'static,
    ) -> Result<Explored, Box<Failure>> {
        if replay::schedule().is_some() {
            // No bound, and only this one.
            let all = Check { free_switches: true, ..self.clone() };
            return all.try_exhaustive(u32::MAX, test);
        }
        let (at, test): (_, Arc<dyn Fn() + Send + Sync>) = (Location::caller(), Arc::new(test));
        let capture = Capture::new();
        let explorer = Arc::new(Explorer::default());
        capture.on_this_thread(|| {
            let (mut schedules, mut abandoned) = (0, 0);
            loop {
                let script = Script::guided(Arc::clone(&explorer) as _);
                explorer.begin();
                let mode = Mode::Guided(Arc::clone(&script), Arc::clone(&explorer));
                let result = self.run(mode, &test, &capture);
                let taken: Vec<u32> = script.made().iter().map(|choice| choice.taken).collect();
                let schedule = Replay::Schedule(replay::abridged(&taken));
                if explorer.is_abandoned() {
                    abandoned += 1;
                } else {
                    result.map_err(|cause| Failure::new(cause, schedule.clone(), at, false))?;
                    schedules += 1;
                }
                if explorer.has_diverged() {
                    return Err(Failure::new((Cause::Diverged, String::new()), schedule, at, false));
                }
                if !explorer.advance() {
                    return Ok(Explored { schedules, abandoned, complete: true });
                }
                if schedules + abandoned >= self.max_schedules {
                    return Ok(Explored { schedules, abandoned, complete: false });
                }
            }
        })
    }

    fn run(
        &self,
        mode: Mode,
        test: &Arc<dyn Fn() + Send + Sync>,
        capture: &Capture,
    ) -> Result<(), (Cause, String)> {
        let mut config = self.config.clone().crash_reports_per_second(0_u32);
        let mut max_steps = self.max_steps;
        let seed = match &mode {
            Mode::Seed(seed) => *seed,
            Mode::Script(_) | Mode::Guided(..) | Mode::Threads => 0,
        };
        config = match &mode {
            Mode::Seed(seed) => config.seed(*seed),
            Mode::Script(script) | Mode::Guided(script, _) => {
                max_steps = max_steps.min(100_000);
                config.max_processes(SMALL).script(Arc::clone(script))
            }
            Mode::Threads => config,
        };
        let explorer = match &mode {
            Mode::Guided(_, explorer) => Some(Arc::clone(explorer)),
            Mode::Seed(_) | Mode::Script(_) | Mode::Threads => None,
        };
        let recorder = Recorder::new(seed, explorer.clone());
        capture.begin();
        let node = Node::start(config.observer(Arc::clone(&recorder) as _))
            .map_err(|error| (Cause::Start(error.to_string()), String::new()))?;
        let (body, watcher) = (Arc::clone(test), Arc::clone(&recorder));
        let spawned = node.spawn(move || {
            watcher.begin(self_pid());
            body();
        });
        let result = match spawned {
            Err(error) => Err(Cause::Start(error.to_string())),
            Ok(_) => match &mode {
                Mode::Threads => self.wait(&node, &recorder),
                Mode::Seed(_) | Mode::Script(_) | Mode::Guided(..) => {
                    self.drive(&node, &recorder, max_steps, explorer.as_deref())
                }
            },
        };
        if let Mode::Script(script) | Mode::Guided(script, _) = &mode {
            script.close();
        }
        if let Some(explorer) = &explorer {
            explorer.close();
            if explorer.is_abandoned() {
                let _ = node.stop();
                return Ok(());
            }
        }
        let result = result.and_then(|()| self.judge(&node, &recorder, &mode));
        // What cannot be stopped is in a native loop, and left to itself.
        let _ = node.stop();
        result.map_err(|cause| {
            let notes = recorder.notes();
            let crashes: Vec<Crash> = notes.crashes.iter().map(|(_, crash)| crash.clone()).collect();
            (cause.with(crashes), trace::text(&notes))
        })
    }

    /// Systematic mode: until the test has ended.
    fn drive(
        &self,
        node: &Node,
        recorder: &Recorder,
        max_steps: u64,
        explorer: Option<&Explorer>,
    ) -> Result<(), Cause> {
        let steps = Cell::new(0);
        let end = Cell::new(None);
        let is_over_the_limit = || steps.get() > max_steps || node.uptime() > self.max_time;
        let is_over = || match explorer {
            None => recorder.is_over(),
            // What others can still do at that time belongs to it: whether one crashes must not depend on which of all equal
            // schedules was tried.
            Some(explorer) => {
                if recorder.is_over() && end.get().is_none() {
                    end.set(Some(node.uptime()));
                }
                explorer.is_abandoned() || end.get().is_some_and(|end| node.uptime() > end)
            }
        };
        let done = || {
            steps.set(steps.get() + 1);
            is_over() || is_over_the_limit()
        };
        let ran = node.run_until(done);
        if recorder.is_over() {
            return Ok(());
        }
        match ran {
            Err(RunError::Deadlock(_)) => Err(Cause::Deadlock(waiting(node, recorder))),
            Err(error) => Err(Cause::Start(error.to_string())),
            Ok(()) if steps.get() > max_steps => Err(Cause::Steps(max_steps, waiting(node, recorder))),
            Ok(()) => Err(Cause::Time(self.max_time, waiting(node, recorder))),
        }
    }

    /// The same with threads.
    fn wait(&self, node: &Node, recorder: &Recorder) -> Result<(), Cause> {
        if recorder.wait(self.deadline) {
            return Ok(());
        }
        Err(Cause::Time(self.deadline, waiting(node, recorder)))
    }

    /// After the end of the test.
    fn judge(&self, node: &Node, recorder: &Recorder, mode: &Mode) -> Result<(), Cause> {
        let end = recorder.notes().first_end.clone();
        match end {
            Some(reason) if reason.is_normal() => {}
            Some(reason) => return Err(Cause::Test(reason)),
            None => return Err(Cause::Start("the test has not run".to_owned())),
        }
        let leaked = self.leaks.map(|grace| leaks(node, recorder, mode, grace)).unwrap_or_default();
        self.judge_crashes(recorder)?;
        if leaked.is_empty() { Ok(()) } else { Err(Cause::Leaks(leaked)) }
    }

    /// The first of the seeds, and how many.
    pub(super) fn seed_range(&self) -> (u64, u64) {
        (self.first_seed, self.seeds)
    }

    /// Crashes and dead letters.
    pub(super) fn judge_crashes(&self, recorder: &Recorder) -> Result<(), Cause> {
        let notes = recorder.notes();
        let (crashed, dead) = (notes.crashes.len() as u64, notes.dead_letters.clone());
        drop(notes);
        match self.crashes {
            Crashes::None if crashed > 0 => return Err(Cause::Crashes(0)),
            Crashes::Exactly(count) if crashed != count => return Err(Cause::Crashes(count)),
            Crashes::None | Crashes::Any | Crashes::Exactly(_) => {}
        }
        if !self.dead_letters && !dead.is_empty() {
            return Err(Cause::DeadLetters(
                dead.into_iter().map(|(_, message)| trace::short(message)).collect(),
            ));
        }
        Ok(())
    }
}

/// The schedule after this one, depth first: the last choice that has another alternative takes it.
fn following(mut made: Vec<Choice>) -> Option<Vec<u32>> {
    while let Some(last) = made.last_mut() {
        if last.taken + 1 < last.among {
            last.taken += 1;
            return Some(made.into_iter().map(|choice| choice.taken).collect());
        }
        made.pop();
    }
    None
}

/// Lets the node go on for this time, and tells who lives then.
fn leaks(node: &Node, recorder: &Recorder, mode: &Mode, grace: Duration) -> Vec<Waiting> {
    match mode {
        Mode::Threads => {
            // A tenth of a second for what ends by itself, whatever the grace.
            let pause = Duration::from_millis(1);
            let rounds = grace.max(Duration::from_millis(100)).as_millis();
            for _ in 0..rounds {
                if waiting(node, recorder).is_empty() {
                    break;
                }
                #[allow(clippy::disallowed_methods, reason = "a thread that is no process waits here")]
                std::thread::sleep(pause);
            }
        }
        Mode::Seed(_) | Mode::Script(_) | Mode::Guided(..) => {
            // A process of the lowest priority ends the grace: all that can be done at its last moment has been done.
            let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let mark = Arc::clone(&over);
            let watcher = engset_runtime::Builder::new().priority(Priority::Low).spawn_on(node, move || {
                engset_runtime::sleep(grace + Duration::from_nanos(1));
                mark.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            if let Ok(watcher) = watcher {
                recorder.own(watcher, "leak watch".to_owned());
            }
            // It ends anyway: by the watcher, or because nothing can happen.
            let _ = node.run_until(|| over.load(std::sync::atomic::Ordering::Relaxed));
        }
    }
    waiting(node, recorder)
}

/// The test's processes that live, and what is known of each.
fn waiting(node: &Node, recorder: &Recorder) -> Vec<Waiting> {
    let notes = recorder.notes();
    let is_the_library_s = |name: &String| name.starts_with("engset.");
    let mut alive: Vec<_> = notes
        .alive
        .iter()
        .filter(|pid| !notes.own.contains(*pid) && !notes.names.get(*pid).is_some_and(is_the_library_s))
        .copied()
        .collect();
    alive.sort_unstable();
    alive
        .into_iter()
        .map(|pid| Waiting {
            process: trace::label(pid, notes.names.get(&pid).map(String::as_str)),
            messages: node.mailbox_len(pid).unwrap_or(0),
            last: trace::last_of(pid, &notes),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_follow_each_other_depth_first_and_none_is_left_out() {
        // Each run: a choice of two, then, after 1, a choice of three.
        let run = |plan: &[u32]| {
            let first = plan.first().copied().unwrap_or(0);
            let mut made = vec![Choice { taken: first, among: 2 }];
            if first == 1 {
                made.push(Choice { taken: plan.get(1).copied().unwrap_or(0), among: 3 });
            }
            made
        };
        let mut seen = Vec::new();
        let mut plan = Some(Vec::new());
        while let Some(this) = plan {
            let made = run(&this);
            seen.push(made.iter().map(|choice| choice.taken).collect::<Vec<_>>());
            plan = following(made);
        }
        assert_eq!(seen, [vec![0], vec![1, 0], vec![1, 1], vec![1, 2]]);
    }
}
