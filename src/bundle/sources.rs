//! Resolves sources into trust anchors.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::trust::{self, Anchor, Anchors, Fingerprint, NonPemFormat};
use crate::{limits, text};

use super::finding::{EXPIRY_WARNING_DAYS, Finding, Observation};
use super::id::SourceId;
use super::inputs::{Inputs, OutputKeys, SourceContent, SourceObject, SourceValue};
use super::intent::{CertificateSource, Intent, Keys, ObjectSource};
use super::refusal::Refusal;
use super::retention::{OwnCertificate, OwnCertificates};
use super::source_cycle;
use super::source_error::{SourceError, refusal_for};

/// The resolved sources of a Bundle: all of their certificates, those that are denied among them.
#[derive(Clone, Debug)]
pub struct ResolvedSources {
    /// The default CAs, if the Bundle uses them.
    pub default_cas: BTreeMap<Fingerprint, Anchor>,
    /// Origins of the certificates that do not come from the default CAs, in the order of the sources.
    pub origins: Vec<AnchorOrigin>,
    /// Findings in the sources.
    pub findings: Vec<Finding>,
    /// Version of the default CAs, if the Bundle uses them.
    pub default_ca_version: Option<String>,
    /// When the result changes by time alone.
    pub requeue_at: Option<Timestamp>,
}

/// A certificate, and the place in a source that it comes from.
#[derive(Clone, Debug)]
pub struct AnchorOrigin {
    /// The certificate.
    pub anchor: Anchor,
    /// The source and its key.
    pub location: String,
    /// The line of its begin marker, from 1.
    pub line: usize,
}

/// Resolves all sources of a Bundle.
///
/// # Errors
/// A [`Refusal`] that names every source that is missing, unreadable or malformed.
pub fn resolve(intent: &Intent, inputs: &Inputs, now: Timestamp) -> Result<ResolvedSources, Refusal> {
    let mut resolver = Resolver::new(intent, inputs, now);
    let mut errors = Vec::new();
    let mut default_ca_version = None;
    if let Some(cycle) = source_cycle::find_cycle(intent, inputs) {
        errors.push(SourceError::Cycle(cycle));
    }
    for source in &intent.sources {
        let result = match source {
            CertificateSource::DefaultCas => resolver.default_cas().map(|version| default_ca_version = Some(version)),
            CertificateSource::Inline(text) => {
                resolver.pem("inline source", text.as_bytes()).map_err(SourceError::InlinePem)
            }
            CertificateSource::Object(object) => resolver.objects(object),
        };
        errors.extend(result.err());
    }
    let Resolver { default_cas, origins, mut findings, requeue_at, .. } = resolver;
    findings.sort();
    findings.dedup();
    if !errors.is_empty() {
        return Err(refusal_for(&errors));
    }
    if default_cas.is_empty() && origins.is_empty() {
        return Err(Refusal { findings: Some(findings), requeue_at, ..refusal_for(&[SourceError::NoCertificates]) });
    }
    Ok(ResolvedSources { default_cas, origins, findings, default_ca_version, requeue_at })
}

/// Resolves the default CAs of a Bundle alone: what is known of it while its other sources are refused.
#[must_use]
pub fn resolve_default_cas(intent: &Intent, inputs: &Inputs, now: Timestamp) -> ResolvedSources {
    let mut resolver = Resolver::new(intent, inputs, now);
    let uses_them = intent.sources.iter().any(|source| matches!(source, CertificateSource::DefaultCas));
    let default_ca_version = if uses_them { resolver.default_cas().ok() } else { None };
    let Resolver { default_cas, origins, findings, requeue_at, .. } = resolver;
    ResolvedSources { default_cas, origins, findings, default_ca_version, requeue_at }
}

impl ResolvedSources {
    /// Returns the certificates that do not, or not only, come from the default CAs.
    #[must_use]
    pub fn own(&self) -> OwnCertificates {
        let mut own = OwnCertificates::new();
        for AnchorOrigin { anchor, location, line: _ } in &self.origins {
            let certificate = own
                .entry(anchor.fingerprint())
                .or_insert_with(|| OwnCertificate { anchor: anchor.clone(), origins: Vec::new() });
            if !certificate.origins.contains(location) {
                certificate.origins.push(location.clone());
            }
        }
        own
    }

