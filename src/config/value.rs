//! The kinds of value that the file's keys take, each as a type that only `serde` can make.
//!
//! A type says what it allows in its `expecting`, and refuses everything else there and then, so that the
//! structs in [`raw`](super::raw) read like a table of keys and ranges, and every refusal carries what would
//! have been right.

use crate::flow::OfPort;
use serde::Deserialize;
use serde::de::{
    self, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer,
};
use std::fmt;
use std::marker::PhantomData;

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Whole<const MIN: u64, const MAX: u64>(pub(super) u64);

/// A power of two from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PowerOfTwo<const MIN: u64, const MAX: u64>(pub(super) u64);

struct NumberVisitor<const MIN: u64, const MAX: u64> {
    power_of_two: bool,
}

impl<const MIN: u64, const MAX: u64> Visitor<'_> for NumberVisitor<MIN, MAX> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.power_of_two { "a power of two" } else { "a whole number" };
        write!(f, "{kind} from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
        let fits = (MIN..=MAX).contains(&value) && (!self.power_of_two || value.is_power_of_two());
        if fits { Ok(value) } else { Err(E::invalid_value(Unexpected::Unsigned(value), &self)) }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor::<MIN, MAX> { power_of_two: false }).map(Whole)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for PowerOfTwo<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor::<MIN, MAX> { power_of_two: true }).map(PowerOfTwo)
    }
}

/// A value that is written as text.
pub(super) trait FromText: Sized {
    /// What the text may be, to stand after `allowed:`.
    const ALLOWED: &'static str;

    /// The value, or none if the text is not of the kind.
    fn from_text(text: &str) -> Option<Self>;
}

/// Text that has been read as a `T`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Text<T>(pub(super) T);

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::ALLOWED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData)).map(Text)
    }
}

/// A port's number in OpenFlow: from 1 to 65 279, or the word `LOCAL`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PortNumber(pub(super) OfPort);

struct PortNumberVisitor;

impl Visitor<'_> for PortNumberVisitor {
    type Value = OfPort;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 1 to 65279, or LOCAL")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<OfPort, E> {
        match u32::try_from(value) {
            Ok(number @ 1..=65_279) => Ok(OfPort(number)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(value), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OfPort, E> {
        if text.eq_ignore_ascii_case("LOCAL") {
            Ok(OfPort::LOCAL)
        } else {
            Err(E::invalid_value(Unexpected::Str(text), &self))
        }
    }
}

impl<'de> Deserialize<'de> for PortNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortNumberVisitor).map(PortNumber)
    }
}

/// A whole number from `MIN` to `MAX`, or the word `auto`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WholeOrAuto<const MIN: u64, const MAX: u64>(pub(super) Option<u64>);

struct WholeOrAutoVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for WholeOrAutoVisitor<MIN, MAX> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "auto, or a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Option<u64>, E> {
        if (MIN..=MAX).contains(&value) {
            Ok(Some(value))
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(value), &self))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<u64>, E> {
        if text == "auto" { Ok(None) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for WholeOrAuto<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeOrAutoVisitor::<MIN, MAX>).map(WholeOrAuto)
    }
}

/// A word that may stand in the place of a list.
pub(super) trait ListWord {
    /// The word.
    const WORD: &'static str;
    /// What is allowed, the word included.
    const ALLOWED: &'static str;
}

/// A list, or a word in its place (then none). An element is none where the file has nothing, or had
/// something wrong that has been reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ListOrWord<T, W> {
    pub(super) list: Option<Vec<Option<T>>>,
    word: PhantomData<W>,
}

struct ListOrWordVisitor<T, W>(PhantomData<(T, W)>);

impl<'de, T: Deserialize<'de>, W: ListWord> Visitor<'de> for ListOrWordVisitor<T, W> {
    type Value = Option<Vec<Option<T>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(W::ALLOWED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == W::WORD { Ok(None) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = sequence.next_element()? {
            list.push(element);
        }
        Ok(Some(list))
    }
}

impl<'de, T: Deserialize<'de>, W: ListWord> Deserialize<'de> for ListOrWord<T, W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = deserializer.deserialize_any(ListOrWordVisitor(PhantomData::<(T, W)>))?;
        Ok(ListOrWord { list, word: PhantomData })
    }
}

/// A mapping that is read as a `T`. A derived `Deserialize` alone would also take a list, key by key in the
/// order of the struct.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Section<T>(pub(super) T);

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SectionVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of keys to values")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SectionVisitor(PhantomData)).map(Section)
    }
}

/// Any value of a file, as `serde_yaml` reads it, except that the first of two equal keys wins: `serde_yaml`
/// itself stops there, and the other faults of the file would stay unseen. [`Marks`](super::marks::Marks)
/// reports the second key.
pub(super) struct Tree(pub(super) serde_yaml::Value);

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = serde_yaml::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(serde_yaml::Value::Null)
    }

    // What an empty file is to `serde_yaml`.
    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(serde_yaml::Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u128<E>(self, value: u128) -> Result<Self::Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Self::Value, E> {
        Ok(value.to_string().into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Tree(element)) = sequence.next_element()? {
            list.push(element);
        }
        Ok(serde_yaml::Value::Sequence(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut mapping = serde_yaml::Mapping::new();
        while let Some((key, Tree(value))) = map.next_entry::<String, Tree>()? {
            let key = serde_yaml::Value::String(key);
            if !mapping.contains_key(&key) {
                mapping.insert(key, value);
            }
        }
        Ok(serde_yaml::Value::Mapping(mapping))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Tree)
    }
}
