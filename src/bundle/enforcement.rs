//! How far Distrusts are enforced in the targets of Bundles, as this process knows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::trust::{Anchor, Fingerprint};
use crate::{api, text};

use super::decision::{Desired, ExistingTargets};
use super::denial::{Denials, DeniedCertificates};
use super::id::{BundleId, TargetRef};
use super::last_status::LastStatus;
use super::refusal::Refusal;

/// Maximum number of Bundles, of namespaces of each, and of related certificates in a condition.
const SHOWN: usize = 5;

/// The reasons of condition `Enforced`.
const EVERYWHERE: &str = "Everywhere";
const PENDING: &str = "Pending";
const NOT_ENFORCED: &str = "NotEnforced";

/// How far denials are enforced in the targets of one Bundle.
#[derive(Debug, Default)]
pub struct Enforcement {
    /// All that was denied at the last decision or refusal; `None` before the first.
    denied: Option<(Denials, BTreeSet<Fingerprint>)>,
    /// Distrusts of which a target may still hold a certificate.
    pending: BTreeSet<Arc<str>>,
    /// Namespaces whose targets could not be written last.
    failing: BTreeSet<Arc<str>>,
    /// Why targets cannot be written.
    obstacle: Option<String>,
    /// Whether every target holds the content decided last, as far as targets can be written.
    is_rolled_out: bool,
    /// Whether the Bundle is refused, and its targets get what it published last but for what is denied.
    is_overriding: bool,
}

/// What one Bundle says of a Distrust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DistrustProgress {
    /// No target holds what it names.
    Enforced,
    /// Targets may still hold it; those in these namespaces could not be written.
    Pending(BTreeSet<Arc<str>>),
    /// It is not enforced, for this cause.
    NotEnforced(String),
}

/// One Bundle, for the report on a Distrust.
#[derive(Clone, Debug)]
pub struct DistrustedBundle<'a> {
    /// The Bundle.
    pub id: &'a BundleId,
    /// What it says of the Distrust.
    pub progress: DistrustProgress,
    /// Certificates that it publishes and that are related to denied ones, in words.
    pub related: Option<&'a BTreeSet<String>>,
}

impl Default for DistrustProgress {
    /// Returns that of a Bundle of which nothing is known yet.
    fn default() -> Self {
        Self::Pending(BTreeSet::new())
    }
}

impl Enforcement {
    /// Records a decision; returns whether it denies more than the last one, so that its rollout must not wait.
    pub fn decided(&mut self, denials: &Denials, exclude: &BTreeSet<Fingerprint>, desired: &Desired) -> bool {
        (self.is_overriding, self.is_rolled_out) = (false, false);
        self.obstacle = obstacle(desired);
        self.update(denials, exclude)
    }

    /// Records a refusal; returns what targets get meanwhile, and whether its rollout must not wait: nothing, unless
    /// what was published last holds something that is denied.
    pub fn refused(
        &mut self,
        denials: &Denials,
        exclude: Option<&BTreeSet<Fingerprint>>,
        published: Option<&Arc<Desired>>,
        refusal: &Refusal,
    ) -> (Option<Arc<Desired>>, bool) {
        let before = self.denied.as_ref().map(|(_, exclude)| exclude.clone()).unwrap_or_default();
        let exclude = exclude.cloned().unwrap_or(before);
        let was_pending = !self.pending.is_empty();
        let is_urgent = self.update(denials, &exclude);
        self.obstacle = match published {
            Some(published) => obstacle(published),
            None => Some(format!(
                "it is refused ({}), and what it published before this process started is not known: mend it",
                refusal.reason
            )),
        };
        let Some(published) = published.filter(|_| !denials.is_empty() || !exclude.is_empty()) else {
            self.is_overriding = false;
            return (None, is_urgent);
        };
        let denies = |anchor: &Anchor| denials.denier(anchor, &exclude).is_some();
        let rest = published.without_denied(denies).map(Arc::new);
        // A target that the last rollout has not reached may hold what the content lacks already.
        self.is_overriding |= rest.is_some() || was_pending || (!self.pending.is_empty() && !self.is_rolled_out);
        if !self.is_overriding {
            self.pending.clear();
            return (None, is_urgent);
        }
        (Some(rest.unwrap_or_else(|| published.clone())), is_urgent)
    }

    /// Records the outcome of a rollout.
    pub fn on_outcome(&mut self, failures: &[(TargetRef, String)]) {
        self.failing = failures.iter().map(|(target, _)| target.namespace.clone()).collect();
        if self.failing.is_empty() && self.obstacle.is_none() {
            self.is_rolled_out = true;
            self.pending.clear();
        }
    }

