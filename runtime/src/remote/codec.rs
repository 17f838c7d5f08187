//! How messages of a type are encoded, found by the type or by its name.
//!
//! 1. A codec is registered when an address of the type is encoded or decoded, or by [`register`]; it stays for ever.
//! 2. The bytes are MessagePack, structs by position. They mean something only together with the type's [`fingerprint`]: the distribution
//!    compares those before it takes a message.
//! 3. A [`Reply`](crate::Reply) in a message that is encoded *leaves* it: the decoded one has to be used, and this one is spent. Who encodes
//!    notes the calls, so that their answers can be decoded when they come.

use super::{PendingCall, schema};
use crate::{call::Answer, pid::Pid};
use engset_scheduler::{Envelope, TaskId, current};
use hashbrown::HashMap;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::TypeId,
    borrow::Cow,
    cell::{Cell, RefCell},
    fmt,
    sync::{PoisonError, RwLock},
};

/// A type of messages that can go to other nodes.
///
/// The name has to be the same in all programs of a cluster, and another one for each type. What the type looks like is found out by
/// itself, and compared; two nodes whose types of one name look different do not misunderstand each other, they refuse.
///
/// ```
/// use engset_runtime::{Reply, remote::Remote};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum Request {
///     Double(u32, Reply<u32>),
/// }
///
/// impl Remote for Request {
///     const NAME: &'static str = "doubler.Request";
/// }
/// ```
pub trait Remote: Serialize + DeserializeOwned + Send + 'static {
    /// The name.
    const NAME: &'static str;

    /// The name of a generic type, which depends on its parameters. By default [`Remote::NAME`].
    #[must_use]
    fn name() -> Cow<'static, str> {
        Cow::Borrowed(Self::NAME)
    }
}

macro_rules! plain {
    ($($type:ty),*) => { $(impl Remote for $type { const NAME: &'static str = stringify!($type); })* };
}

plain!((), bool, char, u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, String, Vec<u8>);

/// A call whose `Reply` was encoded.
pub(crate) type Noted = PendingCall;

/// Decodes the answer to a call.
pub(crate) type DecodeAnswer = fn(u64, &[u8]) -> Result<Envelope, String>;

/// How messages of a type are encoded and decoded.
pub struct Codec {
    name: &'static str,
    type_id: TypeId,
    fingerprint: u64,
    encode: fn(&Envelope) -> Result<Vec<u8>, String>,
    decode: fn(&[u8]) -> Result<Envelope, String>,
}

impl Codec {
    /// The type's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it looks like.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn type_id(&self) -> TypeId {
        self.type_id
    }

    /// Decodes a message. The bytes must have been looked at: nesting is not limited here.
    pub(crate) fn decode(&self, body: &[u8]) -> Result<Envelope, String> {
        (self.decode)(body)
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codec({} {:016x})", self.name, self.fingerprint)
    }
}

type EncodeAnswer = fn(&Envelope) -> Result<(u64, Vec<u8>), (u64, String)>;

#[derive(Default)]
struct Registry {
    by_type: HashMap<TypeId, &'static Codec>,
    by_name: HashMap<&'static str, &'static Codec>,
    answers: HashMap<TypeId, EncodeAnswer>,
}

static REGISTRY: RwLock<Option<Registry>> = RwLock::new(None);

fn read<R>(f: impl FnOnce(&Registry) -> Option<R>) -> Option<R> {
    f(REGISTRY.read().unwrap_or_else(PoisonError::into_inner).as_ref()?)
}

fn write<R>(f: impl FnOnce(&mut Registry) -> R) -> R {
    f(REGISTRY.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Makes a type known to this program: names of it are found from other nodes, and its messages are understood. Addresses that are
/// sent or received do it by themselves.
///
/// # Panics
///
/// If another type has the name.
pub fn register<M: Remote>() -> &'static Codec {
    let id = TypeId::of::<M>();
    if let Some(codec) = read(|registry| registry.by_type.get(&id).copied()) {
        return codec;
    }
    let fingerprint = schema::fingerprint::<M>();
    let codec = write(|registry| {
        if let Some(codec) = registry.by_type.get(&id) {
            return Ok(*codec);
        }
        let name = M::name();
        if registry.by_name.contains_key(&*name) {
            return Err(name);
        }
        let name: &'static str = match name {
            Cow::Borrowed(name) => name,
            Cow::Owned(name) => name.leak(),
        };
        let codec: &'static Codec = Box::leak(Box::new(Codec {
            name,
            type_id: id,
            fingerprint,
            encode: |envelope| envelope.get::<M>().map_or_else(|| Err("another type".into()), bytes),
            decode: |body| Ok(Envelope::message(value::<M>(body)?)),
        }));
        registry.by_type.insert(id, codec);
        registry.by_name.insert(name, codec);
        Ok(codec)
    });
    match codec {
        Ok(codec) => codec,
        Err(name) => panic!(
            "{} is not the only type that is named \"{name}\" for other nodes",
            std::any::type_name::<M>(),
        ),
    }
}

