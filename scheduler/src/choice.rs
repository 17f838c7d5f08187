//! A script in place of a seed: which task is next, choice by choice, so that all runs can be tried one by one.
//!
//! 1. A *choice* is a moment at which more than one task could go on. Its alternatives are numbered: 0 is the task that
//!    was interrupted, if there is one, then the others by their age in the queue. So a script of zeros is a run without
//!    interruptions.
//! 2. A scripted scheduler has slices of no reductions: whatever costs one is a moment at which the task may be
//!    interrupted.
//! 3. A choice of another alternative than 0 is a *deviation*. A script has so many of them; when they are used up
//!    there is no choice any more. Either all cost (M. Emmi, S. Qadeer, Z. Rakamaric, Delay-Bounded Scheduling,
//!    2011), or only those that interrupt a task, and who runs when one waits or ends is chosen freely (M.
//!    Musuvathi, S. Qadeer, Iterative Context Bounding, 2007). The first keeps the number of runs polynomial.
//! 4. A task that gives up its turn by itself is not chosen again before the others that can run, or all of them
//!    have done the same: otherwise a loop that polls would be a run without an end.
//! 5. Timers are no choices. They fire when nothing can run, as with a seed.
//! 6. In place of a plan there can be a [`Guide`], which is asked for each slice and knows who could go on. Rules 1, 2, 4 and 5 hold for it;
//!    nothing costs.

use crate::{run_queue::Entry, sync::Mutex, sync::lock, task::TaskId};
use std::{fmt, sync::Arc};

/// What is chosen in a run, and what could have been.
#[derive(Debug)]
pub struct Script {
    state: Mutex<State>,
    guide: Option<Arc<dyn Guide>>,
}

/// One choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The alternative that was taken.
    pub taken: u32,
    /// How many there were; at least two.
    pub among: u32,
}

/// Who chooses in place of a plan (rule 6).
pub trait Guide: Send + Sync + fmt::Debug {
    /// One of these goes on, in the order of rule 1; there is at least one. `now`: nanoseconds of the virtual clock.
    fn choose(&self, among: &[TaskId], now: u64) -> usize;
}

#[derive(Debug)]
struct State {
    plan: Vec<u32>,
    made: Vec<Choice>,
    /// Left.
    deviations: u32,
    /// Only interruptions cost.
    free_switches: bool,
    diverged: bool,
    closed: bool,
}

impl Script {
    /// The first choices are those of `plan`, all others are 0. At most so many deviations (rule 3); with
    /// `free_switches` only interruptions count.
    #[must_use]
    pub fn new(plan: Vec<u32>, deviations: u32, free_switches: bool) -> Arc<Self> {
        Self::with(plan, deviations, free_switches, None)
    }

    /// No plan: the guide chooses. [`Script::made`] tells what it has chosen where there was a choice.
    #[must_use]
    pub fn guided(guide: Arc<dyn Guide>) -> Arc<Self> {
        Self::with(Vec::new(), u32::MAX, true, Some(guide))
    }

    fn with(
        plan: Vec<u32>,
        deviations: u32,
        free_switches: bool,
        guide: Option<Arc<dyn Guide>>,
    ) -> Arc<Self> {
        Arc::new(Script {
            guide,
            state: Mutex::new(State {
                plan,
                made: Vec::new(),
                deviations,
                free_switches,
                diverged: false,
                closed: false,
            }),
        })
    }

    /// The choices so far.
    #[must_use]
    pub fn made(&self) -> Vec<Choice> {
        lock(&self.state).made.clone()
    }

    /// Did the plan ask for a choice, or an alternative, that was not there? Then it was made for another program, or the program does
    /// not depend on its choices alone.
    #[must_use]
    pub fn diverged(&self) -> bool {
        let state = lock(&self.state);
        state.diverged || state.made.len() < state.plan.len()
    }