    /// Returns all certificates.
    pub fn all(&self) -> impl Iterator<Item = &Anchor> {
        self.default_cas.values().chain(self.origins.iter().map(|origin| &origin.anchor))
    }

    /// Returns all certificates but those for which `denies` returns true; `None` if it does so for all.
    pub fn anchors(&self, denies: impl Fn(&Anchor) -> bool) -> Option<Anchors> {
        Anchors::collect(self.all().filter(|anchor| !denies(anchor)).cloned())
    }
}

struct Resolver<'a> {
    inputs: &'a Inputs,
    intent: &'a Intent,
    now: Timestamp,
    /// Whether the certificates go into keystores.
    keystores: bool,
    default_cas: BTreeMap<Fingerprint, Anchor>,
    /// The keys of objects that were read: what is named again has nothing to add.
    read: BTreeSet<(SourceId, String)>,
    origins: Vec<AnchorOrigin>,
    findings: Vec<Finding>,
    requeue_at: Option<Timestamp>,
}

impl<'a> Resolver<'a> {
    fn new(intent: &'a Intent, inputs: &'a Inputs, now: Timestamp) -> Self {
        Self {
            inputs,
            intent,
            now,
            keystores: intent.output.has_keystores(),
            default_cas: BTreeMap::new(),
            read: BTreeSet::new(),
            origins: Vec::new(),
            findings: intent.policy.findings().collect(),
            requeue_at: None,
        }
    }

    /// Adds the default CAs. Users do not choose them one by one, so those that are left out or expired are no
    /// findings; those that Java refuses are.
    fn default_cas(&mut self) -> Result<String, SourceError> {
        let cas = self.inputs.default_cas.as_ref().ok_or(SourceError::NoDefaultCas)?;
        for anchor in &cas.anchors {
            if self.left_out(anchor).is_none() {
                self.default_cas.insert(anchor.fingerprint(), anchor.clone());
                if self.inputs.denier(self.intent, anchor).is_none() {
                    self.note_java(anchor, "default CAs");
                }
            }
            if self.inputs.settings.filter_expired {
                self.note_change_at(end(anchor));
            }
        }
        Ok(cas.version.clone())
    }