thread_local! {
    /// The buffer of an earlier message.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Spares that are kept have at most this capacity.
const MAX_SPARE: usize = 16 * 1024;

/// Gives the buffer of a body back: the next message of this thread is encoded into it.
pub fn recycle(mut body: Vec<u8>) {
    if body.capacity() <= MAX_SPARE {
        body.clear();
        SPARE.set(body);
    }
}

fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut bytes = SPARE.take();
    bytes.reserve(64);
    rmp_serde::encode::write(&mut bytes, value).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn value<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(body).map_err(|error| error.to_string())
}

/// The registered type of this name.
#[must_use]
pub fn codec_by_name(name: &str) -> Option<&'static Codec> {
    read(|registry| registry.by_name.get(name).copied())
}

pub(crate) fn of_message(envelope: &Envelope) -> Option<&'static Codec> {
    of_type(envelope.type_id())
}

pub(crate) fn of_type(id: TypeId) -> Option<&'static Codec> {
    read(|registry| registry.by_type.get(&id).copied())
}

/// Answers of type `T` can go to other nodes from now on.
pub(crate) fn register_answer<T: Serialize + Send + 'static>() {
    let id = TypeId::of::<Answer<T>>();
    if read(|registry| registry.answers.contains_key(&id).then_some(())).is_none() {
        let encode: EncodeAnswer = |envelope| {
            let Some(answer) = envelope.get::<Answer<T>>() else { return Err((0, "another type".into())) };
            match bytes(&answer.value) {
                Ok(bytes) => Ok((answer.reference, bytes)),
                Err(error) => Err((answer.reference, error)),
            }
        };
        write(|registry| registry.answers.insert(id, encode));
    }
}

/// Those that the runtime itself gives.
pub(crate) fn register_answers() {
    register_answer::<Box<crate::ProcessInfo>>();
}

pub(crate) fn encode_answer(envelope: &Envelope) -> Result<(u64, Vec<u8>), (Option<u64>, String)> {
    let encode = read(|registry| registry.answers.get(&envelope.type_id()).copied());
    let Some(encode) = encode else { return Err((None, "its type is not registered".into())) };
    // A `Reply` in an answer would need a message to note its call.
    let (result, calls) = noting(|| encode(envelope));
    calls.into_iter().for_each(|call| call.broken(None));
    result.map_err(|(reference, error)| (Some(reference), error))
}

pub(crate) fn decode_answer<T: DeserializeOwned + Send + 'static>(
    reference: u64,
    body: &[u8],
) -> Result<Envelope, String> {
    Ok(crate::call::seal(reference, value::<T>(body)?))
}

/// Encodes a message; and the calls in it, also if it fails.
pub(crate) fn encode(codec: &Codec, envelope: &Envelope) -> (Result<Vec<u8>, String>, Vec<Noted>) {
    noting(|| (codec.encode)(envelope))
}

/// Messages that are being encoded now, by who encodes them: code of users runs in the middle, and may let other processes run.
struct Encoding {
    by: Option<TaskId>,
    calls: Vec<Noted>,
}

thread_local! {
    static ENCODING: RefCell<Vec<Encoding>> = const { RefCell::new(Vec::new()) };
}

fn noting<R>(encode: impl FnOnce() -> R) -> (R, Vec<Noted>) {
    struct Entry(Option<TaskId>);
    impl Entry {
        fn close(&self) -> Vec<Noted> {
            ENCODING.with_borrow_mut(|all| {
                let at = all.iter().rposition(|encoding| encoding.by == self.0);
                at.map_or_else(Vec::new, |at| all.remove(at).calls)
            })
        }
    }
    impl Drop for Entry {
        fn drop(&mut self) {
            if std::thread::panicking() {
                drop(self.close());
            }
        }
    }
    let by = current::task();
    ENCODING.with_borrow_mut(|all| all.push(Encoding { by, calls: Vec::new() }));
    let entry = Entry(by);
    let result = encode();
    (result, entry.close())
}

/// A `Reply` of a local caller is being encoded. False: not for another node.
pub(crate) fn note(caller: Pid, reference: u64, decode: DecodeAnswer) -> bool {
    let by = current::task();
    ENCODING.with_borrow_mut(|all| {
        let found = all.iter_mut().rev().find(|encoding| encoding.by == by);
        found.map(|encoding| encoding.calls.push(PendingCall { caller, reference, decode })).is_some()
    })
}
