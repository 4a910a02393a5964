//! serde over the tree of nodes. Its errors carry the dotted key and origin of the innermost value
//! that was being read, and its sentences are written for whoever edits the file.

use std::collections::btree_map;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::node::{Node, Value};
use super::problem::{Origin, Problem};
use super::suggest::nearest;

/// A serde error on its way out: it learns where it happened from the first place that knows.
#[derive(Debug)]
pub(super) struct Fault {
    place: Option<(String, Origin)>,
    reason: String,
}

impl Fault {
    fn new(reason: String) -> Self {
        Self { place: None, reason }
    }

    fn at(mut self, path: &str, origin: &Origin) -> Self {
        self.place.get_or_insert_with(|| (path.to_owned(), origin.clone()));
        self
    }

    pub(super) fn into_problem(self) -> Problem {
        let (key, origin) = self.place.unwrap_or((String::new(), Origin::Default));
        Problem { origin, key, reason: self.reason }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("must be {}, is {}", plain(expected), shown(&unexpected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(field, expected.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("there are {}", expected.join(", ")),
        };
        Self::new(format!("no such key; {hint}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = nearest(variant, expected.iter().copied())
            .map_or(String::new(), |meant| format!("; did you mean \"{meant}\"?"));
        Self::new(format!("must be one of {}, is \"{variant}\"{hint}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is missing, and has no default"))
    }
}

/// What serde calls `u16` is for the reader a whole number in a range.
fn plain(expected: &dyn Expected) -> String {
    let number = |low: i64, high: u64| format!("a whole number from {low} to {high}");
    match expected.to_string().as_str() {
        "u8" => number(0, u8::MAX.into()),
        "u16" => number(0, u16::MAX.into()),
        "u32" => number(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i64" | "isize" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "text in quotes".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        other => other
            .strip_prefix("struct ")
            .map_or_else(|| other.to_owned(), |_| "a table of keys and values".to_owned()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "TOML has no others")]
fn shown(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => format!("\"{text}\""),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// One value being read, with its dotted path.
pub(super) struct NodeDeserializer<'a> {
    node: &'a Node,
    path: String,
}

impl<'a> NodeDeserializer<'a> {
    pub(super) fn root(node: &'a Node) -> Self {
        Self { node, path: String::new() }
    }

    /// The text of a value that was given without quotes, when a string is wanted.
    fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::String(text) => Some(text),
            Value::Text(text) => Some(&text.raw),
            Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Array(_)
            | Value::Table(_) => None,
        }
    }

    fn visit_text<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => visitor
                .visit_str(text)
                .map_err(|fault: Fault| fault.at(&self.path, &self.node.origin)),
            None => self.deserialize_any(visitor),
        }
    }
}

impl<'a> Deserializer<'a> for NodeDeserializer<'a> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Self { node, path } = self;
        let result = match &node.value {
            Value::String(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(truth) => visitor.visit_bool(*truth),
            Value::Array(elements) => visitor.visit_seq(Elements::new(elements, &path)),
            Value::Table(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: None, path: &path })
            }
            Value::Text(text) => match &text.toml {
                Some(node) => return NodeDeserializer { node, path }.deserialize_any(visitor),
                None => visitor.visit_str(&text.raw),
            },
        };
        result.map_err(|fault| fault.at(&path, &node.origin))
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_text(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// A list without brackets, where nobody writes brackets: `RINGWAY_CPUS=2,3`.
    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Value::Text(text) = &self.node.value
            && !text.is_list()
        {
            return visitor
                .visit_seq(Elements::new(&text.parts, &self.path))
                .map_err(|fault| fault.at(&self.path, &self.node.origin));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => visitor
                .visit_enum(Variant { text })
                .map_err(|fault: Fault| fault.at(&self.path, &self.node.origin)),
            None => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// The elements of a list.
struct Elements<'a, 'p> {
    elements: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    path: &'p str,
}

impl<'a, 'p> Elements<'a, 'p> {
    fn new(elements: &'a [Node], path: &'p str) -> Self {
        Self { elements: elements.iter().enumerate(), path }
    }
}

impl<'a> SeqAccess<'a> for Elements<'a, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.elements.next() else {
            return Ok(None);
        };
        let path = format!("{}[{index}]", self.path);
        // A type that converts after reading (`try_from`) fails here, and knows no place.
        let located = |fault: Fault| fault.at(&path, &node.origin);
        seed.deserialize(NodeDeserializer { node, path: path.clone() }).map(Some).map_err(located)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.len())
    }
}

/// The entries of a table.
struct Entries<'a, 'p> {
    entries: btree_map::Iter<'a, String, Node>,
    value: Option<(&'a str, &'a Node)>,
    path: &'p str,
}

impl Entries<'_, '_> {
    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> MapAccess<'a> for Entries<'a, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        // An unknown key is refused here: the place to name is the key itself.
        let key_deserializer: de::value::StrDeserializer<'_, Fault> =
            key.as_str().into_deserializer();
        seed.deserialize(key_deserializer)
            .map(Some)
            .map_err(|fault| fault.at(&self.join(key), &node.origin))
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value.take() else {
            return Err(Fault::new("a value was asked for before its key".to_owned()));
        };
        let path = self.join(key);
        let located = |fault: Fault| fault.at(&path, &node.origin);
        seed.deserialize(NodeDeserializer { node, path: path.clone() }).map_err(located)
    }
}

/// An enum without data, by its name.
struct Variant<'a> {
    text: &'a str,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: de::value::StrDeserializer<'_, Fault> = self.text.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, _seed: T) -> Result<T::Value, Fault> {
        Err(no_data(self.text))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _len: usize, _visitor: V) -> Result<V::Value, Fault> {
        Err(no_data(self.text))
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Fault> {
        Err(no_data(self.text))
    }
}

/// A schema whose choices carry data writes them as tables, not as enum variants.
fn no_data(variant: &str) -> Fault {
    Fault::new(format!("\"{variant}\" needs more than its name"))
}