    fn objects(&mut self, source: &ObjectSource) -> Result<(), SourceError> {
        let inputs = self.inputs;
        let ObjectSource { kind, namespace, .. } = source;
        if let Some(cause) = inputs.unreadable.get(&(*kind, namespace.clone())) {
            let (namespace, cause) = (namespace.clone(), cause.clone());
            return Err(SourceError::UnreadableNamespace { kind: *kind, namespace, cause });
        }
        if let Some(id) = source.named_object() {
            let Some(object) = inputs.sources.get(&id) else { return Err(SourceError::NoObject(id)) };
            return self.object(&id, object, &source.keys, &OutputKeys::None);
        }
        for (id, object) in inputs.sources.iter().filter(|(id, object)| source.reads(id, &object.labels)) {
            if holds_more_than_output(object, &source.keys) {
                self.object(id, object, &source.keys, &object.output)?;
            } else {
                self.findings.push(Finding { location: id.to_string(), what: Observation::OwnOutput });
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        id: &SourceId,
        object: &SourceObject,
        selected: &Keys,
        skipped: &OutputKeys,
    ) -> Result<(), SourceError> {
        let none = BTreeMap::new();
        let (values, all): (&BTreeMap<_, _>, _) = match (&object.content, selected) {
            (SourceContent::Unreadable(cause), _) => {
                return Err(SourceError::Unreadable { object: id.clone(), cause: cause.clone() });
            }
            (SourceContent::TlsKeys(_), Keys::All) => return Err(SourceError::AllKeysOfTls(id.clone())),
            (SourceContent::Keys(values), Keys::All) => (values, values),
            (SourceContent::Keys(values) | SourceContent::TlsKeys(values), Keys::One(_)) => (values, &none),
        };
        let mut undecodable = object.undecodable.iter();
        if let Some((key, cause)) = undecodable.find(|(key, _)| selected.include(key) && !skipped.include(key)) {
            return Err(SourceError::Undecodable { object: id.clone(), key: key.clone(), cause: cause.clone() });
        }
        let one = match selected {
            Keys::All => None,
            Keys::One(key) => Some(
                values.get_key_value(key).ok_or_else(|| SourceError::NoKey { object: id.clone(), key: key.clone() })?,
            ),
        };
        for (key, value) in one.into_iter().chain(all).filter(|(key, _)| !skipped.include(key)) {
            let read = (id.clone(), key.clone());
            if self.read.contains(&read) {
                continue;
            }
            let location = format!("{id} key {}", text::quote_object_name(key));
            self.text(&location, value).map_err(|error| SourceError::ObjectPem {
                object: id.clone(),
                key: key.clone(),
                error,
            })?;
            self.read.insert(read);
        }
        Ok(())
    }

    fn text(&mut self, location: &str, text: &SourceValue) -> Result<(), Box<trust::PemError>> {
        match text {
            SourceValue::Whole(text) => self.pem(location, text),
            SourceValue::NoPem(form) => {
                self.no_pem(location, *form);
                Ok(())
            }
            SourceValue::Malformed(error) => Err(error.clone()),
        }
    }

    fn no_pem(&mut self, location: &str, form: Option<NonPemFormat>) {
        self.findings.push(Finding { location: location.to_owned(), what: Observation::NoPem(form) });
    }

    fn pem(&mut self, location: &str, text: &[u8]) -> Result<(), Box<trust::PemError>> {
        let blocks = trust::pem::read(text)?;
        if blocks.is_empty() {
            self.no_pem(location, NonPemFormat::of(text));
        }
        for trust::Block { line, certificate } in blocks {
            let at = format!("{location} line {line}");
            let what = match certificate {
                Ok(anchor) => self.certificate(anchor, location, &at, line),
                Err(rejected) => Some(Observation::LeftOutRejected(text::cause(&rejected))),
            };
            let location = at;
            self.findings.extend(what.map(|what| Finding { what, location }));
        }
        Ok(())
    }

    fn certificate(&mut self, anchor: Anchor, location: &str, at: &str, line: usize) -> Option<Observation> {
        if let Some(what) = self.left_out(&anchor) {
            return Some(what);
        }
        if let Some(denier) = self.inputs.denier(self.intent, &anchor) {
            let title = title(&anchor);
            self.origins.push(AnchorOrigin { anchor, location: location.to_owned(), line });
            return Some(Observation::Denied(title, denier));
        }
        self.note_java(&anchor, at);
        let (start, end, title) = (moment(anchor.not_before()), end(&anchor), title(&anchor));
        self.note_change_at(start);
        self.note_change_at(end);
        for days in EXPIRY_WARNING_DAYS {
            self.note_change_at(before(end, days));
        }
        self.origins.push(AnchorOrigin { anchor, location: location.to_owned(), line });
        if end < self.now {
            return Some(Observation::Expired(title, end));
        }
        if self.now < start {
            return Some(Observation::NotYetValid(title, start));
        }
        let within = EXPIRY_WARNING_DAYS.into_iter().rfind(|days| before(end, *days) <= self.now)?;
        Some(Observation::ExpiresSoon { within, title, end })
    }

    fn note_java(&mut self, anchor: &Anchor, location: &str) {
        if self.keystores
            && let Err(flaw) = anchor.check_for_java()
        {
            let what = Observation::NotForJava(title(anchor), flaw);
            self.findings.push(Finding { what, location: location.to_owned() });
        }
    }

    fn left_out(&self, anchor: &Anchor) -> Option<Observation> {
        let settings = &self.inputs.settings;
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
    fn note_change_at(&mut self, moment: Timestamp) {
        let next = moment.saturating_add(SignedDuration::from_secs(1)).expect("a second can be added up to the limit");
        if next > self.now {
            self.requeue_at = Some(self.requeue_at.map_or(next, |sooner| sooner.min(next)));
        }
    }
}

/// Whether a selector reads anything of the object: all that no Bundle wrote. What cannot be read might be more.
fn holds_more_than_output(object: &SourceObject, selected: &Keys) -> bool {
    let SourceObject { labels: _, output, content, undecodable } = object;
    match (output, content, selected) {
        (OutputKeys::None, _, _) | (OutputKeys::Some(_), SourceContent::Unreadable(_), Keys::All) => true,
        (OutputKeys::All, _, _) => false,
        (OutputKeys::Some(keys), SourceContent::Unreadable(_), Keys::One(key)) => !keys.contains(key),
        (OutputKeys::Some(keys), SourceContent::Keys(values) | SourceContent::TlsKeys(values), selected) => {
            values.keys().chain(undecodable.keys()).any(|key| selected.include(key) && !keys.contains(key))
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
    format!("{} ({})", text::truncate_bytes(anchor.subject(), limits::SUBJECT.max), anchor.fingerprint().short())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bundle::fixture::{TRUST_NAMESPACE, anchor, bundle, denying, intent, now, pem};
    use crate::bundle::{DecisionSettings, DefaultCas, ObjectKind, Reason, TrustNamespaces};

    fn with_sources(sources: &Value) -> Intent {
        intent("b", &json!({ "sources": sources, "target": { "configMap": { "key": "out" } } }))
    }

    fn findings(resolved: &ResolvedSources) -> Vec<String> {
        resolved.findings.iter().map(ToString::to_string).collect()
    }

    fn count(resolved: &ResolvedSources) -> usize {
        resolved.anchors(|_| false).map_or(0, |anchors| anchors.len())
    }

    #[test]
    fn own_certificates_have_the_keys_that_they_come_from_once() {
        let twice = pem("rsa") + &pem("ec") + &pem("rsa");
        let inputs = Inputs::default().with_config_map("one", &[], &[("ca", &twice)]);
        let sources = json!([{ "configMap": { "name": "one", "key": "ca" } }, { "inLine": pem("rsa") }]);
        let own = resolve(&with_sources(&sources), &inputs, now()).expect("resolved").own();
        let key = "ConfigMap cert-manager/one key \"ca\"";
        assert_eq!(own[&anchor("rsa").fingerprint()].origins, [key, "inline source"]);
        assert_eq!(own[&anchor("ec").fingerprint()].origins, [key]);
    }

    #[test]
    fn a_denied_certificate_of_a_source_is_there_and_named_with_what_denies_it() {
        let inputs = Inputs { denials: denying("incident", &["expired"]), ..Inputs::default() };
        let resolved =
            resolve(&with_sources(&json!([{ "inLine": pem("expired") + &pem("rsa") }])), &inputs, now()).expect("one");
        assert_eq!((count(&resolved), resolved.own().len()), (2, 2));
        let [finding] = &findings(&resolved)[..] else { panic!("{:?}", resolved.findings) };
        assert!(finding.starts_with("inline source line 1: CN=Expired Root A"), "{finding}");
        assert!(finding.contains(" left out: distrusted by Distrust incident: take it out of the source"), "{finding}");
    }

    #[test]
    fn an_expired_certificate_is_published_and_named_unless_the_filter_is_on() {
        let inputs = Inputs::default().with_config_map("old", &[], &[("ca", &(pem("expired") + &pem("rsa")))]);
        let intent = with_sources(&json!([{ "configMap": { "name": "old", "key": "ca" } }]));
        let resolved = resolve(&intent, &inputs, now()).expect("resolved");
        assert_eq!(count(&resolved), 2);
        let locations: Vec<_> = resolved.origins.iter().map(|origin| (&*origin.location, origin.line)).collect();
        let key = "ConfigMap cert-manager/old key \"ca\"";
        assert_eq!(locations, [(key, 1), (key, 11)]);
        let [finding] = &findings(&resolved)[..] else { panic!("{:?}", resolved.findings) };
        assert!(
            finding.starts_with("ConfigMap cert-manager/old key \"ca\" line 1: ") && finding.contains(" expired on "),
            "{finding}"
        );

        let inputs =
            Inputs { settings: DecisionSettings { filter_expired: true, ..DecisionSettings::default() }, ..inputs };
        let resolved = resolve(&intent, &inputs, now()).expect("resolved");
        assert_eq!(count(&resolved), 1);
        assert!(findings(&resolved)[0].contains("left out: expired on "), "{:?}", resolved.findings);
    }

    #[test]
    fn a_bundle_is_requeued_when_a_certificate_begins_nears_its_end_and_ends() {
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
            let resolved = resolve(&intent, &Inputs::default(), at).expect("resolved");
            let found = findings(&resolved);
            assert_eq!(found.len(), usize::from(words.is_some()), "{found:?}");
            assert!(words.is_none_or(|words| found[0].contains(words)), "{words:?}: {found:?}");
            assert_eq!(resolved.requeue_at, Some(next + second));
            at = next + second;
        }
        let over = resolve(&intent, &Inputs::default(), at).expect("resolved");
        assert!(findings(&over)[0].contains(" expired on "), "{:?}", over.findings);
        assert_eq!(over.requeue_at, None);
    }

    #[test]
    fn default_cas_are_no_finding_whatever_their_state() {
        let expired = trust::pem::read(pem("expired").as_bytes()).expect("PEM").remove(0).certificate.expect("one");
        let rsa = trust::pem::read(pem("rsa").as_bytes()).expect("PEM").remove(0).certificate.expect("one");
        let cas = DefaultCas { version: "v".to_owned(), anchors: vec![expired, rsa] };
        let settings = DecisionSettings { filter_expired: true, ..DecisionSettings::default() };
        let inputs = Inputs { default_cas: Some(cas), settings, ..Inputs::default() };
        let resolved = resolve(&with_sources(&json!([{ "useDefaultCAs": true }])), &inputs, now()).expect("resolved");
        assert_eq!((count(&resolved), resolved.origins.len(), resolved.findings.len()), (1, 0, 0));
        assert_eq!(resolved.default_ca_version.as_deref(), Some("v"));
    }

    #[test]
    fn a_selector_does_not_read_the_output_of_bundles_but_names_it() {
        let inputs = Inputs::default()
            .with_config_map("mine", &[("pick", "me")], &[("ca", &pem("rsa"))])
            .with_config_map("made", &[("pick", "me"), (crate::api::BUNDLE_LABEL, "made")], &[("ca", &pem("ec"))]);
        let intent =
            with_sources(&json!([{ "configMap": { "selector": { "matchLabels": { "pick": "me" } }, "key": "ca" } }]));
        let resolved = resolve(&intent, &inputs, now()).expect("resolved");
        assert_eq!(count(&resolved), 1);
        assert_eq!(
            findings(&resolved),
            ["ConfigMap cert-manager/made: not read: it carries the Bundle label, so it is the output of a Bundle"]
        );
    }

    #[test]
    fn a_selector_reads_no_ledger() {
        let inputs = Inputs::default()
            .with_config_map("mine", &[("pick", "me")], &[("ca", &pem("rsa"))])
            .with_config_map("ledger", &[("pick", "me"), (crate::api::LEDGER_LABEL, "bundle")], &[("ca", &pem("ec"))]);
        let selector = json!({ "matchLabels": { "pick": "me" } });
        let intent = with_sources(&json!([{ "configMap": { "selector": selector, "key": "ca" } }]));
        let resolved = resolve(&intent, &inputs, now()).expect("resolved");
        assert_eq!((resolved.origins.len(), findings(&resolved)), (1, Vec::new()));
    }

    #[test]
    fn the_sources_of_a_bundle_are_read_in_its_trust_namespace_alone() {
        let mut inputs = Inputs::default().with_config_map("ca", &[("pick", "me")], &[("ca", &pem("rsa"))]);
        let main = inputs.sources.values().next().expect("a source").clone();
        let id = |name: &str| SourceId { kind: ObjectKind::ConfigMap, namespace: "team".into(), name: name.into() };
        let theirs = SourceContent::Keys([("ca".to_owned(), pem("ec").into_bytes().into())].into());
        inputs.sources.insert(id("ca"), SourceObject { content: theirs, ..main });
        let list = (ObjectKind::ConfigMap, "team".into());
        let denied = Inputs { unreadable: [(list, "forbidden".to_owned())].into(), ..Inputs::default() };
        for select in [json!({ "name": "ca" }), json!({ "selector": { "matchLabels": { "pick": "me" } } })] {
            let mut source = select;
            source["key"] = json!("ca");
            let mut bundle = bundle(
                "b",
                &json!({ "sources": [{ "configMap": source }], "target": { "configMap": { "key": "out" } } }),
            );
            bundle.metadata.annotations = Some([("rootcast.dev/trust-namespace".to_owned(), "team".to_owned())].into());
            let namespaces = TrustNamespaces::new(TRUST_NAMESPACE, &["team".to_owned()]);
            let intent = Intent::parse(&bundle, &namespaces).expect("a valid Bundle");
            let resolved = resolve(&intent, &inputs, now()).expect("resolved");
            assert!(resolved.origins.iter().map(|origin| &origin.anchor).eq([&anchor("ec")]));
            let refusal = resolve(&intent, &denied, now()).expect_err("the namespace may not be read");
            assert_eq!(
                refusal.message,
                "Failed to build bundle sources: ConfigMaps of trust namespace team may not be read: forbidden: create the namespace and a Role there that lets rootcast get, list and watch ConfigMaps (chart app.trust.additionalNamespaces), or take it out of annotation rootcast.dev/trust-namespace"
            );
        }
    }

    #[test]
    fn of_an_adopted_object_a_selector_still_reads_what_no_bundle_wrote() {
        let mut inputs =
            Inputs::default().with_config_map("b", &[("pick", "me")], &[("ca", &pem("rsa")), ("out", &pem("ec"))]);
        let selecting = |keys: Value| {
            let mut source = keys;
            source["selector"] = json!({ "matchLabels": { "pick": "me" } });
            with_sources(&json!([{ "configMap": source }]))
        };
        let intents = [selecting(json!({ "key": "ca" })), selecting(json!({ "includeAllKeys": true }))];
        let object = inputs.sources.values_mut().next().expect("the object");
        object.labels.insert(crate::api::BUNDLE_LABEL.to_owned(), "b".to_owned());
        object.output = OutputKeys::Some(["out".to_owned()].into());
        for intent in &intents {
            assert_eq!(count(&resolve(intent, &inputs, now()).expect("resolved")), 1);
        }
        inputs.sources.values_mut().next().expect("the object").content = SourceContent::Unreadable("why".to_owned());
        for intent in &intents {
            assert!(resolve(intent, &inputs, now()).expect_err("it may hold more").retry);
        }
    }

    #[test]
    fn every_source_that_cannot_be_used_is_named() {
        let inputs = Inputs::default().with_config_map("there", &[], &[("ca", &pem("rsa"))]);
        let refusal = resolve(
            &with_sources(&json!([
                { "configMap": { "name": "absent", "key": "ca" } },
                { "configMap": { "name": "there", "key": "nope" } },
                { "inLine": "-----BEGIN CERTIFICATE-----\n" },
            ])),
            &inputs,
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
        let source = Inputs::default().with_config_map("b", &[], &[("ca", &pem("rsa"))]);
        let chain = source.with_intent(&a).with_intent(&b).with_intent(&c);
        assert!(resolve(&a, &chain, now()).is_ok());

        let c = reading("c", "a");
        let refusal = resolve(&a, &chain.with_intent(&c), now()).expect_err("a cycle");
        assert_eq!(refusal.reason, Reason::SourceBuildError);
        assert!(refusal.message.contains("in a cycle: a -> b -> c -> a"), "{}", refusal.message);
    }
}
