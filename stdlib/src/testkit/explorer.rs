//! All interleavings that matter: partial-order reduction for the exploring of schedules.
//!
//! Two steps of different processes are *independent* if neither touches what the other touches; then their order
//! does not matter, and one order of them stands for both. A step is what a process does from one reduction point to the next. What it
//! touches, its *footprint*, the observer tells: mailboxes that it sends to or takes from, processes that it sends other signals to, the place
//! for the answer of a call, names, tables, the list of processes (by a spawn or an end), and what the program says by
//! [`touch`](engset_runtime::observe::touch). A look into an empty mailbox before a wait is nothing: a receive begins with a reduction point, so the
//! step has done nothing else, and the process looks again when it is woken. A look that ends in `None` is something.
//!
//! 1. **Races** (C. Flanagan, P. Godefroid, *Dynamic partial-order reduction for model checking software*, 2005). After a run, for each pair of
//!    dependent steps between which nothing else decides the order, the later process is noted as an alternative at the
//!    place of the earlier step; if it could not run there, one that leads to it.
//! 2. **Sleep sets** (P. Godefroid, 1996). What has been tried at a place is not tried again below it until something dependent has
//!    happened. A run in which only sleeping processes could go on is given up: another one has been, or will be, the same.
//! 3. Timers fire when nothing can run, in every schedule. So steps at different times have no other order.
//! 4. Who was not among those who could run, at the place of the earlier step, has been woken by it or since; nothing is to be noted if all that
//!    led to it came from that step.
//!
//! The stack of places is kept from run to run; a run follows it to its end and goes on by the first alternative that does
//! not sleep.

use engset_runtime::{
    Guide, TaskId,
    observe::{MISSED, Parcel, Seen},
};
use hashbrown::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a step touches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Object {
    /// A process: each of its steps, and signals for it, which may act in any of them.
    Process(TaskId),
    /// Its mailbox.
    Mailbox(TaskId),
    /// The place for the answer to its call.
    Answer(TaskId),
    /// The list of processes. (To which place of it an end gives back makes no difference but to the numbers in pids.)
    Processes,
    /// Something with a name: names, tables, what the program says.
    Shared(Box<str>),
}

type Footprint = HashSet<Object>;

/// All that belongs to a process.
fn all_of(task: TaskId) -> [Object; 3] {
    [Object::Process(task), Object::Mailbox(task), Object::Answer(task)]
}

fn dependent(one: &Footprint, other: &Footprint) -> bool {
    let (small, large) = if one.len() < other.len() { (one, other) } else { (other, one) };
    small.iter().any(|object| large.contains(object))
}

/// A place in a run: who could go on, who did, and what it touched.
#[derive(Debug)]
struct Place {
    among: Vec<TaskId>,
    taken: TaskId,
    time: u64,
    footprint: Footprint,
    /// To be tried here.
    todo: Vec<TaskId>,
    /// Tried here, with what that step touched.
    done: Vec<(TaskId, Footprint)>,
    /// Need not be tried here.
    sleep: Vec<(TaskId, Footprint)>,
}

impl Place {
    /// Who sleeps after the step that was taken here.
    fn sleep_below(&self) -> Vec<(TaskId, Footprint)> {
        let asleep = self.sleep.iter().chain(&self.done);
        asleep
            .filter(|(task, step)| *task != self.taken && !dependent(step, &self.footprint))
            .cloned()
            .collect()
    }

    fn sleeps(&self, task: TaskId) -> bool {
        self.sleep.iter().any(|(asleep, _)| *asleep == task)
    }

    fn is_known(&self, task: TaskId) -> bool {
        self.taken == task || self.todo.contains(&task) || self.done.iter().any(|(done, _)| *done == task)
    }
}