    /// What follows is no part of what is tried: no more choices.
    pub fn close(&self) {
        lock(&self.state).closed = true;
    }

    /// What a guide has chosen.
    fn follow(&self, taken: usize, among: usize) -> usize {
        let mut state = lock(&self.state);
        if among > 1 && !state.closed {
            state.made.push(Choice { taken: taken as u32, among: among as u32 });
        }
        taken.min(among - 1)
    }

    /// `interrupts`: all but 0 do.
    fn choose(&self, among: usize, interrupts: bool) -> usize {
        let mut state = lock(&self.state);
        let costs = interrupts || !state.free_switches;
        if among < 2 || state.closed || (costs && state.deviations == 0) {
            return 0;
        }
        let among = among as u32;
        let mut taken = state.plan.get(state.made.len()).copied().unwrap_or(0);
        if taken >= among {
            state.diverged = true;
            taken = 0;
        }
        state.made.push(Choice { taken, among });
        state.deviations -= u32::from(costs && taken != 0);
        taken as usize
    }
}

/// A script that a worker follows.
pub(crate) struct Scripted {
    script: Arc<Script>,
    /// They were interrupted, and nobody of their priority has run since: of each priority one at most, the urgent last.
    interrupted: Vec<Entry>,
    /// They have given up their turn, and not run since.
    yielded: Vec<Entry>,
}

impl Scripted {
    pub(crate) fn new(script: Arc<Script>) -> Self {
        Scripted { script, interrupted: Vec::new(), yielded: Vec::new() }
    }

    /// A task goes back into the queue before it is finished.
    pub(crate) fn turned_away(&mut self, entry: Entry, voluntarily: bool) {
        if voluntarily {
            self.yielded.push(entry);
        } else {
            self.interrupted.push(entry);
        }
    }

