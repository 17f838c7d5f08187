//! What a type looks like, as a number.
//!
//! Two programs of a cluster may be of different age. Values are written by position, so bytes of a type that has got another field might be
//! read without an error, as something else. So the type is asked: it is decoded from a source that has no bytes, answers each
//! request of the type with a small value, and writes down the request: names of structs, fields and variants, in order, and types
//! of numbers. The number is a hash (FNV-1a, 64 bits) of that text.
//!
//! * The type is decoded again and again until each variant of each enum was chosen once.
//! * A type within itself is named the second time, and not looked into; the rest of that attempt is then not seen.
//! * A type with an own way of decoding (addresses of the network, times) is seen as the primitive that it asks for.

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
        VariantAccess, Visitor,
    },
};
use std::{any::type_name, collections::HashMap, fmt, fmt::Write};

/// More variants than this in one type are not all looked at.
const ATTEMPTS: u32 = 4096;

/// What a type looks like.
#[must_use]
pub fn fingerprint<T: DeserializeOwned>() -> u64 {
    let text = schema::<T>();
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn schema<T: DeserializeOwned>() -> String {
    let mut seen = Seen::default();
    for _ in 0..ATTEMPTS {
        seen.open.clear();
        seen.grew = false;
        // An error is a type within itself, or one that wants a special value: what was seen before it counts.
        drop(T::deserialize(Probe { seen: &mut seen }));
        seen.text.push('\n');
        if !seen.grew {
            break;
        }
    }
    seen.text
}

#[derive(Default)]
struct Seen {
    text: String,
    /// Variants that were chosen, by the visitor of the enum.
    enums: HashMap<&'static str, u32>,
    /// Structs and enums that are being decoded.
    open: Vec<&'static str>,
    /// An enum has variants that were not chosen.
    grew: bool,
}

struct Probe<'a> {
    seen: &'a mut Seen,
}

/// This attempt ends here.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl de::Error for Cut {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Cut
    }
}

impl Seen {
    fn say(&mut self, what: impl fmt::Display) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{what} ");
    }

    /// Looks into a type that has a name, if it is not open.
    fn within<R>(
        &mut self,
        name: &str,
        key: &'static str,
        look: impl FnOnce(&mut Self) -> Result<R, Cut>,
    ) -> Result<R, Cut> {
        self.say(name);
        if self.open.contains(&key) {
            return Err(Cut);
        }
        self.open.push(key);
        self.say("(");
        let result = look(self);
        self.say(")");
        self.open.pop();
        result
    }
}

