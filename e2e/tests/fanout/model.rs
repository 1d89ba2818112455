//! The API server as the fan-out meets it: ConfigMaps and Secrets as sets of fields with owners
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>), namespaces, and what watches
//! tell. `real.rs` holds it to kube-apiserver.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta, OwnerReference};
use rootcast::bundle::{Labels, ObjectKind};
use serde_json::{Map, Value, json};

/// A field of an object. A map or list of fields is a field as well, without a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Field {
    pub(crate) part: Part,
    /// Its key; for an owner, its uid.
    pub(crate) name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Data,
    BinaryData,
    Labels,
    Annotations,
    Owners,
    /// `immutable: true`.
    Immutable,
    /// The type of a Secret.
    Type,
}

/// Fields with their values; the value of an owner is an [`OwnerReference`] in JSON.
pub(crate) type Fields = BTreeMap<Field, String>;

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Apply,
    Update,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) uid: u64,
    pub(crate) version: u64,
    pub(crate) fields: Fields,
    managers: BTreeMap<(String, Operation), BTreeSet<Field>>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) labels: Labels,
    pub(crate) terminating: bool,
}

/// What names an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: ObjectKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A request that may change an object.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The field manager.
    pub(crate) manager: &'static str,
    /// The version that the object must have.
    pub(crate) version: Option<u64>,
    pub(crate) verb: Verb,
}

#[derive(Clone, Debug)]
pub(crate) enum Verb {
    /// POST.
    Create(Fields),
    /// PUT.
    Replace(Fields),
    /// Strategic merge patch; what has no value is taken out.
    Merge(BTreeMap<Field, Option<String>>),
    /// Server-side apply with force.
    Apply(Fields),
    /// DELETE.
    Delete,
    /// Merge patch that erases the managed fields.
    Disown,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Exists,
    Conflict,
    NotFound,
    NamespaceNotFound,
    NamespaceTerminating,
    Immutable,
    TwoControllers,
}

/// One change of the cluster.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A namespace, as it is now.
    Namespace(String, Option<Space>),
    /// An object, before and after, with the new version.
    Object { key: Key, before: Option<Object>, after: Option<Object>, version: u64 },
}

/// What a watch with a label selector tells of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Added(Object),
    Modified(Object),
    /// As it was, with the version of the change.
    Deleted(Object),
}

/// The server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    version: u64,
    pub(crate) namespaces: BTreeMap<String, Space>,
    pub(crate) objects: BTreeMap<Key, Object>,
    /// All changes since it was last emptied.
    pub(crate) log: Vec<Change>,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}/{}", self.part, self.name.as_deref().unwrap_or("."))
    }
}

impl Field {
    pub(crate) fn new(part: Part, name: &str) -> Self {
        Self { part, name: Some(name.to_owned()) }
    }

    pub(crate) fn whole(part: Part) -> Self {
        Self { part, name: None }
    }

    /// Its path in managed fields.
    fn path(&self) -> Vec<String> {
        let path: &[&str] = match self.part {
            Part::Data => &["f:data"],
            Part::BinaryData => &["f:binaryData"],
            Part::Labels => &["f:metadata", "f:labels"],
            Part::Annotations => &["f:metadata", "f:annotations"],
            Part::Owners => &["f:metadata", "f:ownerReferences"],
            Part::Immutable => &["f:immutable"],
            Part::Type => &["f:type"],
        };
        let last = match (&self.name, self.part) {
            (None, _) => ".".to_owned(),
            (Some(uid), Part::Owners) => format!("k:{{\"uid\":\"{uid}\"}}"),
            (Some(name), _) => format!("f:{name}"),
        };
        path.iter().map(|step| (*step).to_owned()).chain([last]).collect()
    }

    pub(crate) fn is_content(&self) -> bool {
        matches!(self.part, Part::Data | Part::BinaryData)
    }
}