    /// One of these, which are in the order of their age in the queue. `id` and `now` are for a guide.
    pub(crate) fn choose(&mut self, candidates: &[Entry], now: u64, id: impl Fn(Entry) -> TaskId) -> usize {
        let mut eligible: Vec<usize> =
            (0..candidates.len()).filter(|at| !self.yielded.contains(&candidates[*at])).collect();
        if eligible.is_empty() {
            self.yielded.retain(|entry| !candidates.contains(entry));
            eligible = (0..candidates.len()).collect();
        }
        let is_candidate = |entry: &Entry| candidates.contains(entry);
        let latest = self.interrupted.iter().rposition(is_candidate);
        let entry = latest.map(|latest| self.interrupted[latest]);
        self.interrupted.truncate(latest.unwrap_or(self.interrupted.len()));
        let resumable = eligible.iter().position(|at| Some(candidates[*at]) == entry);
        if let Some(place) = resumable {
            eligible[..=place].rotate_right(1);
        }
        let chosen = match &self.script.guide {
            None => self.script.choose(eligible.len(), resumable.is_some()),
            Some(guide) => {
                let among: Vec<TaskId> = eligible.iter().map(|at| id(candidates[*at])).collect();
                self.script.follow(guide.choose(&among, now), among.len())
            }
        };
        let at = eligible[chosen];
        self.yielded.retain(|entry| *entry != candidates[at]);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    fn task(number: usize) -> Entry {
        ptr::without_provenance(number + 1)
    }

    fn number(entry: Entry) -> TaskId {
        TaskId::new(entry.addr() as u32, 1)
    }

    #[derive(Debug)]
    struct Last;

    impl Guide for Last {
        fn choose(&self, among: &[TaskId], _: u64) -> usize {
            among.len() - 1
        }
    }

    #[test]
    fn a_guide_is_asked_each_time_and_a_plan_of_what_it_chose_repeats_it() {
        let mut scripted = Scripted::new(Script::guided(Arc::new(Last)));
        scripted.turned_away(task(1), false);
        assert_eq!(
            scripted.choose(&[task(0), task(1)], 0, number),
            0,
            "the interrupted one is the first alternative"
        );
        assert_eq!(scripted.choose(&[task(5)], 0, number), 0);
        assert_eq!(scripted.choose(&[task(2), task(3), task(4)], 0, number), 2);
        let made = scripted.script.made();
        assert_eq!(made, [Choice { taken: 1, among: 2 }, Choice { taken: 2, among: 3 }]);
        let plan = made.iter().map(|choice| choice.taken).collect();
        let mut again = Scripted::new(Script::new(plan, u32::MAX, true));
        again.turned_away(task(1), false);
        assert_eq!(again.choose(&[task(0), task(1)], 0, number), 0);
        assert_eq!(again.choose(&[task(5)], 0, number), 0);
        assert_eq!(again.choose(&[task(2), task(3), task(4)], 0, number), 2);
    }

    #[test]
    fn zeros_go_on_with_the_interrupted_task() {
        let mut scripted = Scripted::new(Script::new(Vec::new(), 2, false));
        scripted.turned_away(task(2), false);
        assert_eq!(scripted.choose(&[task(0), task(1), task(2)], 0, number), 2);
        assert_eq!(scripted.choose(&[task(0), task(1)], 0, number), 0);
        let made = scripted.script.made();
        assert_eq!(made, [Choice { taken: 0, among: 3 }, Choice { taken: 0, among: 2 }]);
    }

    #[test]
    fn an_interruption_is_paid_for_and_without_any_left_there_is_no_choice() {
        let mut scripted = Scripted::new(Script::new(vec![1, 1], 1, true));
        scripted.turned_away(task(1), false);
        assert_eq!(scripted.choose(&[task(0), task(1)], 0, number), 0, "task 1 is preempted");
        scripted.turned_away(task(0), false);
        assert_eq!(scripted.choose(&[task(1), task(0)], 0, number), 1, "there is no preemption left");
        assert_eq!(scripted.choose(&[task(0), task(1)], 0, number), 1, "a free choice");
        assert_eq!(scripted.script.made().len(), 2);
        assert!(!scripted.script.diverged());
    }

    #[test]
    fn what_an_urgent_task_does_meanwhile_leaves_the_interrupted_one_interrupted() {
        let mut scripted = Scripted::new(Script::new(Vec::new(), 0, true));
        scripted.turned_away(task(1), false);
        assert_eq!(scripted.choose(&[task(9)], 0, number), 0, "urgent");
        scripted.turned_away(task(9), false);
        assert_eq!(scripted.choose(&[task(9)], 0, number), 0);
        assert_eq!(scripted.choose(&[task(0), task(1)], 0, number), 1);
        assert_eq!(scripted.script.made(), []);
    }

    #[test]
    fn without_free_switches_every_deviation_is_paid_for() {
        let mut scripted = Scripted::new(Script::new(vec![1], 1, false));
        assert_eq!(scripted.choose(&[task(0), task(1)], 0, number), 1);
        assert_eq!(scripted.choose(&[task(0), task(1)], 0, number), 0);
        assert_eq!(scripted.script.made().len(), 1);
    }

    #[test]
    fn who_gives_up_its_turn_waits_for_the_others() {
        let mut scripted = Scripted::new(Script::new(Vec::new(), 0, true));
        scripted.turned_away(task(0), true);
        assert_eq!(scripted.choose(&[task(1), task(0)], 0, number), 0);
        scripted.turned_away(task(1), true);
        assert_eq!(scripted.choose(&[task(0), task(1)], 0, number), 0, "both have: the oldest");
        assert_eq!(scripted.script.made().len(), 1);
    }

    #[test]
    fn a_plan_for_something_else_is_noticed() {
        let mut scripted = Scripted::new(Script::new(vec![5], 1, false));
        assert_eq!(scripted.choose(&[task(0), task(1)], 0, number), 0);
        assert!(scripted.script.diverged());
    }
}