macro_rules! primitives {
    ($($method:ident $visit:ident $value:expr;)*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
            self.seen.say(&stringify!($method)[12..]);
            visitor.$visit($value)
        }
    )* };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Cut;

    primitives! {
        deserialize_bool visit_bool false;
        deserialize_i8 visit_i8 1;
        deserialize_i16 visit_i16 1;
        deserialize_i32 visit_i32 1;
        deserialize_i64 visit_i64 1;
        deserialize_i128 visit_i128 1;
        deserialize_u8 visit_u8 1;
        deserialize_u16 visit_u16 1;
        deserialize_u32 visit_u32 1;
        deserialize_u64 visit_u64 1;
        deserialize_u128 visit_u128 1;
        deserialize_f32 visit_f32 1.0;
        deserialize_f64 visit_f64 1.0;
        deserialize_char visit_char 'a';
        deserialize_str visit_borrowed_str "";
        deserialize_string visit_borrowed_str "";
        deserialize_bytes visit_borrowed_bytes &[];
        deserialize_byte_buf visit_borrowed_bytes &[];
        deserialize_any visit_borrowed_str "";
        deserialize_identifier visit_borrowed_str "";
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        self.seen.say("unit");
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Cut> {
        self.seen.say(name);
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        self.seen.say("option");
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Cut> {
        self.seen.within(name, type_name::<V>(), |seen| visitor.visit_newtype_struct(Probe { seen }))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        self.seen.say("seq");
        visitor.visit_seq(Elements { seen: self.seen, left: 1, optional: true })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Cut> {
        self.seen.say(format_args!("tuple{len}"));
        visitor.visit_seq(Elements { seen: self.seen, left: len, optional: false })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Cut> {
        self.seen.within(name, type_name::<V>(), |seen| {
            visitor.visit_seq(Elements { seen, left: len, optional: false })
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cut> {
        self.seen.say("map");
        visitor.visit_map(Elements { seen: self.seen, left: 1, optional: true })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cut> {
        self.seen.within(name, type_name::<V>(), |seen| {
            seen.say(fields.join(","));
            visitor.visit_seq(Elements { seen, left: fields.len(), optional: false })
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cut> {
        let key = type_name::<V>();
        self.seen.within(name, key, |seen| {
            let chosen = seen.enums.entry(key).or_insert(0);
            let variant = (*chosen).min(variants.len().saturating_sub(1) as u32);
            if *chosen < variants.len() as u32 {
                *chosen += 1;
                seen.grew = true;
            }
            seen.say(variants.get(variant as usize).copied().unwrap_or("never"));
            visitor.visit_enum(Choice { seen, variant })
        })
    }

    fn is_human_readable(&self) -> bool {
        // As the decoder of messages.
        false
    }
}

struct Elements<'a> {
    seen: &'a mut Seen,
    left: usize,
    /// There may be fewer.
    optional: bool,
}

impl Elements<'_> {
    fn next<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Cut> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match seed.deserialize(Probe { seen: self.seen }) {
            Ok(value) => Ok(Some(value)),
            Err(Cut) if self.optional => Ok(None),
            Err(Cut) => Err(Cut),
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Cut;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Cut> {
        self.next(seed)
    }
}

impl<'de> MapAccess<'de> for Elements<'_> {
    type Error = Cut;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Cut> {
        self.next(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Cut> {
        seed.deserialize(Probe { seen: self.seen })
    }
}

struct Choice<'a> {
    seen: &'a mut Seen,
    variant: u32,
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = Cut;
    type Variant = Probe<'a>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Probe<'a>), Cut> {
        let variant = seed.deserialize(IntoDeserializer::<Cut>::into_deserializer(self.variant))?;
        Ok((variant, Probe { seen: self.seen }))
    }
}

impl<'de> VariantAccess<'de> for Probe<'_> {
    type Error = Cut;

    fn unit_variant(self) -> Result<(), Cut> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Cut> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Cut> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cut> {
        self.seen.say(fields.join(","));
        visitor.visit_seq(Elements { seen: self.seen, left: fields.len(), optional: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Reply, remote::Remote};
    use serde::{Deserialize, Serialize};

    macro_rules! prints {
        ($($item:item)*) => {{
            $(#[derive(Serialize, Deserialize)] #[allow(dead_code)] $item)*
            fingerprint::<T>()
        }};
    }

    #[test]
    fn each_change_that_matters_is_seen() {
        let all = [
            prints!(
                struct T {
                    a: u32,
                    b: String,
                }
            ),
            prints!(
                struct T {
                    b: String,
                    a: u32,
                }
            ),
            prints!(
                struct T {
                    a: u64,
                    b: String,
                }
            ),
            prints!(
                struct T {
                    a: u32,
                    c: String,
                }
            ),
            prints!(
                struct T {
                    a: u32,
                    b: Option<String>,
                }
            ),
            prints!(
                struct T {
                    a: u32,
                    b: Vec<String>,
                }
            ),
            prints!(
                struct T {
                    a: u32,
                    b: Vec<(String, u8)>,
                }
            ),
            prints!(
                struct T(u32, String);
            ),
            prints!(
                enum T {
                    A(u32),
                    B(u64),
                }
            ),
            prints!(
                enum T {
                    A(u32),
                    B(u32),
                }
            ),
            prints!(
                enum T {
                    A(u32),
                    B,
                }
            ),
            prints!(
                enum T {
                    A(u32),
                }
            ),
            prints!(
                enum T {
                    A { x: u32 },
                }
            ),
            prints!(
                enum T {
                    A(u32),
                    B(Inner),
                }
                struct Inner {
                    x: u8,
                }
            ),
            prints!(
                enum T {
                    A(u32),
                    B(Inner),
                }
                struct Inner {
                    x: u16,
                }
            ),
            prints!(
                enum T {
                    A(u32),
                    B(Inner),
                }
                enum Inner {
                    X(u8),
                    Y(u8),
                }
            ),
            prints!(
                enum T {
                    A(u32),
                    B(Inner),
                }
                enum Inner {
                    X(u8),
                    Y(u16),
                }
            ),
            prints!(
                enum T {
                    A(Reply<u32>),
                }
            ),
            prints!(
                enum T {
                    A(Reply<u64>),
                }
            ),
            prints!(
                enum T {
                    A(Address<u32>),
                }
            ),
            prints!(
                enum T {
                    A(Address<u64>),
                }
            ),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "the type number {at} looks like one before it");
        }
    }

    #[test]
    fn the_same_type_looks_the_same() {
        let one = prints!(
            enum T {
                A(u32),
                B(Box<T>),
                C { x: Vec<T>, y: Option<Box<T>> },
            }
        );
        let two = prints!(
            enum T {
                A(u32),
                B(Box<T>),
                C { x: Vec<T>, y: Option<Box<T>> },
            }
        );
        assert_eq!(one, two);
        let three = prints!(
            enum T {
                A(u32),
                B(Box<T>),
                C { x: Vec<T>, y: Option<Box<T>>, z: u8 },
            }
        );
        assert_ne!(one, three);
    }

    #[derive(Serialize, Deserialize)]
    #[allow(dead_code)]
    enum Chain {
        Next(Address<Chain>, Reply<Address<Chain>>),
        End,
    }

    impl Remote for Chain {
        const NAME: &'static str = "tests.Chain";
    }

    #[test]
    fn a_type_that_leads_to_itself_has_an_end() {
        let codec = crate::remote::register::<Chain>();
        assert_eq!(codec.fingerprint(), fingerprint::<Chain>());
    }

    /// It must not change from one release of the compiler, or of this program, to the next.
    #[test]
    fn the_number_of_a_type_stays() {
        assert_eq!(schema::<(u8, Vec<String>)>(), "tuple2 u8 seq string \n");
        assert_eq!(fingerprint::<(u8, Vec<String>)>(), 0x9d63_51c3_439d_de50);
    }
}