    /// Returns whether targets get something else than what was decided.
    #[must_use]
    pub fn is_overriding(&self) -> bool {
        self.is_overriding
    }

    /// Returns whether the Bundle was decided or refused.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.denied.is_some()
    }

    /// Returns how far a Distrust is enforced; `has_targets` returns whether the Bundle may have any.
    #[must_use]
    pub fn progress(
        &self,
        distrust: &str,
        denied: &DeniedCertificates,
        has_targets: impl FnOnce() -> bool,
    ) -> DistrustProgress {
        let known = self.denied.as_ref().and_then(|(denials, _)| denials.get(distrust));
        let is_pending = self.pending.contains(distrust) || !known.is_some_and(|known| denied.is_within(known));
        match &self.obstacle {
            _ if !is_pending => DistrustProgress::Enforced,
            Some(_) if !has_targets() => DistrustProgress::Enforced,
            Some(obstacle) => DistrustProgress::NotEnforced(obstacle.clone()),
            None => DistrustProgress::Pending(self.failing.clone()),
        }
    }

    fn update(&mut self, denials: &Denials, exclude: &BTreeSet<Fingerprint>) -> bool {
        let before = self.denied.replace((denials.clone(), exclude.clone()));
        let (grown, excludes_more) = match &before {
            None => (denials.grown_since(&Denials::default()), false),
            Some((old, excluded)) => (denials.grown_since(old), !exclude.is_subset(excluded)),
        };
        let is_urgent = before.is_some() && (!grown.is_empty() || excludes_more);
        self.pending.retain(|name| denials.get(name).is_some());
        self.pending.extend(grown);
        is_urgent
    }
}

/// Why targets that exist are not written.
fn obstacle(desired: &Desired) -> Option<String> {
    let obstacle = match desired.existing {
        ExistingTargets::Keep => {
            Some("its ledger is lost, so targets that exist stay as they are: see its condition Retiring")
        }
        ExistingTargets::Update if desired.secrets_off => Some(
            "its Secret targets are switched off, and what was written before is not looked at: switch them on (--secret-targets-enabled), or drop target.secret",
        ),
        ExistingTargets::Update => None,
    };
    obstacle.map(str::to_owned)
}