impl Object {
    /// Its metadata, as far as the fan-out reads them.
    pub(crate) fn metadata(&self) -> ObjectMeta {
        let of = |part| self.fields.iter().filter(move |(field, _)| field.part == part);
        let pairs =
            |part| of(part).filter_map(|(field, value)| Some((field.name.clone()?, value.clone()))).collect::<Labels>();
        let owner = |(_, text): (&Field, &String)| serde_json::from_str::<OwnerReference>(text).expect("an owner");
        let entry = |((manager, operation), fields): (&(String, Operation), &BTreeSet<Field>)| {
            let mut root = Map::new();
            for field in fields {
                let mut at = &mut root;
                for step in field.path() {
                    let below = at.entry(step).or_insert_with(|| json!({}));
                    at = below.as_object_mut().expect("fields are objects");
                }
            }
            ManagedFieldsEntry {
                manager: Some(manager.clone()),
                operation: Some(format!("{operation:?}")),
                fields_v1: Some(FieldsV1(Value::Object(root))),
                ..ManagedFieldsEntry::default()
            }
        };
        ObjectMeta {
            resource_version: Some(self.version.to_string()),
            labels: Some(pairs(Part::Labels)),
            annotations: Some(pairs(Part::Annotations)),
            owner_references: Some(of(Part::Owners).map(owner).collect()),
            managed_fields: Some(self.managers.iter().map(entry).collect()),
            ..ObjectMeta::default()
        }
    }

    /// A request of any kind but server-side apply left it so.
    fn updated(&self, manager: &str, fields: Fields) -> Self {
        let (before, after) = (with_wholes(&self.fields), with_wholes(&fields));
        let mut managers = self.managers.clone();
        // What has no managed fields stays so, but for one that is new.
        if !managers.is_empty() || self.version == 0 {
            let own = (manager.to_owned(), Operation::Update);
            let changed: Vec<_> = after.iter().filter(|(field, value)| before.get(*field) != Some(*value)).collect();
            for (owner, owned) in &mut managers {
                owned.retain(|field| {
                    after.contains_key(field) && (*owner == own || before.get(field) == after.get(field))
                });
            }
            managers.entry(own).or_default().extend(changed.into_iter().map(|(field, _)| field.clone()));
            managers.retain(|_, owned| !owned.is_empty());
        }
        Self { fields, managers, ..self.clone() }
    }

    /// Server-side apply with force left it so.
    fn applied(&self, manager: &str, given: &Fields) -> Self {
        let own = (manager.to_owned(), Operation::Apply);
        let mut managers = self.managers.clone();
        if managers.is_empty() && self.version != 0 {
            let all = with_wholes(&self.fields).into_keys().collect();
            managers.insert(("before-first-apply".to_owned(), Operation::Update), all);
        }
        let dropped = managers.insert(own.clone(), given.keys().cloned().collect()).unwrap_or_default();
        let mut fields = self.fields.clone();
        fields.retain(|field, _| !dropped.contains(field) || managers.values().any(|owned| owned.contains(field)));
        fields.extend(given.clone());
        let (before, after) = (with_wholes(&self.fields), with_wholes(&fields));
        for (owner, owned) in &mut managers {
            owned.retain(|field| *owner == own || before.get(field) == after.get(field));
        }
        managers.retain(|_, owned| !owned.is_empty());
        Self { fields, managers, ..self.clone() }
    }
}

/// The fields and the maps and lists that they are in, which exist as long as something is in them.
fn with_wholes(fields: &Fields) -> Fields {
    let wholes = fields.keys().filter(|field| field.name.is_some());
    let wholes = wholes.map(|field| (Field::whole(field.part), String::new()));
    wholes.chain(fields.clone()).collect()
}

impl Server {
    /// The version of the last change of all.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Creates a namespace or sets its labels.
    pub(crate) fn set_namespace(&mut self, name: &str, labels: Labels) {
        let terminating = self.namespaces.get(name).is_some_and(|space| space.terminating);
        self.put_namespace(name, Space { labels, terminating });
    }

    /// Begins to delete a namespace.
    pub(crate) fn terminate(&mut self, name: &str) {
        if let Some(space) = self.namespaces.get(name).cloned() {
            self.put_namespace(name, Space { terminating: true, ..space });
        }
    }

    fn put_namespace(&mut self, name: &str, space: Space) {
        self.version += 1;
        self.namespaces.insert(name.to_owned(), space.clone());
        self.log.push(Change::Namespace(name.to_owned(), Some(space)));
    }