#[derive(Debug, Default)]
struct State {
    places: Vec<Place>,
    depth: usize,
    /// The end of the stack that this run follows.
    known: usize,
    named: HashSet<TaskId>,
    /// No more steps are noted.
    closed: bool,
    abandoned: bool,
    diverged: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Explorer {
    state: Mutex<State>,
}

impl Explorer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.known = state.places.len();
        state.depth = 0;
        state.named.clear();
        (state.closed, state.abandoned) = (false, false);
    }

    /// What follows is no part of what is explored.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// Was the run given up (rule 2)?
    pub(super) fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Did the program do something else though its choices were the same?
    pub(super) fn has_diverged(&self) -> bool {
        let state = self.state();
        state.diverged || state.depth < state.known
    }

    /// After a run: the alternatives it shows, and the stack for the next one. False: there is none.
    pub(super) fn advance(&self) -> bool {
        let mut state = self.state();
        note_races(&mut state.places);
        while let Some(place) = state.places.last_mut() {
            let footprint = std::mem::take(&mut place.footprint);
            place.done.push((place.taken, footprint));
            let tried = |task: &TaskId| place.done.iter().any(|(done, _)| done == task);
            let next = place.todo.iter().copied().find(|task| !tried(task) && !place.sleeps(*task));
            if let Some(next) = next {
                place.taken = next;
                return true;
            }
            state.places.pop();
        }
        false
    }

    /// What the observer is told belongs to the step that runs.
    pub(super) fn observe(&self, seen: &Seen<'_>) {
        let mut state = self.state();
        if state.closed || state.abandoned || state.depth == 0 {
            return;
        }
        let mut touched = Vec::new();
        match seen {
            Seen::Spawned { pid, .. } => {
                touched.push(Object::Processes);
                touched.extend(all_of(pid.task()));
            }
            Seen::Named { pid, .. } => {
                state.named.insert(pid.task());
                touched.push(Object::Shared("engset.names".into()));
            }
            Seen::Sent { to, what, .. } => match what {
                Parcel::Reply => touched.push(Object::Answer(to.task())),
                Parcel::Message(_) => touched.push(Object::Mailbox(to.task())),
                // It has its place in the order of the mailbox, and acts whatever the process does.
                _ => touched.extend([Object::Process(to.task()), Object::Mailbox(to.task())]),
            },
            Seen::Received { pid, what: Parcel::Reply } => touched.push(Object::Answer(pid.task())),
            Seen::Received { pid, .. } | Seen::Touched { by: Some(pid), object: MISSED } => {
                touched.push(Object::Mailbox(pid.task()));
            }
            Seen::Ended { pid, .. } => {
                touched.extend(all_of(pid.task()));
                if state.named.contains(&pid.task()) {
                    touched.push(Object::Shared("engset.names".into()));
                }
            }
            Seen::Touched { object, .. } => touched.push(Object::Shared((*object).into())),
            _ => {}
        }
        let at = state.depth - 1;
        if let Some(place) = state.places.get_mut(at) {
            place.footprint.extend(touched);
        }
    }
}

impl Guide for Explorer {
    fn choose(&self, among: &[TaskId], now: u64) -> usize {
        let mut state = self.state();
        if state.closed || state.abandoned {
            return 0;
        }
        let depth = state.depth;
        let index = |task: TaskId| among.iter().position(|other| *other == task);
        if depth < state.known {
            state.depth += 1;
            let place = &mut state.places[depth];
            place.footprint = HashSet::from([Object::Process(place.taken)]);
            place.time = now;
            let (same, at) = (place.among == among, index(place.taken));
            state.diverged |= !same;
            return at.unwrap_or(0);
        }
        let sleep = state.places.last().map(Place::sleep_below).unwrap_or_default();
        let awake = among.iter().copied().find(|task| !sleep.iter().any(|(asleep, _)| asleep == task));
        let Some(taken) = awake else {
            state.abandoned = true;
            return 0;
        };
        state.depth += 1;
        state.places.push(Place {
            among: among.to_vec(),
            taken,
            time: now,
            footprint: HashSet::from([Object::Process(taken)]),
            todo: Vec::new(),
            done: Vec::new(),
            sleep,
        });
        index(taken).unwrap_or(0)
    }
}

/// Rule 1.
fn note_races(places: &mut [Place]) {
    // Of each step: what must come before it.
    let mut before: Vec<Vec<bool>> = Vec::with_capacity(places.len());
    for later in 0..places.len() {
        let mut causes = vec![false; later];
        let mut races = Vec::new();
        for earlier in (0..later).rev() {
            if places[earlier].time != places[later].time {
                // Rule 3: this one and all before it.
                causes[..=earlier].fill(true);
                break;
            }
            if causes[earlier] {
                continue;
            }
            let same = places[earlier].taken == places[later].taken;
            if same || dependent(&places[earlier].footprint, &places[later].footprint) {
                if !same {
                    races.push(earlier);
                }
                causes[earlier] = true;
                for (cause, is_one) in before[earlier].iter().enumerate() {
                    causes[cause] |= *is_one;
                }
            }
        }
        for earlier in races {
            let wanted = places[later].taken;
            let alternative = if places[earlier].among.contains(&wanted) {
                Some(wanted)
            } else {
                // One that leads to it (rule 4).
                (earlier + 1..later)
                    .filter(|step| causes[*step] && !before[*step][earlier])
                    .map(|step| places[step].taken)
                    .find(|task| places[earlier].among.contains(task))
            };
            if let Some(alternative) = alternative
                && !places[earlier].is_known(alternative)
            {
                places[earlier].todo.push(alternative);
            }
        }
        before.push(causes);
    }
}
