//! The JSON of a token, read strictly: no member twice, nothing nested deeply, nothing behind it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// An honest token has claims, and members within `cnf`: two. Other issuers nest a little more.
const DEPTH: u8 = 5;

/// A value of a token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Object(Members),
}

/// An object. Readers differ in which of two members of one name they believe, so that there is never more than one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members(BTreeMap<String, Value>);

impl Members {
    pub(super) fn read(octets: &[u8]) -> Result<Self, String> {
        let mut reader = serde_json::Deserializer::from_slice(octets);
        let value = Reader(DEPTH).deserialize(&mut reader).map_err(|fault| fault.to_string())?;
        reader.end().map_err(|fault| fault.to_string())?;
        match value {
            Value::Object(members) => Ok(members),
            _ => Err("it is no JSON object".to_owned()),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The text of this name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of this name: a list of them, or one.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => vec![text],
            Some(Value::List(list)) => list
                .iter()
                .filter_map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The object of this name.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<&Self> {
        match self.get(name)? {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    /// A time (RFC 7519 §2, NumericDate), fractions of a second cut off.
    pub(super) fn seconds(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Integer(seconds) => Some(*seconds),
            // Whole seconds of any year that a certificate could name are exact.
            #[expect(clippy::cast_possible_truncation, reason = "it is held within what is exact")]
            Value::Float(seconds) if seconds.abs() < 1e15 => Some(seconds.floor() as i64),
            _ => None,
        }
    }
}

/// Reads a value of at most so many objects and lists within each other.
struct Reader(u8);

impl Reader {
    fn deeper<E: Error>(&self) -> Result<u8, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom(format!("it is nested more than {DEPTH} deep")))
    }
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom("a number is too large"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(Reader(depth))? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut members = BTreeMap::new();
        while let Some(name) = from.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("the member {name:?} stands there twice")));
            }
            members.insert(name, from.next_value_seed(Reader(depth))?);
        }
        Ok(Value::Object(Members(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Members::read(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn what_stands_there_is_read() {
        let text = r#"{"a":"x","b":7,"c":1.5,"d":["y",1,"z"],"e":{"f":"g"},"h":null,"i":true}"#;
        let members = Members::read(text.as_bytes()).expect("an object");
        assert_eq!((members.text("a"), members.text("b")), (Some("x"), None));
        assert_eq!(
            (members.seconds("b"), members.seconds("c"), members.seconds("a")),
            (Some(7), Some(1), None)
        );
        assert_eq!((members.texts("d"), members.texts("a")), (vec!["y", "z"], vec!["x"]));
        assert_eq!(members.object("e").and_then(|inner| inner.text("f")), Some("g"));
        assert_eq!((members.get("h"), members.get("i")), (Some(&Value::Null), Some(&Value::Bool(true))));
    }

    #[test]
    fn a_member_twice_is_refused_at_every_depth() {
        assert!(refusal(r#"{"a":1,"a":1}"#).contains("twice"));
        assert!(refusal(r#"{"x":{"a":1,"b":2,"a":3}}"#).contains("twice"));
        // The same name, written otherwise.
        assert!(refusal(r#"{"a":1,"\u0061":2}"#).contains("twice"));
    }

    #[test]
    fn depth_is_limited_and_far_before_the_stack_is() {
        assert!(Members::read(br#"{"a":{"b":{"c":{"d":[[1]]}}}}"#).is_err());
        assert!(Members::read(br#"{"a":{"b":{"c":{"d":[1]}}}}"#).is_ok());
        let deep = format!("{}1{}", "[".repeat(3000), "]".repeat(3000));
        assert!(refusal(&format!(r#"{{"a":{deep}}}"#)).contains("nested"));
    }

    #[test]
    fn what_is_no_object_alone_is_refused() {
        for text in ["", "[]", "7", "{", "{} {}", "{}x", r#"{"a":18446744073709551615}"#, "{'a':1}"] {
            assert!(Members::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