    /// Deletes all that is in a terminating namespace, and the namespace.
    pub(crate) fn finalize(&mut self, name: &str) {
        if self.namespaces.get(name).is_some_and(|space| space.terminating) {
            let keys: Vec<_> = self.objects.keys().filter(|key| key.namespace == name).cloned().collect();
            for key in keys {
                self.remove(&key);
            }
            self.version += 1;
            self.namespaces.remove(name);
            self.log.push(Change::Namespace(name.to_owned(), None));
        }
    }

    /// Carries out a request; returns the object as it then is, or as it was before it was deleted.
    pub(crate) fn call(&mut self, key: &Key, call: Call) -> Result<Object, Failure> {
        let Call { manager, version, verb } = call;
        let found = self.objects.get(key).cloned();
        let creates = matches!((&verb, &found), (Verb::Create(_), _) | (Verb::Apply(_), None));
        if creates {
            let space = self.namespaces.get(&key.namespace).ok_or(Failure::NamespaceNotFound)?;
            if space.terminating {
                return Err(Failure::NamespaceTerminating);
            }
        } else if version.is_some_and(|version| found.as_ref().is_some_and(|found| found.version != version)) {
            return Err(Failure::Conflict);
        }
        let fresh = || Object { uid: self.version + 1, version: 0, fields: Fields::new(), managers: BTreeMap::new() };
        let before = found.clone();
        let object = if creates { fresh() } else { found.ok_or(Failure::NotFound)? };
        let after = match verb {
            Verb::Create(fields) | Verb::Replace(fields) => object.updated(manager, typed(key.kind, fields)),
            Verb::Merge(patch) => {
                let mut fields = object.fields.clone();
                for (field, value) in patch {
                    match value {
                        Some(value) => fields.insert(field, value),
                        None => fields.remove(&field),
                    };
                }
                object.updated(manager, fields)
            }
            Verb::Apply(fields) => {
                let applied = object.applied(manager, &fields);
                Object { fields: typed(key.kind, applied.fields.clone()), ..applied }
            }
            Verb::Disown => Object { managers: BTreeMap::new(), ..object.clone() },
            Verb::Delete => {
                self.remove(key);
                return Ok(object);
            }
        };
        check(&object, &after)?;
        if creates && before.is_some() {
            return Err(Failure::Exists);
        }
        if !creates && after == object {
            return Ok(object);
        }
        self.version += 1;
        let after = Object { version: self.version, ..after };
        self.objects.insert(key.clone(), after.clone());
        let version = after.version;
        self.log.push(Change::Object { key: key.clone(), before, after: Some(after.clone()), version });
        Ok(after)
    }

    fn remove(&mut self, key: &Key) {
        if let Some(before) = self.objects.remove(key) {
            self.version += 1;
            let version = self.version;
            self.log.push(Change::Object { key: key.clone(), before: Some(before), after: None, version });
        }
    }
}

/// A Secret has a type even if none is given.
fn typed(kind: ObjectKind, mut fields: Fields) -> Fields {
    if kind == ObjectKind::Secret {
        fields.insert(Field::whole(Part::Type), "Opaque".to_owned());
    }
    fields
}

fn check(before: &Object, after: &Object) -> Result<(), Failure> {
    let immutable = Field::whole(Part::Immutable);
    let content = |object: &Object| -> Fields {
        object.fields.clone().into_iter().filter(|(field, _)| field.is_content() || *field == immutable).collect()
    };
    if before.fields.contains_key(&immutable) && content(before) != content(after) {
        return Err(Failure::Immutable);
    }
    let controllers = after.metadata().owner_references.into_iter().flatten();
    if controllers.filter(|owner| owner.controller == Some(true)).count() > 1 {
        return Err(Failure::TwoControllers);
    }
    Ok(())
}

/// What a watch of objects with a label tells of a change.
pub(crate) fn told(label: &str, before: Option<&Object>, after: Option<&Object>, version: u64) -> Option<Told> {
    let label = Field::new(Part::Labels, label);
    let labelled = |object: &&Object| object.fields.contains_key(&label);
    match (before.filter(labelled), after.filter(labelled)) {
        (None, None) => None,
        (None, Some(after)) => Some(Told::Added(after.clone())),
        (Some(_), Some(after)) => Some(Told::Modified(after.clone())),
        (Some(before), None) => Some(Told::Deleted(Object { version, ..before.clone() })),
    }
}
