//! Reading the recorded cases, and comparing results with them. Used by the tests of the pure core and of the live controller.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rootcast::trust::{Anchor, KdfBudget, KeystoreEntry, Password, jks, pkcs12};
use serde_json::Value;

/// Cases in which trust-manager loses a certificate without a word; rootcast refuses them.
const LOSSES: [&str; 5] = ["truncated-last", "truncated-first", "bad-base64", "two-on-one-line", "indented-pem"];

/// One recorded case.
pub(crate) struct Vector {
    /// Its name, which is the Bundle's, too, but for a prefix `filtered-`.
    pub(crate) name: String,
    input: Vec<Value>,
    result: Value,
}

impl Vector {
    /// All cases, sorted by name.
    pub(crate) fn all() -> Vec<Self> {
        let mut names: Vec<_> = fs::read_dir(folder())
            .expect("the recorded cases are there")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.join("input.yaml").exists())
            .collect();
        names.sort();
        names.iter().map(|path| Self::load(path)).collect()
    }

    fn load(path: &Path) -> Self {
        let read = |file: &str| fs::read_to_string(path.join(file)).expect("a recorded file");
        let name = path.file_name().expect("a folder").to_string_lossy().into_owned();
        Self {
            name,
            input: serde_saphyr::from_multiple(&read("input.yaml")).expect("YAML"),
            result: serde_saphyr::from_str(&read("result.yaml")).expect("YAML"),
        }
    }

    /// The Bundle.
    pub(crate) fn bundle(&self) -> &Value {
        self.input.iter().find(|object| object["kind"] == "Bundle").expect("a case has a Bundle")
    }

    /// The ConfigMaps and Secrets that it may read.
    pub(crate) fn sources(&self) -> Vec<&Value> {
        self.input.iter().filter(|object| object["kind"] != "Bundle").collect()
    }

    /// What was recorded: `status`, `events`, `configmap` or `secret`; null where there was none.
    pub(crate) fn recorded(&self, part: &str) -> &Value {
        &self.result[part]
    }

    /// Whether it was recorded with both filters on.
    pub(crate) fn is_filtered(&self) -> bool {
        self.name.starts_with("filtered-")
    }

    /// The default CA package that was in use.
    pub(crate) fn package(&self) -> PathBuf {
        folder().join(if self.is_filtered() { "filtered-package.json" } else { "package.json" })
    }

    /// Whether the case ends in a refusal here.
    pub(crate) fn is_refused(&self) -> bool {
        LOSSES.contains(&self.name.as_str()) || self.recorded_condition()["status"] == "False"
    }

    /// The reason that `Synced` must have.
    pub(crate) fn reason(&self) -> &str {
        self.expected().1
    }

    fn recorded_condition(&self) -> &Value {
        &self.result["status"]["conditions"][0]
    }

    /// What `Synced` must say: status, reason and the beginning of the message, or all of it.
    fn expected(&self) -> (&str, &str, String, bool) {
        let recorded = self.recorded_condition();
        let word = |field: &str| recorded[field].as_str().expect("a recorded word");
        if LOSSES.contains(&self.name.as_str()) {
            return ("False", "SourceBuildError", "Failed to build bundle sources: ".to_owned(), false);
        }
        let message = word("message");
        let opening = ["invalid PEM data", "inline source contains invalid PEM data"]
            .iter()
            .find_map(|words| message.find(words))
            .map(|start| {
                let end = message[start..].find(": ").expect("a cause follows") + start + 2;
                message[..end].to_owned()
            });
        let whole = opening.is_none();
        (word("status"), word("reason"), opening.unwrap_or_else(|| message.to_owned()), whole)
    }

    /// Compares the status with the recorded one.
    pub(crate) fn check_status(&self, status: &Value) -> Result<(), String> {
        let (truth, reason, message, whole) = self.expected();
        let synced = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Synced")
            .ok_or_else(|| format!("{}: no condition Synced", self.name))?;
        let said = synced["message"].as_str().unwrap_or_default();
        let fits = if whole { said == message } else { said.starts_with(&message) };
        if synced["status"] != truth || synced["reason"] != reason || !fits {
            return Err(format!("{}: Synced is {synced}, not {truth} {reason} {message:?}", self.name));
        }
        let version = &status["defaultCAVersion"];
        if truth == "True" && *version != self.result["status"]["defaultCAVersion"] {
            return Err(format!("{}: defaultCAVersion is {version}", self.name));
        }
        Ok(())
    }

    /// Compares the one event (warning, reason, action, note) with the recorded ones, which repeat themselves.
    pub(crate) fn check_event(&self, event: Option<(bool, String, String, String)>) -> Result<(), String> {
        let (warning, reason, action, note) = event.ok_or_else(|| format!("{}: no event", self.name))?;
        let (truth, expected, message, _) = self.expected();
        let refused = truth == "False";
        let fits = warning == refused
            && reason == expected
            && action == if refused { "SyncFailed" } else { "Synced" }
            && note.starts_with(&message);
        if fits { Ok(()) } else { Err(format!("{}: event {reason} {action} {note:?}", self.name)) }
    }

    /// Compares an object (`None`: it was not written) with the recorded one, byte for byte but for encrypted PKCS#12.
    pub(crate) fn check_object(&self, kind: &str, object: Option<&Value>) -> Result<(), String> {
        let recorded = &self.result[kind.to_lowercase()];
        let wanted = !recorded.is_null() && !LOSSES.contains(&self.name.as_str());
        let object = match (wanted, object) {
            (true, Some(object)) => object,
            (false, None) => return Ok(()),
            (_, found) => {
                return Err(format!("{}: {kind} written: {}, expected: {wanted}", self.name, found.is_some()));
            }
        };
        for field in ["labels", "annotations", "ownerReferences"] {
            let (ours, theirs) = (&object["metadata"][field], &recorded["metadata"][field]);
            if ours != theirs {
                return Err(format!("{}: {kind} {field}: {ours}, recorded {theirs}", self.name));
            }
        }
        let sealed = self.sealed_key();
        for field in ["data", "binaryData"] {
            let (ours, theirs) = (&object[field], &recorded[field]);
            if keys(ours) != keys(theirs) {
                return Err(format!(
                    "{}: {kind} {field} has keys {:?}, recorded {:?}",
                    self.name,
                    keys(ours),
                    keys(theirs)
                ));
            }
            let same = |key: &String| {
                ours[key] == theirs[key]
                    || REFUSED_BY_JAVA.contains(&self.name.as_str()) && entries(&ours[key]) == readable(&theirs[key])
            };
            let differs = keys(ours).into_iter().find(|key| Some(key) != sealed.as_ref() && !same(key));
            if let Some(key) = differs {
                return Err(format!("{}: {kind} {field} {key}: {}, recorded {}", self.name, ours[&key], theirs[&key]));
            }
        }
        Ok(())
    }

    /// The key whose bytes trust-manager makes at random: a PKCS#12 store with a password.
    fn sealed_key(&self) -> Option<String> {
        let pkcs12 = &self.bundle()["spec"]["target"]["additionalFormats"]["pkcs12"];
        let sealed = pkcs12["password"].as_str().is_some_and(|password| !password.is_empty());
        sealed.then(|| pkcs12["key"].as_str().expect("a key").to_owned())
    }
}

