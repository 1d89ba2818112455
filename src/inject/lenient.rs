//! JSON as Kubernetes reads it: `null` and absent are the same, text is borrowed, and what is not looked at is skipped.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Text, borrowed where JSON writes it without escapes. `null` is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: Error>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(Borrow)
    }
}

/// A map of texts, in its order. `null` is empty.
#[derive(Debug, Default)]
pub(super) struct Texts<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Texts<'_> {
    /// The value of a key; the last one, should it be there twice.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| **name == *key).map(|(_, value)| &**value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Texts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Texts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of text")
            }

            fn visit_unit<E: Error>(self) -> Result<Texts<'de>, E> {
                Ok(Texts::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Texts(pairs))
            }
        }

        deserializer.deserialize_any(Pairs)
    }
}

/// An object. `null` is the empty one, and a list is none (serde would fill fields from it in their order).
#[derive(Debug, Default)]
pub(super) struct Object<T>(pub(super) T);

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E: Error>(self) -> Result<Object<T>, E> {
                Ok(Object::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_any(Members(PhantomData))
    }
}

/// A list: `None` if it is absent or `null`, and `None` for elements that are `null`.
#[derive(Debug)]
pub(super) struct List<T>(Option<Vec<Option<Object<T>>>>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> List<T> {
    /// Whether there is a list that can be added to.
    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(Vec::is_empty)
    }

    /// The elements that are there, each with its index.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &T)> {
        let elements = self.0.as_deref().unwrap_or_default().iter().enumerate();
        elements.filter_map(|(index, element)| element.as_ref().map(|element| (index, &**element)))
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    #[test]
    fn text_is_borrowed_where_it_has_no_escapes() {
        let texts: Texts<'_> = serde_json::from_str(r#"{"a": "plain", "b": "\u0061", "c": null}"#).unwrap();
        let values: Vec<_> = texts.0.iter().map(|(_, value)| &value.0).collect();
        assert!(matches!(values[..], [Cow::Borrowed("plain"), Cow::Owned(b), _] if b == "a"));
        assert_eq!(["b", "c", "d"].map(|key| texts.value(key)), [Some("a"), Some(""), None]);
    }

    #[test]
    fn elements_keep_their_index_past_null_and_no_list_is_empty() {
        let list: List<Texts<'_>> = serde_json::from_str(r#"[null, {"a": "x"}, null, {}]"#).unwrap();
        let found: Vec<_> = list.iter().map(|(index, texts)| (index, texts.value("a"))).collect();
        assert_eq!(found, [(1, Some("x")), (3, None)]);
        assert!(list.is_there() && !list.is_empty());
        let null: List<IgnoredAny> = serde_json::from_str("null").unwrap();
        assert!(!null.is_there() && null.is_empty());
        let empty: List<IgnoredAny> = serde_json::from_str("[]").unwrap();
        assert!(empty.is_there() && empty.is_empty());
    }
}
