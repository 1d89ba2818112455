//! From sources to trust anchors.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::trust::{self, Anchor, Anchors, Form};
use crate::{limits, text};

use super::chain;
use super::fault::{Fault, refuse};
use super::finding::{Finding, Observation, SOON};
use super::intent::{Intent, Keys, ObjectKind, ObjectSource, Select, Source};
use super::report::Refusal;
use super::stock::Stock;
use super::world::{Content, OutputKeys, SourceObject, Text, World};

/// The most characters of a key of a source: the longest that the API server takes.
const KEY_MAX: usize = 253;

/// What the sources of a Bundle amount to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The certificates to publish.
    pub anchors: Anchors,
    /// Those of them that a source names, which default CAs do not, in the order of the sources.
    pub origins: Vec<Origin>,
    /// When these expire.
    pub stock: Stock,
    /// What the admin should know about the sources.
    pub findings: Vec<Finding>,
    /// Version of the default CAs, if the Bundle asks for them.
    pub default_ca_version: Option<String>,
    /// When time alone changes this result.
    pub look_again: Option<Timestamp>,
}

/// A certificate, and a place that it comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The certificate.
    pub anchor: Anchor,
    /// The source, and its key.
    pub place: String,
    /// The line of its begin marker, from 1.
    pub line: usize,
}

/// Gathers the certificates of all sources.
///
/// # Errors
/// A [`Refusal`] that names every source that is missing, unreadable or malformed.
pub fn resolve(intent: &Intent, world: &World, now: Timestamp) -> Result<Resolved, Refusal> {
    let mut gathering = Gathering {
        world,
        now,
        keystores: intent.output.has_keystores(),
        found: Vec::new(),
        read: BTreeSet::new(),
        origins: Vec::new(),
        findings: Vec::new(),
        look_again: None,
    };
    let mut faults = Vec::new();
    let mut default_ca_version = None;
    if let Some(cycle) = chain::cycle(intent, world) {
        faults.push(Fault::Cycle(cycle));
    }
    for source in &intent.sources {
        let result = match source {
            Source::DefaultCas => gathering.default_cas().map(|version| default_ca_version = Some(version)),
            Source::Inline(text) => gathering.pem("inline source", text.as_bytes()).map_err(Fault::InlinePem),
            Source::Object(object) => gathering.objects(&intent.trust_namespace, object),
        };
        faults.extend(result.err());
    }
    let Gathering { found, origins, mut findings, look_again, .. } = gathering;
    findings.sort();
    findings.dedup();
    if !faults.is_empty() {
        return Err(refuse(&faults));
    }
    let published = found.into_iter().chain(origins.iter().map(|origin| origin.anchor.clone()));
    let Some(anchors) = Anchors::collect(published) else {
        return Err(Refusal { findings: Some(findings), look_again, ..refuse(&[Fault::Nothing]) });
    };
    let own = origins.iter().map(|origin| origin.anchor.fingerprint()).collect();
    let stock = Stock::of(&anchors, &own);
    Ok(Resolved { anchors, origins, stock, findings, default_ca_version, look_again })
}

struct Gathering<'a> {
    world: &'a World,
    now: Timestamp,
    /// Whether the certificates go into keystores.
    keystores: bool,
    /// Default CAs.
    found: Vec<Anchor>,
    /// The keys of objects that were read: what is named again has nothing to add.
    read: BTreeSet<(ObjectKind, String, String)>,
    origins: Vec<Origin>,
    findings: Vec<Finding>,
    look_again: Option<Timestamp>,
}

