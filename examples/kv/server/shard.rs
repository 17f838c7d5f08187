//! A shard: a server that holds a part of the keys.

use engset::{Address, BuildError, Builder, Event, Flow, Received, Reply, Server, now, start_timer};
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

/// Keys whose time is over are looked for this often; who asks for one finds it gone in any case.
const SWEEP: Duration = Duration::from_secs(1);

pub type Bytes = Vec<u8>;

/// What can be asked of a shard.
pub enum Ask {
    Get(Bytes, Reply<Option<Arc<[u8]>>>),
    /// The time that it lives, if that has an end.
    Set(Bytes, Bytes, Option<Duration>, Reply<()>),
    Delete(Bytes, Reply<bool>),
    Add(Bytes, i64, Reply<Result<i64, &'static str>>),
    Expire(Bytes, Duration, Reply<bool>),
    /// `None`: there is no such key; `Some(None)`: it has no end.
    Left(Bytes, Reply<Option<Option<Duration>>>),
    Count(Reply<usize>),
}

struct Value {
    data: Arc<[u8]>,
    /// On the node's clock.
    ends: Option<Duration>,
}

impl Value {
    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= now())
    }
}

#[derive(Default)]
struct Shard {
    values: HashMap<Bytes, Value>,
}

impl Shard {
    fn find(&mut self, key: Bytes) -> Option<&mut Value> {
        match self.values.entry(key) {
            Entry::Vacant(_) => None,
            Entry::Occupied(entry) if entry.get().is_over() => {
                entry.remove();
                None
            }
            Entry::Occupied(entry) => Some(entry.into_mut()),
        }
    }

    fn add(&mut self, key: Bytes, number: i64) -> Result<i64, &'static str> {
        const NO_NUMBER: &str = "value is not an integer or out of range";
        let Some(value) = self.find(key.clone()) else {
            self.values.insert(key, Value { data: number.to_string().into_bytes().into(), ends: None });
            return Ok(number);
        };
        let before = std::str::from_utf8(&value.data).ok().and_then(|text| text.parse::<i64>().ok());
        let sum =
            before.ok_or(NO_NUMBER)?.checked_add(number).ok_or("increment or decrement would overflow")?;
        value.data = sum.to_string().into_bytes().into();
        Ok(sum)
    }
}

impl Server for Shard {
    type Message = Ask;

    fn start(&mut self, _me: Address<Ask>) -> Flow {
        start_timer(SWEEP);
        Flow::Continue
    }

    fn handle(&mut self, received: Received<Ask>) -> Flow {
        match received {
            Received::Message(Ask::Get(key, reply)) => {
                reply.send(self.find(key).map(|value| Arc::clone(&value.data)))
            }
            Received::Message(Ask::Set(key, data, time, reply)) => {
                self.values.insert(key, Value { data: data.into(), ends: time.map(|time| now() + time) });
                reply.send(());
            }
            Received::Message(Ask::Delete(key, reply)) => {
                reply.send(self.values.remove(&key).is_some_and(|value| !value.is_over()));
            }
            Received::Message(Ask::Add(key, number, reply)) => {
                let sum = self.add(key, number);
                reply.send(sum);
            }
            Received::Message(Ask::Expire(key, time, reply)) => {
                let found = self.find(key).map(|value| value.ends = Some(now() + time));
                reply.send(found.is_some());
            }
            Received::Message(Ask::Left(key, reply)) => {
                reply.send(self.find(key).map(|value| value.ends.map(|ends| ends.saturating_sub(now()))));
            }
            Received::Message(Ask::Count(reply)) => {
                self.values.retain(|_, value| !value.is_over());
                reply.send(self.values.len());
            }
            Received::Event(Event::Timer(_)) => {
                self.values.retain(|_, value| !value.is_over());
                start_timer(SWEEP);
            }
            Received::Event(_) => {}
        }
        Flow::Continue
    }
}

/// All shards. A key always belongs to the same one.
#[derive(Clone)]
pub struct Shards {
    all: Arc<[Address<Ask>]>,
    hasher: RandomState,
}

impl Shards {
    pub fn start(count: usize) -> Result<Self, BuildError> {
        let all =
            (0..count).map(|_| Builder::new().spread().serve(Shard::default())).collect::<Result<_, _>>()?;
        Ok(Shards { all, hasher: RandomState::new() })
    }

    pub fn of(&self, key: &[u8]) -> Address<Ask> {
        self.all[self.hasher.hash_one(key) as usize % self.all.len()]
    }

    pub fn all(&self) -> &[Address<Ask>] {
        &self.all
    }
}