/// Returns condition `Enforced` of a Distrust, of which `faults` could not be read.
#[must_use]
pub fn report_distrust(
    bundles: &[DistrustedBundle<'_>],
    faults: &[String],
    last: &LastStatus,
    now: Timestamp,
) -> Condition {
    let (mut pending, mut not_enforced) = (Vec::new(), Vec::new());
    for DistrustedBundle { id, progress, related: _ } in bundles {
        match progress {
            DistrustProgress::Enforced => {}
            DistrustProgress::Pending(namespaces) if namespaces.is_empty() => pending.push(format!("Bundle {id}")),
            DistrustProgress::Pending(namespaces) => pending.push(format!(
                "Bundle {id} in {}, where it could not be written: see its condition Synced",
                joined(namespaces.iter().map(|name| &**name), ", ")
            )),
            DistrustProgress::NotEnforced(cause) => not_enforced.push(format!("Bundle {id}: {cause}")),
        }
    }
    let mut parts = Vec::new();
    if !faults.is_empty() {
        parts.push(format!("not all of it can be read, and only the rest counts: {}", joined(faults, "; ")));
    }
    if !not_enforced.is_empty() {
        parts.push(format!("not enforced: {}", joined(&not_enforced, "; ")));
    }
    if !pending.is_empty() {
        parts.push(format!("targets may still hold it: {}", joined(&pending, "; ")));
    }
    let (status, reason) = match (faults.is_empty() && not_enforced.is_empty(), pending.is_empty()) {
        (true, true) => ("True", EVERYWHERE),
        (true, false) => ("False", PENDING),
        (false, _) => ("False", NOT_ENFORCED),
    };
    if parts.is_empty() {
        let s = if bundles.len() == 1 { "" } else { "s" };
        parts.push(format!("no target of {} Bundle{s} holds it", bundles.len()));
    }
    let related: BTreeSet<_> = bundles.iter().filter_map(|bundle| bundle.related).flatten().collect();
    if !related.is_empty() {
        parts.push(format!("still published, and perhaps to be distrusted, too: {}", joined(related, "; ")));
    }
    last.new_condition(api::ENFORCED, status, reason, text::condition_message(&parts.join("; ")), now)
}

/// Joins the first texts, and counts the rest.
fn joined<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, separator: &str) -> String {
    let texts: Vec<_> = texts.into_iter().collect();
    let shown: Vec<_> = texts.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match texts.len().saturating_sub(SHOWN) {
        0 => shown.join(separator),
        more => format!("{} and {more} more", shown.join(separator)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::fixture::{anchor, denying, now, plain};
    use crate::bundle::{Inputs, ObjectKind, decide};

    const ALL: DistrustProgress = DistrustProgress::Enforced;

    fn failing(namespace: &str) -> Vec<(TargetRef, String)> {
        let target = TargetRef { kind: ObjectKind::ConfigMap, namespace: namespace.into(), name: "b".into() };
        vec![(target, "no".to_owned())]
    }

    fn published() -> Arc<Desired> {
        decide(&plain("b"), &Inputs::default(), now()).expect("a decision").desired
    }

    fn progress(enforcement: &Enforcement, denials: &Denials) -> DistrustProgress {
        enforcement.progress("d", denials.get("d").expect("the Distrust"), || true)
    }

    #[test]
    fn what_is_denied_anew_is_urgent_and_pending_until_every_target_is_written() {
        let (none, denials, exclude) = (Denials::default(), denying("d", &["ec"]), BTreeSet::new());
        let (desired, mut enforcement) = (published(), Enforcement::default());
        assert!(!enforcement.decided(&none, &exclude, &desired), "the first content starts at once anyway");
        enforcement.on_outcome(&[]);
        assert_eq!(progress(&enforcement, &denials), DistrustProgress::Pending(BTreeSet::new()), "not decided yet");
        assert!(enforcement.decided(&denials, &exclude, &desired));
        assert!(!enforcement.decided(&denials, &exclude, &desired), "nothing more is denied");
        enforcement.on_outcome(&failing("shop"));
        assert_eq!(progress(&enforcement, &denials), DistrustProgress::Pending(["shop".into()].into()));
        enforcement.on_outcome(&[]);
        assert_eq!(progress(&enforcement, &denials), ALL);
        enforcement.on_outcome(&failing("late"));
        assert_eq!(progress(&enforcement, &denials), ALL, "what fails later holds a content without it");
        assert!(enforcement.decided(&denials, &[anchor("rsa").fingerprint()].into(), &desired));
        assert!(!enforcement.decided(&none, &exclude, &desired), "less is denied");
    }

    #[test]
    fn a_refused_bundle_gets_what_it_published_last_but_for_what_is_denied() {
        let refusal = Refusal::invalid_spec(&[]);
        let (none, exclude) = (Denials::default(), BTreeSet::new());
        let (desired, mut enforcement) = (published(), Enforcement::default());
        enforcement.decided(&none, &exclude, &desired);
        enforcement.on_outcome(&[]);
        let refused = |enforcement: &mut Enforcement, denials: &Denials| {
            enforcement.refused(denials, Some(&exclude), Some(&desired), &refusal)
        };
        assert!(matches!(refused(&mut enforcement, &none), (None, false)));
        let other = denying("d", &["ec"]);
        assert!(matches!(refused(&mut enforcement, &other), (None, true)), "its targets stay as they are");
        assert_eq!(progress(&enforcement, &other), ALL, "it never had that one");
        let denials = denying("d", &["rsa"]);
        let (rest, is_urgent) = refused(&mut enforcement, &denials);
        assert!(is_urgent && rest.expect("it held that one").all_denied);
        assert!(matches!(progress(&enforcement, &denials), DistrustProgress::Pending(_)));
        enforcement.on_outcome(&[]);
        assert_eq!(progress(&enforcement, &denials), ALL);
        assert!(refused(&mut enforcement, &denials).0.is_some(), "it is no other content as long as it is refused");
    }

    #[test]
    fn a_refusal_does_not_stop_a_rollout_that_takes_something_out() {
        let (denials, exclude) = (denying("d", &["ec"]), BTreeSet::new());
        let (desired, mut enforcement) = (published(), Enforcement::default());
        enforcement.decided(&Denials::default(), &exclude, &desired);
        enforcement.decided(&denials, &exclude, &desired);
        let (goes_on, _) = enforcement.refused(&denials, None, Some(&desired), &Refusal::invalid_spec(&[]));
        assert!(goes_on.is_some_and(|goes_on| Arc::ptr_eq(&goes_on, &desired)));
    }

    #[test]
    fn a_target_that_the_rollout_before_a_refusal_has_not_reached_may_hold_what_is_denied() {
        let (denials, exclude, refusal) = (denying("d", &["ec"]), BTreeSet::new(), Refusal::invalid_spec(&[]));
        let (desired, mut enforcement) = (published(), Enforcement::default());
        enforcement.decided(&Denials::default(), &exclude, &desired);
        enforcement.on_outcome(&failing("behind"));
        let (goes_on, _) = enforcement.refused(&denials, Some(&exclude), Some(&desired), &refusal);
        assert!(goes_on.is_some_and(|goes_on| Arc::ptr_eq(&goes_on, &desired)) && enforcement.is_overriding());
        assert_eq!(progress(&enforcement, &denials), DistrustProgress::Pending(["behind".into()].into()));
        enforcement.on_outcome(&[]);
        assert_eq!(progress(&enforcement, &denials), ALL);
        enforcement.decided(&denials, &exclude, &desired);
        assert!(!enforcement.is_overriding(), "it is no longer refused");
    }

    #[test]
    fn what_stands_in_the_way_of_writing_does_so_while_the_bundle_is_refused_too() {
        let (denials, exclude, refusal) = (denying("d", &["ec"]), BTreeSet::new(), Refusal::invalid_spec(&[]));
        let kept = Arc::new(Desired { existing: ExistingTargets::Keep, ..(*published()).clone() });
        let mut enforcement = Enforcement::default();
        enforcement.decided(&Denials::default(), &exclude, &kept);
        enforcement.refused(&denials, Some(&exclude), Some(&kept), &refusal);
        enforcement.on_outcome(&[]);
        let DistrustProgress::NotEnforced(cause) = progress(&enforcement, &denials) else { panic!("{enforcement:?}") };
        assert!(cause.starts_with("its ledger is lost, "), "{cause}");
    }

    #[test]
    fn where_nothing_is_known_of_what_was_published_it_is_not_enforced() {
        let (denials, mut enforcement) = (denying("d", &["ec"]), Enforcement::default());
        let (desired, _) = enforcement.refused(&denials, None, None, &Refusal::invalid_spec(&[]));
        assert!(desired.is_none());
        let DistrustProgress::NotEnforced(cause) = progress(&enforcement, &denials) else { panic!("{enforcement:?}") };
        assert!(cause.starts_with("it is refused (InvalidSpec), and what it published before"), "{cause}");
        assert_eq!(enforcement.progress("d", denials.get("d").expect("it"), || false), ALL, "it has no target");
    }

    #[test]
    fn the_condition_says_what_is_true_now() {
        let id = |name: &str| BundleId::from(name);
        let (a, b, c) = (id("a"), id("b"), id("c"));
        let bundle = |id, progress| DistrustedBundle { id, progress, related: None };
        let report = |bundles: &[DistrustedBundle<'_>], faults: &[String]| {
            let Condition { status, reason, message, .. } =
                report_distrust(bundles, faults, &LastStatus::default(), now());
            format!("{status} {reason}: {message}")
        };
        assert_eq!(
            report(&[bundle(&a, ALL), bundle(&b, ALL)], &[]),
            "True Everywhere: no target of 2 Bundles holds it"
        );
        let shop = DistrustProgress::Pending(["shop".into()].into());
        assert_eq!(
            report(&[bundle(&a, DistrustProgress::Pending(BTreeSet::new())), bundle(&b, shop.clone())], &[]),
            "False Pending: targets may still hold it: Bundle a; Bundle b in shop, where it could not be written: see its condition Synced"
        );
        let refused = DistrustProgress::NotEnforced("it is refused".to_owned());
        assert_eq!(
            report(&[bundle(&a, ALL), bundle(&b, shop), bundle(&c, refused)], &[]),
            "False NotEnforced: not enforced: Bundle c: it is refused; targets may still hold it: Bundle b in shop, where it could not be written: see its condition Synced"
        );
        let fault = report(&[], &["spec.certificates[0]: no".to_owned()]);
        assert_eq!(
            fault,
            "False NotEnforced: not all of it can be read, and only the rest counts: spec.certificates[0]: no"
        );
        let kin = ["CN=x has the key of CN=y".to_owned()].into();
        let with = DistrustedBundle { id: &a, progress: ALL, related: Some(&kin) };
        assert_eq!(
            report(&[with], &[]),
            "True Everywhere: no target of 1 Bundle holds it; still published, and perhaps to be distrusted, too: CN=x has the key of CN=y"
        );
    }
}