impl Gathering<'_> {
    /// Default CAs are somebody else's choice: what time or filters do to them is no finding. What Java refuses is.
    fn default_cas(&mut self) -> Result<String, Fault> {
        let cas = self.world.default_cas.as_ref().ok_or(Fault::NoDefaultCas)?;
        for anchor in &cas.anchors {
            if self.left_out(anchor).is_none() {
                self.found.push(anchor.clone());
                self.note_java(anchor, "default CAs");
            }
            if self.world.settings.filter_expired {
                self.at(end(anchor));
            }
        }
        Ok(cas.version.clone())
    }

    fn objects(&mut self, namespace: &str, source: &ObjectSource) -> Result<(), Fault> {
        let ObjectSource { kind, select, keys } = source;
        let world = self.world;
        match select {
            Select::Named(name) => {
                let object = world.sources.get(&(*kind, name.clone())).ok_or_else(|| Fault::NoObject {
                    kind: *kind,
                    namespace: namespace.to_owned(),
                    name: name.clone(),
                })?;
                self.object(*kind, namespace, name, object, keys, &OutputKeys::None)
            }
            Select::Labelled(selector) => {
                let selected =
                    world.sources.iter().filter(|((of, _), object)| of == kind && selector.matches(&object.labels));
                for ((_, name), object) in selected {
                    if holds_more_than_output(object, keys) {
                        self.object(*kind, namespace, name, object, keys, &object.output)?;
                    } else {
                        let place = format!("{} {namespace}/{name}", kind.as_str());
                        self.findings.push(Finding { place, what: Observation::OwnOutput });
                    }
                }
                Ok(())
            }
        }
    }

    fn object(
        &mut self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
        object: &SourceObject,
        wanted: &Keys,
        skipped: &OutputKeys,
    ) -> Result<(), Fault> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let none = BTreeMap::new();
        let (values, all): (&BTreeMap<_, _>, _) = match (&object.content, wanted) {
            (Content::Unreadable(cause), _) => {
                return Err(Fault::Unreadable { kind, namespace, name, cause: cause.clone() });
            }
            (Content::TlsKeys(_), Keys::All) => {
                return Err(Fault::AllKeysOfTls { namespace, name });
            }
            (Content::Keys(values), Keys::All) => (values, values),
            (Content::Keys(values) | Content::TlsKeys(values), Keys::One(_)) => (values, &none),
        };
        let mut undecodable = object.undecodable.iter();
        if let Some((key, cause)) = undecodable.find(|(key, _)| wanted.include(key) && !skipped.include(key)) {
            let (key, cause) = (key.clone(), cause.clone());
            return Err(Fault::Undecodable { kind, namespace, name, key, cause });
        }
        let one = match wanted {
            Keys::All => None,
            Keys::One(key) => Some(values.get_key_value(key).ok_or_else(|| Fault::NoKey {
                kind,
                namespace: namespace.clone(),
                name: name.clone(),
                key: key.clone(),
            })?),
        };
        for (key, value) in one.into_iter().chain(all).filter(|(key, _)| !skipped.include(key)) {
            let id = (kind, name.clone(), key.clone());
            if self.read.contains(&id) {
                continue;
            }
            let place = format!("{} {namespace}/{name} key {}", kind.as_str(), text::quote(key, KEY_MAX));
            self.text(&place, value).map_err(|error| Fault::ObjectPem {
                kind,
                namespace: namespace.clone(),
                name: name.clone(),
                key: key.clone(),
                error,
            })?;
            self.read.insert(id);
        }
        Ok(())
    }

    fn text(&mut self, place: &str, text: &Text) -> Result<(), Box<trust::PemError>> {
        match text {
            Text::Whole(text) => self.pem(place, text),
            Text::NoPem(form) => {
                self.no_pem(place, *form);
                Ok(())
            }
            Text::Malformed(error) => Err(error.clone()),
        }
    }

    fn no_pem(&mut self, place: &str, form: Option<Form>) {
        self.findings.push(Finding { place: place.to_owned(), what: Observation::NoPem(form) });
    }

    fn pem(&mut self, place: &str, text: &[u8]) -> Result<(), Box<trust::PemError>> {
        let blocks = trust::pem::read(text)?;
        if blocks.is_empty() {
            self.no_pem(place, Form::of(text));
        }
        for trust::Block { line, certificate } in blocks {
            let at = format!("{place} line {line}");
            let what = match certificate {
                Ok(anchor) => self.certificate(anchor, place, &at, line),
                Err(rejected) => Some(Observation::LeftOutRejected(text::cause(&rejected))),
            };
            let place = at;
            self.findings.extend(what.map(|what| Finding { what, place }));
        }
        Ok(())
    }

    fn certificate(&mut self, anchor: Anchor, place: &str, at: &str, line: usize) -> Option<Observation> {
        if let Some(what) = self.left_out(&anchor) {
            return Some(what);
        }
        self.note_java(&anchor, at);
        let (start, end, title) = (moment(anchor.not_before()), end(&anchor), title(&anchor));
        self.at(start);
        self.at(end);
        for days in SOON {
            self.at(before(end, days));
        }
        self.origins.push(Origin { anchor, place: place.to_owned(), line });
        if end < self.now {
            return Some(Observation::Expired(title, end));
        }
        if self.now < start {
            return Some(Observation::NotYetValid(title, start));
        }
        let within = SOON.into_iter().rfind(|days| before(end, *days) <= self.now)?;
        Some(Observation::ExpiresSoon { within, title, end })
    }

    fn note_java(&mut self, anchor: &Anchor, place: &str) {
        if self.keystores
            && let Err(flaw) = anchor.check_for_java()
        {
            let what = Observation::NotForJava(title(anchor), flaw);
            self.findings.push(Finding { what, place: place.to_owned() });
        }
    }

    fn left_out(&self, anchor: &Anchor) -> Option<Observation> {
        let settings = &self.world.settings;
        if settings.filter_expired && end(anchor) < self.now {
            Some(Observation::LeftOutExpired(title(anchor), end(anchor)))
        } else if settings.filter_non_ca && !anchor.is_ca() {
            Some(Observation::LeftOutNonCa(title(anchor)))
        } else {
            None
        }
    }

    /// Remembers the first moment from now on at which the result may differ: one second later, since an end counts
    /// as passed only after its own second.
    fn at(&mut self, moment: Timestamp) {
        let next = moment.saturating_add(SignedDuration::from_secs(1)).expect("a second can be added up to the limit");
        if next > self.now {
            self.look_again = Some(self.look_again.map_or(next, |sooner| sooner.min(next)));
        }
    }
}

