//! How addresses and their kin look when they travel.
//!
//! | value | as |
//! |---|---|
//! | [`Pid`] | name of its node, incarnation, index, serial number |
//! | [`Address`], [`Alias`] | the pid (and the alias) |
//! | [`Reply`] | the caller's pid, the call |
//!
//! They are decoded on a worker of the node that they come to, which must have joined; a pid of that node becomes a local one again.

use super::{codec, identity, node_id, pid};
use crate::{Address, Alias, NodeId, Reply, call, node::with_current, pid::Pid};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, Error as _, SeqAccess, Visitor},
    ser::{Error as _, SerializeTupleStruct},
};
use std::{fmt, marker::PhantomData, ops::Deref};

impl Serialize for Pid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((name, creation)) = identity(self.node()) else {
            return Err(S::Error::custom(format_args!("the node of {self} has no name for others")));
        };
        let (index, serial) = self.parts();
        let mut fields = serializer.serialize_tuple_struct("engset::Pid", 4)?;
        fields.serialize_field(&*name)?;
        fields.serialize_field(&creation)?;
        fields.serialize_field(&index)?;
        fields.serialize_field(&serial)?;
        fields.end()
    }
}

fn field<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A, at: usize) -> Result<T, A::Error> {
    fields.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &"all fields"))
}

/// For the probe of `schema.rs`, which has no names.
fn nobody() -> Pid {
    pid(NodeId::NONE, 0, 0)
}

impl<'de> Deserialize<'de> for Pid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Pid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pid")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Pid, A::Error> {
                let name: String = field(&mut fields, 0)?;
                let creation = field(&mut fields, 1)?;
                let index = field(&mut fields, 2)?;
                let serial = field(&mut fields, 3)?;
                if name.is_empty() {
                    return Ok(nobody());
                }
                let home = with_current(|node| node.id);
                match home.and_then(|home| node_id(home, &name, creation)) {
                    Some(node) => Ok(pid(node, index, serial)),
                    None => Err(A::Error::custom("a pid is decoded outside of a node that others know")),
                }
            }
        }
        deserializer.deserialize_tuple_struct("engset::Pid", 4, Fields)
    }
}

/// Decodes something that leads to a process which takes messages of type `M`: that type's name is a part of what it looks like.
fn leads_to<'de, M: super::Remote, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    struct Inner<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Inner<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address")
        }

        fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
            T::deserialize(deserializer)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<T, A::Error> {
            field(&mut fields, 0)
        }
    }
    deserializer.deserialize_newtype_struct(M::NAME, Inner(PhantomData))
}

impl<M: super::Remote> Serialize for Address<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::register::<M>();
        serializer.serialize_newtype_struct(M::NAME, &self.pid())
    }
}

impl<'de, M: super::Remote> Deserialize<'de> for Address<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pid: Pid = leads_to::<M, _, _>(deserializer)?;
        if pid != nobody() {
            codec::register::<M>();
        }
        Ok(Address::new(pid))
    }
}

impl<M: super::Remote> Serialize for Alias<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        codec::register::<M>();
        serializer.serialize_newtype_struct(M::NAME, &self.parts())
    }
}

impl<'de, M: super::Remote> Deserialize<'de> for Alias<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (pid, id): (Pid, u64) = leads_to::<M, _, _>(deserializer)?;
        if pid != nobody() {
            codec::register::<M>();
        }
        Ok(Alias::from_parts(pid, id))
    }
}

/// The right to answer moves: the one that was serialised is spent, and its drop tells nobody anything.
impl<T: Serialize + DeserializeOwned + Send + 'static> Serialize for Reply<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((caller, reference)) = self.spend() else {
            return Err(S::Error::custom("a Reply was serialised twice"));
        };
        let is_local = with_current(|node| node.id) == Some(caller.node()) || caller.node().is_here();
        let noted = !is_local || codec::note(caller, reference, codec::decode_answer::<T>);
        let result = serializer.serialize_tuple_struct("engset::Reply", 3).and_then(|mut fields| {
            fields.serialize_field(&caller)?;
            fields.serialize_field(&reference)?;
            // Its place is there so that the answer's type is a part of what the message looks like.
            fields.serialize_field(&None::<T>)?;
            fields.end()
        });
        match result {
            Ok(ok) if noted => Ok(ok),
            Ok(_) => {
                call::break_off(caller, call::Broken::no_reply(reference));
                Err(S::Error::custom("a Reply was serialised, but not for another node"))
            }
            Err(error) => {
                if !is_local {
                    call::break_off(caller, call::Broken::no_reply(reference));
                }
                Err(error)
            }
        }
    }
}

impl<'de, T: Serialize + DeserializeOwned + Send + 'static> Deserialize<'de> for Reply<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Serialize + DeserializeOwned + Send + 'static> Visitor<'de> for Fields<T> {
            type Value = Reply<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reply")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Reply<T>, A::Error> {
                let caller: Pid = field(&mut fields, 0)?;
                let reference: u64 = field(&mut fields, 1)?;
                let _: Option<T> = field(&mut fields, 2)?;
                codec::register_answer::<T>();
                // In the probe it is spent from the start.
                let reference = if caller == nobody() { 0 } else { reference };
                Ok(Reply::from_parts(caller, reference))
            }
        }
        deserializer.deserialize_tuple_struct("engset::Reply", 3, Fields(PhantomData))
    }
}

/// Bytes that are written as they are. (A `Vec<u8>` is a list of numbers, written one by one.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl super::Remote for Bytes {
    const NAME: &'static str = "engset::Bytes";
}

impl Deref for Bytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Raw)
    }
}

/// Something in a message that cannot go to another node: a message that has one goes to processes of its own node only. To send
/// it elsewhere is an error that is reported; the message is dropped.
///
/// ```
/// use engset_runtime::{Address, remote::{Local, Remote}};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum Job {
///     Here(Local<std::sync::mpsc::Sender<u32>>),
///     Anywhere(u32),
/// }
///
/// impl Remote for Job {
///     const NAME: &'static str = "job";
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Local<T>(pub T);

impl<T> Deref for Local<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Serialize for Local<T> {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(format_args!(
            "a Local<{}> cannot go to another node",
            std::any::type_name::<T>()
        )))
    }
}

impl<'de, T> Deserialize<'de> for Local<T> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("a Local cannot come from another node"))
    }
}
