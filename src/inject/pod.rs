//! A pod, read only as far as it matters here, and borrowed from the request.
//!
//! `null` and absent are the same, as Kubernetes reads them; elements of lists keep their index, for the patch.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use thiserror::Error as ThisError;

use crate::bundle::ObjectKind;

/// The annotation of mirror pods (<https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>).
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The label of nodes that tells their operating system
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-os>).
const OS_LABEL: &str = "kubernetes.io/os";

/// Something that is no pod.
#[derive(Debug, ThisError)]
#[error("{which} is no pod: {cause}")]
pub struct Malformed {
    which: Which,
    cause: serde_json::Error,
}

/// Which part of a review holds the pod.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// What is to become.
    Object,
    /// What was before.
    OldObject,
}

/// The pod.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Pod<'a> {
    #[serde(default, borrow)]
    metadata: Maybe<Metadata<'a>>,
    #[serde(default, borrow)]
    spec: Maybe<Spec<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata<'a> {
    #[serde(default, borrow)]
    annotations: Texts<'a>,
}

/// What is read of `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec<'a> {
    #[serde(default, borrow)]
    pub(super) volumes: List<Volume<'a>>,
    #[serde(default, borrow)]
    pub(super) containers: List<Container<'a>>,
    #[serde(default, borrow)]
    pub(super) init_containers: List<Container<'a>>,
    #[serde(default, borrow)]
    pub(super) ephemeral_containers: List<Container<'a>>,
    #[serde(default, borrow)]
    os: Maybe<Named<'a>>,
    #[serde(default, borrow)]
    node_selector: Texts<'a>,
}

/// A volume. Its sources other than these two are not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume<'a> {
    #[serde(default, borrow)]
    pub(super) name: Text<'a>,
    #[serde(default, borrow)]
    config_map: Option<ObjectVolume<'a>>,
    #[serde(default, borrow)]
    secret: Option<ObjectVolume<'a>>,
}

/// A volume from a ConfigMap (`name`) or a Secret (`secretName`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectVolume<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    secret_name: Text<'a>,
    #[serde(default)]
    items: List<IgnoredAny>,
    #[serde(default)]
    optional: Option<bool>,
}

/// A container of any kind.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'a> {
    #[serde(default, borrow)]
    pub(super) name: Text<'a>,
    #[serde(default, borrow)]
    pub(super) env: List<Variable<'a>>,
    #[serde(default)]
    pub(super) env_from: List<IgnoredAny>,
    #[serde(default, borrow)]
    pub(super) volume_mounts: List<Mount<'a>>,
    #[serde(default, borrow)]
    volume_devices: List<Device<'a>>,
}

/// An item of `env`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable<'a> {
    #[serde(default, borrow)]
    pub(super) name: Text<'a>,
    #[serde(default, borrow)]
    pub(super) value: Text<'a>,
    #[serde(default)]
    pub(super) value_from: Option<IgnoredAny>,
}

/// An item of `volumeMounts`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount<'a> {
    #[serde(default, borrow)]
    pub(super) name: Text<'a>,
    #[serde(default, borrow)]
    pub(super) mount_path: Text<'a>,
}

/// An item of `volumeDevices`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device<'a> {
    #[serde(default, borrow)]
    device_path: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Named<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
}

impl<'a> Pod<'a> {
    pub(super) fn parse(which: Which, text: &'a str) -> Result<Self, Malformed> {
        serde_json::from_str(text).map_err(|cause| Malformed { which, cause })
    }

    /// Whether it only mirrors a static pod.
    pub(super) fn is_mirror(&self) -> bool {
        self.metadata.annotations.value(MIRROR).is_some()
    }

    /// Whether it runs on Windows, where neither the paths nor most of the variables mean anything.
    pub(super) fn is_for_windows(&self) -> bool {
        &*self.spec.os.name == "windows" || self.spec.node_selector.value(OS_LABEL) == Some("windows")
    }

    /// The value of an annotation; the last one's, should it be there twice.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.value(key)
    }

    pub(super) fn spec(&self) -> &Spec<'a> {
        &self.spec
    }
}

impl Volume<'_> {
    /// Whether it holds all of one object, and waits until that is there.
    pub(super) fn is_whole(&self, kind: ObjectKind, name: &str) -> bool {
        let (ours, other) = match kind {
            ObjectKind::ConfigMap => (self.config_map.as_ref().map(|volume| (volume, &volume.name)), &self.secret),
            ObjectKind::Secret => (self.secret.as_ref().map(|volume| (volume, &volume.secret_name)), &self.config_map),
        };
        other.is_none()
            && ours.is_some_and(|(volume, source)| {
                **source == *name && volume.items.is_empty() && volume.optional != Some(true)
            })
    }
}

impl Container<'_> {
    /// The paths that something is mounted at, and those of devices: the API server wants them all to differ.
    pub(super) fn taken_paths(&self) -> impl Iterator<Item = &str> {
        let mounts = self.volume_mounts.iter().map(|(_, mount)| &*mount.mount_path);
        mounts.chain(self.volume_devices.iter().map(|(_, device)| &*device.device_path))
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "the review's object",
            Self::OldObject => "the review's oldObject",
        })
    }
}

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
struct Texts<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Texts<'_> {
    fn value(&self, key: &str) -> Option<&str> {
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

/// An object. `null` is the empty one.
#[derive(Debug, Default)]
struct Maybe<T>(T);

impl<T> Deref for Maybe<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Option::deserialize(deserializer)?.unwrap_or_default()))
    }
}

/// A list: `None` if it is absent or `null`, and `None` for elements that are `null`.
#[derive(Debug)]
pub(super) struct List<T>(Option<Vec<Option<T>>>);

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
        elements.filter_map(|(index, element)| element.as_ref().map(|element| (index, element)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self)
    }
}
