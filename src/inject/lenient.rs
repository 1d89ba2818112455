//! JSON as Kubernetes reads it: `null` equals absent. Text is borrowed, and fields that are not needed are skipped.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A text, borrowed if it has no escapes in JSON. `null` is the empty text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LenientText<'a>(Cow<'a, str>);

impl Deref for LenientText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LenientText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = LenientText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<LenientText<'de>, E> {
                Ok(LenientText(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<LenientText<'de>, E> {
                Ok(LenientText(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: Error>(self) -> Result<LenientText<'de>, E> {
                Ok(LenientText::default())
            }
        }

        deserializer.deserialize_any(Borrow)
    }
}

/// A map of texts in the order of its entries, of which at most `MAX` are kept; the others are counted.
///
/// `null` is the empty map.
#[derive(Debug, Default)]
pub(super) struct LenientMap<'a, const MAX: usize> {
    kept: Vec<(LenientText<'a>, LenientText<'a>)>,
    len: usize,
}

impl<const MAX: usize> LenientMap<'_, MAX> {
    /// Returns the number of entries, including those that are not kept.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Iterates over the keys and values that are kept.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kept.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns the value of a key; the last one if the key occurs more than once.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.kept.iter().rev().find(|(name, _)| **name == *key).map(|(_, value)| &**value)
    }
}

impl<'de: 'a, 'a, const MAX: usize> Deserialize<'de> for LenientMap<'a, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<const MAX: usize>;

        impl<'de, const MAX: usize> Visitor<'de> for Pairs<MAX> {
            type Value = LenientMap<'de, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of text")
            }

            fn visit_unit<E: Error>(self) -> Result<LenientMap<'de, MAX>, E> {
                Ok(LenientMap::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LenientMap<'de, MAX>, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < MAX {
                    let Some(pair) = map.next_entry()? else {
                        return Ok(LenientMap { len: kept.len(), kept });
                    };
                    kept.push(pair);
                }
                let mut len = MAX;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    len += 1;
                }
                Ok(LenientMap { kept, len })
            }
        }

        deserializer.deserialize_any(Pairs::<MAX>)
    }
}

/// An object. `null` is the empty object; a list is an error (serde would fill the fields from it in their order).
#[derive(Debug, Default)]
pub(super) struct LenientObject<T>(pub(super) T);

impl<T> Deref for LenientObject<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for LenientObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Members<T> {
            type Value = LenientObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E: Error>(self) -> Result<LenientObject<T>, E> {
                Ok(LenientObject::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LenientObject<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(LenientObject)
            }
        }

        deserializer.deserialize_any(Members(PhantomData))
    }
}

/// A list of which at most `MAX` elements are kept; the others are counted.
///
/// An element that is `null` is kept as `None`, because the indices of the others depend on it.
#[derive(Debug)]
pub(super) struct LenientList<T, const MAX: usize> {
    kept: Vec<Option<LenientObject<T>>>,
    is_present: bool,
    len: usize,
}

impl<T, const MAX: usize> Default for LenientList<T, MAX> {
    fn default() -> Self {
        Self { kept: Vec::new(), is_present: false, len: 0 }
    }
}

impl<T, const MAX: usize> LenientList<T, MAX> {
    /// Returns whether the field is a list, to which a patch can append: `false` if it is absent or `null`.
    pub(super) fn is_present(&self) -> bool {
        self.is_present
    }

    /// Returns the number of elements, including those that are not kept.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Iterates over the elements that are kept and not `null`, each with its index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let elements = self.kept.iter().enumerate();
        elements.filter_map(|(index, element)| element.as_ref().map(|element| (index, &**element)))
    }
}

impl<'de, T: Deserialize<'de> + Default, const MAX: usize> Deserialize<'de> for LenientList<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
            type Value = LenientList<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E: Error>(self) -> Result<LenientList<T, MAX>, E> {
                Ok(LenientList::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<LenientList<T, MAX>, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < MAX {
                    let Some(element) = elements.next_element()? else {
                        return Ok(LenientList { len: kept.len(), kept, is_present: true });
                    };
                    kept.push(element);
                }
                let mut len = MAX;
                while elements.next_element::<IgnoredAny>()?.is_some() {
                    len += 1;
                }
                Ok(LenientList { kept, is_present: true, len })
            }
        }

        deserializer.deserialize_any(Elements(PhantomData))
    }
}