/// The entries of a keystore in base64 that the well-known password opens, or none at all.
fn entries(store: &Value) -> Option<Vec<KeystoreEntry>> {
    let store = base64(store.as_str()?);
    let read = if jks::is_jks(&store) {
        jks::read(&store)
    } else {
        pkcs12::read(&store, Some(&Password::new("")), &mut KdfBudget::default())
    };
    read.ok().map(|keystore| keystore.entries)
}

/// Those of them that Java reads.
fn readable(store: &Value) -> Option<Vec<KeystoreEntry>> {
    let mut entries = entries(store)?;
    entries.retain(|entry| Anchor::from_der(entry.der.clone()).is_ok_and(|anchor| anchor.check_for_java().is_ok()));
    Some(entries)
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// The cases with a certificate that Java refuses, and with a keystore: ours lacks it.
const REFUSED_BY_JAVA: [&str; 4] = ["filtered-jks-all", "jks-all", "odd-nosubject", "p12-nopassword"];

/// The recorded cases, below the workspace's folder, whichever of its crates this is part of.
fn folder() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut candidates = crates.map(|folder| folder.join("tests/cases"));
    candidates.find(|folder| folder.is_dir()).expect("the recorded cases are there")
}

/// Decodes standard base64.
pub(crate) fn base64(text: &str) -> Vec<u8> {
    serde_json::from_value::<k8s_openapi::ByteString>(text.into()).expect("base64").0
}