/// Whether a selector reads anything of the object: all that no Bundle wrote. What cannot be read might be more.
fn holds_more_than_output(object: &SourceObject, wanted: &Keys) -> bool {
    let SourceObject { labels: _, output, content, undecodable } = object;
    match (output, content, wanted) {
        (OutputKeys::None, _, _) | (OutputKeys::Some(_), Content::Unreadable(_), Keys::All) => true,
        (OutputKeys::All, _, _) => false,
        (OutputKeys::Some(keys), Content::Unreadable(_), Keys::One(key)) => !keys.contains(key),
        (OutputKeys::Some(keys), Content::Keys(values) | Content::TlsKeys(values), wanted) => {
            values.keys().chain(undecodable.keys()).any(|key| wanted.include(key) && !keys.contains(key))
        }
    }
}

/// The last moment of the certificate's time.
fn end(anchor: &Anchor) -> Timestamp {
    moment(anchor.not_after())
}

/// What lies beyond the calendar counts as its end.
fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn before(end: Timestamp, days: i64) -> Timestamp {
    end.saturating_sub(SignedDuration::from_hours(24 * days)).expect("days can be taken off down to the limit")
}

fn title(anchor: &Anchor) -> String {
    format!("{} ({})", text::clip(anchor.subject(), limits::SUBJECT.max), anchor.fingerprint().short())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::{intent, now, pem};
    use crate::bundle::{DefaultCas, Reason, Settings};

    fn with_sources(sources: &Value) -> Intent {
        intent("b", &json!({ "sources": sources, "target": { "configMap": { "key": "out" } } }))
    }

    fn findings(resolved: &Resolved) -> Vec<String> {
        resolved.findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_expired_certificate_is_published_and_named_unless_the_filter_is_on() {
        let world = World::default().with_config_map("old", &[], &[("ca", &(pem("expired") + &pem("rsa")))]);
        let intent = with_sources(&json!([{ "configMap": { "name": "old", "key": "ca" } }]));
        let resolved = resolve(&intent, &world, now()).expect("resolved");
        assert_eq!(resolved.anchors.len(), 2);
        let places: Vec<_> = resolved.origins.iter().map(|origin| (&*origin.place, origin.line)).collect();
        let key = "ConfigMap cert-manager/old key \"ca\"";
        assert_eq!(places, [(key, 1), (key, 11)]);
        let [finding] = &findings(&resolved)[..] else { panic!("{:?}", resolved.findings) };
        assert!(
            finding.starts_with("ConfigMap cert-manager/old key \"ca\" line 1: ") && finding.contains(" expired on "),
            "{finding}"
        );

        let world = World { settings: Settings { filter_expired: true, ..Settings::default() }, ..world };
        let resolved = resolve(&intent, &world, now()).expect("resolved");
        assert_eq!(resolved.anchors.len(), 1);
        assert!(findings(&resolved)[0].contains("left out: expired on "), "{:?}", resolved.findings);
    }

    #[test]
    fn a_certificate_is_looked_at_again_when_it_begins_when_it_nears_its_end_and_when_it_ends() {
        let block = trust::pem::read(pem("rsa").as_bytes()).expect("PEM").remove(0);
        let anchor = block.certificate.expect("a certificate");
        let intent = with_sources(&json!([{ "inLine": pem("rsa") }]));
        let second = SignedDuration::from_secs(1);
        let (start, end) = (moment(anchor.not_before()), end(&anchor));
        let mut at = start - second;
        for (words, next) in [
            (Some(" is not valid before "), start),
            (None, before(end, 30)),
            (Some(", within 30 days"), before(end, 7)),
            (Some(", within 7 days"), before(end, 1)),
            (Some(", within 1 day"), end),
        ] {
            let resolved = resolve(&intent, &World::default(), at).expect("resolved");
            let found = findings(&resolved);
            assert_eq!(found.len(), usize::from(words.is_some()), "{found:?}");
            assert!(words.is_none_or(|words| found[0].contains(words)), "{words:?}: {found:?}");
            assert_eq!(resolved.look_again, Some(next + second));
            at = next + second;
        }
        let over = resolve(&intent, &World::default(), at).expect("resolved");
        assert!(findings(&over)[0].contains(" expired on "), "{:?}", over.findings);
        assert_eq!(over.look_again, None);
    }

    #[test]
    fn default_cas_are_no_finding_whatever_their_state() {
        let expired = trust::pem::read(pem("expired").as_bytes()).expect("PEM").remove(0).certificate.expect("one");
        let rsa = trust::pem::read(pem("rsa").as_bytes()).expect("PEM").remove(0).certificate.expect("one");
        let cas = DefaultCas { version: "v".to_owned(), anchors: vec![expired, rsa] };
        let settings = Settings { filter_expired: true, ..Settings::default() };
        let world = World { default_cas: Some(cas), settings, ..World::default() };
        let resolved = resolve(&with_sources(&json!([{ "useDefaultCAs": true }])), &world, now()).expect("resolved");
        assert_eq!((resolved.anchors.len(), resolved.origins.len(), resolved.findings.len()), (1, 0, 0));
        assert_eq!(resolved.default_ca_version.as_deref(), Some("v"));
    }

    #[test]
    fn a_selector_does_not_read_the_output_of_bundles_but_names_it() {
        let world = World::default()
            .with_config_map("mine", &[("pick", "me")], &[("ca", &pem("rsa"))])
            .with_config_map("made", &[("pick", "me"), (crate::api::BUNDLE_LABEL, "made")], &[("ca", &pem("ec"))]);
        let intent =
            with_sources(&json!([{ "configMap": { "selector": { "matchLabels": { "pick": "me" } }, "key": "ca" } }]));
        let resolved = resolve(&intent, &world, now()).expect("resolved");
        assert_eq!(resolved.anchors.len(), 1);
        assert_eq!(
            findings(&resolved),
            ["ConfigMap cert-manager/made: not read: it carries the Bundle label, so it is the output of a Bundle"]
        );
    }

    #[test]
    fn of_an_adopted_object_a_selector_still_reads_what_no_bundle_wrote() {
        let mut world =
            World::default().with_config_map("b", &[("pick", "me")], &[("ca", &pem("rsa")), ("out", &pem("ec"))]);
        let selecting = |keys: Value| {
            let mut source = keys;
            source["selector"] = json!({ "matchLabels": { "pick": "me" } });
            with_sources(&json!([{ "configMap": source }]))
        };
        let intents = [selecting(json!({ "key": "ca" })), selecting(json!({ "includeAllKeys": true }))];
        let object = world.sources.values_mut().next().expect("the object");
        object.labels.insert(crate::api::BUNDLE_LABEL.to_owned(), "b".to_owned());
        object.output = OutputKeys::Some(["out".to_owned()].into());
        for intent in &intents {
            assert_eq!(resolve(intent, &world, now()).expect("resolved").anchors.len(), 1);
        }
        world.sources.values_mut().next().expect("the object").content = Content::Unreadable("why".to_owned());
        for intent in &intents {
            assert!(resolve(intent, &world, now()).expect_err("it may hold more").retry);
        }
    }

    #[test]
    fn every_source_that_cannot_be_used_is_named() {
        let world = World::default().with_config_map("there", &[], &[("ca", &pem("rsa"))]);
        let refusal = resolve(
            &with_sources(&json!([
                { "configMap": { "name": "absent", "key": "ca" } },
                { "configMap": { "name": "there", "key": "nope" } },
                { "inLine": "-----BEGIN CERTIFICATE-----\n" },
            ])),
            &world,
            now(),
        )
        .expect_err("three faults");
        assert_eq!(refusal.reason, Reason::SourceNotFound);
        for words in [
            "cert-manager/absent: ConfigMap \"absent\" not found",
            "cert-manager/there at key \"nope\"",
            "inline source contains invalid PEM data",
        ] {
            assert!(refusal.message.contains(words), "{words}: {}", refusal.message);
        }
    }

    #[test]
    fn chains_of_bundles_are_fine_and_cycles_are_refused_by_name() {
        let reading = |name: &str, from: &str| {
            intent(
                name,
                &json!({ "sources": [{ "configMap": { "name": from, "key": "ca" } }], "target": { "configMap": { "key": "ca" } } }),
            )
        };
        let (a, b, c) = (reading("a", "b"), reading("b", "c"), reading("c", "plain"));
        let source = World::default().with_config_map("b", &[], &[("ca", &pem("rsa"))]);
        let chain = source.with_intent(&a).with_intent(&b).with_intent(&c);
        assert!(resolve(&a, &chain, now()).is_ok());

        let c = reading("c", "a");
        let refusal = resolve(&a, &chain.with_intent(&c), now()).expect_err("a cycle");
        assert_eq!(refusal.reason, Reason::SourceBuildError);
        assert!(refusal.message.contains("in a cycle: a -> b -> c -> a"), "{}", refusal.message);
    }
}