/// A value that is computed from the elements of a list one after the other, so that none is kept.
pub(super) trait Fold<'de>: Default {
    /// The type of the elements.
    type Element: Deserialize<'de>;

    /// Adds the element at `index`.
    fn add(&mut self, index: usize, element: Self::Element);
}

/// A list that is folded while it is parsed. `null` is the empty list.
#[derive(Debug, Default)]
pub(super) struct FoldedList<F> {
    is_present: bool,
    value: F,
}

impl<F> FoldedList<F> {
    /// Returns whether the field is a list, to which a patch can append: `false` if it is absent or `null`.
    pub(super) fn is_present(&self) -> bool {
        self.is_present
    }
}

impl<F> Deref for FoldedList<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.value
    }
}

impl<'de, F: Fold<'de>> Deserialize<'de> for FoldedList<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<F>(PhantomData<F>);

        impl<'de, F: Fold<'de>> Visitor<'de> for Elements<F> {
            type Value = FoldedList<F>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E: Error>(self) -> Result<FoldedList<F>, E> {
                Ok(FoldedList::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<FoldedList<F>, A::Error> {
                let mut value = F::default();
                let mut index = 0;
                while let Some(element) = elements.next_element()? {
                    value.add(index, element);
                    index += 1;
                }
                Ok(FoldedList { is_present: true, value })
            }
        }

        deserializer.deserialize_any(Elements(PhantomData))
    }
}

/// A flag that a list has elements, `null` included.
#[derive(Debug, Default)]
pub(super) struct HasElements(pub(super) bool);

impl Fold<'_> for HasElements {
    type Element = IgnoredAny;

    fn add(&mut self, _: usize, _: IgnoredAny) {
        self.0 = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_borrowed_where_it_has_no_escapes() {
        let texts: LenientMap<'_, 3> = serde_json::from_str(r#"{"a": "plain", "b": "\u0061", "c": null}"#).unwrap();
        let values: Vec<_> = texts.kept.iter().map(|(_, value)| &value.0).collect();
        assert!(matches!(values[..], [Cow::Borrowed("plain"), Cow::Owned(b), _] if b == "a"));
        assert_eq!(["b", "c", "d"].map(|key| texts.value(key)), [Some("a"), Some(""), None]);
    }

    #[test]
    fn elements_keep_their_index_past_null_and_no_list_is_empty() {
        let list: LenientList<LenientMap<'_, 1>, 4> = serde_json::from_str(r#"[null, {"a": "x"}, null, {}]"#).unwrap();
        let found: Vec<_> = list.iter().map(|(index, texts)| (index, texts.value("a"))).collect();
        assert_eq!(found, [(1, Some("x")), (3, None)]);
        assert!(list.is_present());
        let null: LenientList<IgnoredAny, 1> = serde_json::from_str("null").unwrap();
        let empty: LenientList<IgnoredAny, 1> = serde_json::from_str("[]").unwrap();
        assert!(!null.is_present() && empty.is_present());
        let null: FoldedList<HasElements> = serde_json::from_str("null").unwrap();
        let empty: FoldedList<HasElements> = serde_json::from_str("[]").unwrap();
        let full: FoldedList<HasElements> = serde_json::from_str("[null]").unwrap();
        assert_eq!(
            [&null, &empty, &full].map(|list| (list.is_present(), list.0)),
            [(false, false), (true, false), (true, true)]
        );
    }

    #[test]
    fn what_is_beyond_the_limit_is_counted_and_not_kept() {
        for (count, kept) in [(1, 1), (2, 2), (3, 2), (1_000, 2)] {
            let list = format!("[{}{{}}]", "{},".repeat(count - 1));
            let list: LenientList<LenientMap<'_, 1>, 2> = serde_json::from_str(&list).unwrap();
            assert_eq!((list.len(), list.iter().count()), (count, kept));
            let texts = (0..count).map(|key| format!("\"{key}\":\"\"")).collect::<Vec<_>>().join(",");
            let texts = format!("{{{texts}}}");
            let texts: LenientMap<'_, 2> = serde_json::from_str(&texts).unwrap();
            assert_eq!((texts.len(), texts.iter().count()), (count, kept));
        }
        // Elements beyond the limit only have to be JSON.
        assert!(serde_json::from_str::<LenientList<LenientMap<'_, 1>, 1>>("[{}, 5, []]").is_ok());
        assert!(serde_json::from_str::<LenientList<LenientMap<'_, 1>, 1>>("[{}, 5, [}]").is_err());
    }
}
