//! One Bundle: its targets, and what is to be done about them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::{Drift, Namespace, Need, ObjectKind, TargetRef, Settings, Wanted};
use crate::text;

use super::action::{Order, Request};
use super::heal::Heals;
use super::index::{Bytes, Looks, Namespaces, Observed, Targets, Witness};
use super::listing::Listing;
use super::pace::Lane;
use super::rollout::Rollouts;
use super::story::Story;
use super::task::{Fault, State, Task, Tasks};
use super::verb::{self, Barred, Means};
use super::version::Version;

/// The most characters of each word about an owner, which its API does not bound.
const OWNER_MAX: usize = 253;

/// What a fleet sees of the world around it.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) settings: &'a Settings,
    pub(super) namespaces: &'a Namespaces,
    /// Whether PUT is permitted.
    pub(super) replace: bool,
    /// Namespaces whose requests take long.
    pub(super) slow: &'a BTreeSet<Arc<str>>,
    pub(super) now: Duration,
}

/// Why a target is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its Bundle was decided anew.
    Decided,
    /// It has become the turn of its namespace.
    Namespace,
    /// Somebody has changed it.
    Changed,
    /// Something that it waited for has happened.
    Turn,
}

/// One Bundle's targets.
pub(super) struct Fleet {
    pub(super) name: Arc<str>,
    /// Whether the Bundle is there.
    pub(super) there: bool,
    /// Whether it is known how the Bundle was deleted.
    pub(super) parted: bool,
    /// What is still to be listed of it.
    pub(super) listing: Listing,
    pub(super) targets: Targets,
    pub(super) tasks: Tasks,
    pub(super) wanted: Option<Arc<Wanted>>,
    pub(super) rollouts: Rollouts,
    queues: BTreeMap<Lane, VecDeque<TargetRef>>,
    pub(super) heals: Heals,
    /// How many namespaces the Bundle reaches.
    pub(super) reached: usize,
    pub(super) story: Story,
}

impl Fleet {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            there: false,
            parted: false,
            listing: Listing::default(),
            targets: Targets::default(),
            tasks: Tasks::default(),
            wanted: None,
            rollouts: Rollouts::default(),
            queues: BTreeMap::new(),
            heals: Heals::default(),
            reached: 0,
            story: Story::default(),
        }
    }

    /// Whether the Bundle is gone and nothing is on its way.
    pub(super) fn is_forgotten(&self) -> bool {
        !self.there && self.tasks.is_empty() && (self.parted || self.targets.is_empty())
    }

    /// The Bundle is there again.
    pub(super) fn arrive(&mut self, around: Surroundings<'_>) {
        (self.there, self.parted) = (true, false);
        (self.targets, self.rollouts) = (Targets::default(), Rollouts::default());
        self.decide(around, None);
    }

    /// The Bundle is gone: nothing of it is kept but what is on its way, and what it completed.
    pub(super) fn leave(&mut self, around: Surroundings<'_>) {
        self.there = false;
        (self.listing, self.rollouts) = (Listing::default(), Rollouts::default());
        self.targets.keep_completed(&self.name);
        self.decide(around, None);
    }

    /// The Bundle was deleted. With its uid, what it completed is handed over.
    pub(super) fn part(&mut self, around: Surroundings<'_>, uid: Option<&str>) {
        self.parted = true;
        match uid {
            Some(uid) => self.decide(around, Some(Arc::new(Wanted::of_deleted(&self.name, uid)))),
            None => self.targets = Targets::default(),
        }
    }

    pub(super) fn has_work(&self, lane: Lane) -> bool {
        self.queues.get(&lane).is_some_and(|queue| !queue.is_empty())
    }

    /// Puts a place at the end of the queue where it belongs, or at the head of it.
    fn queue(&mut self, around: Surroundings<'_>, place: &TargetRef, urgent: bool, first: bool) {
        let queue = self.queues.entry(lane(around, place, urgent)).or_default();
        if first {
            queue.push_front(place.clone());
        } else {
            queue.push_back(place.clone());
        }
    }

    /// The Bundle was decided anew.
    pub(super) fn decide(&mut self, around: Surroundings<'_>, wanted: Option<Arc<Wanted>>) {
        self.queues.clear();
        let before = std::mem::replace(&mut self.wanted, wanted);
        let Some(wanted) = self.wanted.clone() else {
            // What a rollout has not reached does not wait for the next one.
            for place in self.tasks.places() {
                self.targets.doubt_one(place);
            }
            self.tasks.clear();
            self.story = Story::default();
            self.reached = 0;
            return;
        };
        self.story.decided(around.now);
        for kind in ObjectKind::ALL {
            if before.as_ref().is_none_or(|before| !same_keys(before, &wanted, kind)) {
                self.targets.forget_holdings(kind);
            }
        }
        let mut places: BTreeSet<TargetRef> = self.targets.places().chain(self.tasks.places()).cloned().collect();
        self.reached = 0;
        for (name, namespace) in around.namespaces.iter() {
            if wanted.reaches(around.settings, name, namespace) {
                self.reached += 1;
                let place = |kind: &ObjectKind| TargetRef { kind: *kind, namespace: name.clone() };
                places.extend(wanted.payloads.keys().map(place));
            }
        }
        // What the rollout before has not reached goes first: the last ones must not wait for ever.
        let (behind, others): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| self.tasks.get(place).is_some());
        for place in behind.iter().chain(&others) {
            self.consider(around, place, Why::Decided);
        }
    }

    /// A namespace came, changed or went.
    pub(super) fn namespace_changed(
        &mut self,
        around: Surroundings<'_>,
        name: &Arc<str>,
        before: Option<&Namespace>,
        verb: &str,
    ) {
        let Some(wanted) = self.wanted.clone() else { return };
        let now = around.namespaces.living(name);
        let reached = |namespace| wanted.reaches(around.settings, name, namespace);
        let (was, is) = (before.is_some_and(reached), now.is_some_and(reached));
        self.reached = self.reached + usize::from(is) - usize::from(was);
        if now.is_none() {
            self.heals.forget(name);
            self.tasks.failures_changed = true;
        }
        for kind in ObjectKind::ALL {
            let place = TargetRef { kind, namespace: name.clone() };
            if self.consider(around, &place, Why::Namespace) {
                self.because(|| format!("namespace {name} {verb}"));
            }
        }
    }

    /// What has to be done at a place now.
    pub(super) fn need(&self, around: Surroundings<'_>, place: &TargetRef) -> Option<Need> {
        self.need_in_time(around, place).filter(|need| !self.waits(around, place, need))
    }

    /// What has to be done at a place, now or when the next rollout starts.
    pub(super) fn need_in_time(&self, around: Surroundings<'_>, place: &TargetRef) -> Option<Need> {
        let wanted = self.wanted.as_ref()?;
        // What is in a namespace that is gone or on its way out is left to Kubernetes.
        let namespace = around.namespaces.living(&place.namespace)?;
        let reached = wanted.reaches(around.settings, &place.namespace, namespace);
        let entry = self.targets.get(place);
        let need = wanted.judge(place.kind, reached, entry.map(|entry| &*entry.look));
        let Some(entry) = entry.filter(|_| self.holds(around, place)) else { return need };
        let outlives = entry.look.keys.is_none() || entry.look.namespaces.contains(&*namespace.uid);
        let need = match entry.bytes {
            _ if need.is_none() && !outlives => Some(Need::Update(Drift::Owner)),
            Bytes::Doubtful if need.is_none() => Some(Need::Inspect),
            Bytes::Wrong if need.is_none() => Some(Need::Update(Drift::Bytes)),
            _ => need,
        };
        match (need, entry.holdings.as_ref().map(|holdings| holdings.others)) {
            (Some(Need::Update(_)), None | Some(false)) if entry.sealed && self.may_recreate(place) => {
                Some(Need::Recreate)
            }
            (Some(Need::Recreate), Some(true)) => entry.look.controller.clone().map(Need::Yield),
            (need, _) => need,
        }
    }

    /// Whether a target may be deleted and created anew, going by its metadata.
    fn may_recreate(&self, place: &TargetRef) -> bool {
        let payload = self.wanted.as_ref().and_then(|wanted| Some((wanted, wanted.payloads.get(&place.kind)?)));
        payload
            .zip(self.targets.get(place))
            .is_some_and(|((wanted, payload), entry)| wanted.may_recreate(payload, &entry.look))
    }

    /// Whether there is to be an object of this Bundle at a place.
    pub(super) fn holds(&self, around: Surroundings<'_>, place: &TargetRef) -> bool {
        let is_kind = self.wanted.as_ref().is_some_and(|wanted| wanted.payloads.contains_key(&place.kind));
        is_kind && self.reaches(around, place)
    }

    /// Whether the Bundle reaches the namespace of a place.
    pub(super) fn reaches(&self, around: Surroundings<'_>, TargetRef { namespace: name, .. }: &TargetRef) -> bool {
        let namespace = around.namespaces.living(name).zip(self.wanted.as_ref());
        namespace.is_some_and(|(namespace, wanted)| wanted.reaches(around.settings, name, namespace))
    }

    /// A watch shows a target; whether there is news in it.
    pub(super) fn sees(&mut self, looks: &mut Looks, place: &TargetRef, observed: Observed, epoch: u32) -> bool {
        // What was there before anything was decided is taken to be what its metadata says.
        let unknown = if self.wanted.is_some() { Bytes::Doubtful } else { Bytes::Right };
        self.targets.learn(looks, place, observed, (epoch, Witness::Watch), unknown)
    }

    /// Looks at a place: queues what has to be done, drops what has not; whether there is something to be written.
    pub(super) fn consider(&mut self, around: Surroundings<'_>, place: &TargetRef, why: Why) -> bool {
        let need = self.need(around, place);
        let writes = need.as_ref().is_some_and(|need| *need != Need::Inspect);
        let task = self.tasks.get(place);
        if matches!(task, Some(Task { state: State::InFlight { .. }, .. })) {
            // The answer brings it here again.
            return writes;
        }
        match need {
            None => {
                self.tasks.set(place, None);
                self.consider_releases(around, place);
                return false;
            }
            // What takes its place is written first.
            Some(Need::Release(_)) if siblings(place).any(|sibling| self.is_unsettled(around, &sibling)) => {
                self.tasks.set(place, None);
                return false;
            }
            Some(_) => {}
        }
        let urgent = matches!(why, Why::Namespace | Why::Changed);
        let mut task = task.cloned();
        let turn = (why == Why::Changed && writes && !matches!(task, Some(Task { state: State::Queued, .. })))
            .then(|| self.intervention(around, place));
        match &mut task {
            None => task = Some(Task::new(urgent)),
            Some(Task { state: State::Queued, urgent: before, .. }) => *before |= urgent,
            Some(Task { state: State::Waiting(until) | State::Patient(until), .. }) => match (why, turn) {
                (Why::Changed, Some(turn)) => *until = turn.min(*until),
                // It is tried again at its time.
                (Why::Decided, _) if self.held_for().is_some() => {}
                _ => task = task.map(|task| task.to(State::Queued).or_urgent(urgent)),
            },
            Some(Task { state: State::InFlight { .. }, .. }) => unreachable!("seen above"),
        }
        let mut task = task.expect("there is something to be done");
        if let Some(turn) = turn.filter(|turn| *turn > around.now)
            && matches!(task.state, State::Queued)
        {
            task.state = State::Waiting(turn);
        }
        if matches!(task.state, State::Queued) {
            self.queue(around, place, task.urgent, false);
        }
        self.tasks.set(place, Some(task));
        writes
    }

    /// Whether a place still has to be written.
    fn is_unsettled(&self, around: Surroundings<'_>, place: &TargetRef) -> bool {
        self.tasks.get(place).is_some()
            || matches!(
                self.need(around, place),
                Some(Need::Create | Need::Update(_) | Need::Yield(_) | Need::Recreate)
            )
    }

    /// What had to wait for this place may be let go now.
    fn consider_releases(&mut self, around: Surroundings<'_>, place: &TargetRef) {
        let waiting: Vec<_> = siblings(place)
            .filter(|sibling| self.tasks.get(sibling).is_none())
            .filter(|sibling| matches!(self.need(around, sibling), Some(Need::Release(_))))
            .collect();
        for sibling in waiting {
            self.consider(around, &sibling, Why::Turn);
        }
    }

    /// The next order of a lane, if there is one.
    pub(super) fn next(&mut self, around: Surroundings<'_>, lane: Lane) -> Option<Order> {
        loop {
            let place = self.queues.get_mut(&lane)?.pop_front()?;
            let Some(task) = self.tasks.get(&place) else { continue };
            if !matches!(task.state, State::Queued) {
                continue;
            }
            let task = task.clone();
            let belongs = self::lane(around, &place, task.urgent);
            // What was slow when it was queued may go all the same.
            if lane != belongs && lane != Lane::Slow {
                if belongs == Lane::Slow {
                    self.queue(around, &place, task.urgent, false);
                }
                continue;
            }
            if let Some(order) = self.order(around, &place, task) {
                return Some(order);
            }
        }
    }

    fn order(&mut self, around: Surroundings<'_>, place: &TargetRef, task: Task) -> Option<Order> {
        let wanted = self.wanted.clone()?;
        let need = self.need(around, place);
        let request = match &need {
            Some(_) if task.look => Request::Look,
            None => {
                self.tasks.set(place, None);
                self.consider_releases(around, place);
                return None;
            }
            Some(need) => {
                match self.ask(around, place, &wanted, need) {
                    Ok(request) => request,
                    Err(barred) => {
                        let task = task.failed(around.now, Fault::Target, self.explain(place, &barred));
                        // What has no label is not watched: when its time comes it is looked at anew.
                        let look = match barred {
                            Barred::Owned(_) => {
                                self.targets.forget_unlabelled(place, &self.name);
                                false
                            }
                            // But what was seen of a version is not looked at twice.
                            Barred::Theirs(_) => true,
                        };
                        self.tasks.set(place, Some(task.looking(look)));
                        return None;
                    }
                }
            }
        };
        if request.is_write()
            && self.heals.knows(place)
            && let Some(rival) = self.rival(place)
        {
            self.heals.saw(place, rival);
        }
        if request.second_owner().is_some() && self.targets.get(place).is_some_and(|entry| entry.look.keys.is_none()) {
            self.story.completing.insert(place.clone());
        }
        let state = State::InFlight { under: wanted.clone(), request: request.clone(), gone: None };
        self.tasks.set(place, Some(task.to(state).looking(false)));
        Some(Order { bundle: self.name.clone(), place: place.clone(), wanted, request })
    }

    /// The request that a place needs now, if any.
    pub(super) fn request(&self, around: Surroundings<'_>, place: &TargetRef) -> Option<Request> {
        let wanted = self.wanted.as_ref()?;
        let need = self.need(around, place)?;
        self.ask(around, place, wanted, &need).ok()
    }

    /// The request that meets a need.
    fn ask(&self, around: Surroundings<'_>, place: &TargetRef, wanted: &Wanted, need: &Need) -> Result<Request, Barred> {
        let unknown = "".into();
        let namespace = around.namespaces.living(&place.namespace).map_or(&unknown, |namespace| &namespace.uid);
        let means = Means { replace: around.replace, adopt: around.settings.adopt, namespace };
        verb::request(need, wanted.payloads.get(&place.kind), wanted, self.targets.get(place), means)
    }

    /// Why nothing may be asked for, in words, and the cure.
    fn explain(&self, place: &TargetRef, barred: &Barred) -> String {
        let TargetRef { kind, namespace } = place;
        match barred {
            Barred::Owned(owner) => format!(
                "failed to patch {} {namespace}/{}: it is controlled by {} {} ({}): delete that owner, or give the Bundle another name",
                kind.as_str(),
                self.name,
                text::shorten(&owner.kind, OWNER_MAX),
                text::quote(&owner.name, OWNER_MAX),
                text::shorten(&owner.api_version, OWNER_MAX)
            ),
            Barred::Theirs(obstacle) => {
                let managers = self.targets.get(place).map(|entry| &entry.look.foreign_keys);
                obstacle.explain(&self.name, *kind, namespace, |key| managers?.get(key).map(String::as_str))
            }
        }
    }

    /// Goes on with a task, unless nothing has to be done any more.
    pub(super) fn resume(&mut self, around: Surroundings<'_>, place: &TargetRef, task: Task) {
        self.tasks.set(place, None);
        if self.need(around, place).is_none() {
            self.consider(around, place, Why::Turn);
            return;
        }
        if matches!(task.state, State::Queued) {
            self.queue(around, place, task.urgent, false);
        }
        self.tasks.set(place, Some(task));
    }

    /// A target was deleted to be created anew: it is, before all else.
    pub(super) fn create_anew(&mut self, around: Surroundings<'_>, place: &TargetRef, task: Task) {
        self.queue(around, place, true, true);
        self.tasks.set(place, Some(task.or_urgent(true)));
    }

    /// A watch tells that a target is gone as of a version: an answer on its way may be older.
    pub(super) fn was_gone(&mut self, place: &TargetRef, version: Version) {
        let mut task = self.tasks.get(place).cloned();
        if let Some(Task { state: State::InFlight { gone, .. }, .. }) = &mut task {
            *gone = (*gone).max(Some(version));
            self.tasks.set(place, task);
        }
    }

    /// A list of all targets lacks one that was asked for or written since it began: it has to be looked at. Until then
    /// nothing is known of it, and an answer on its way may be older than the list.
    pub(super) fn doubt(&mut self, around: Surroundings<'_>, place: &TargetRef) {
        self.targets.lose(place, Version::NEWEST);
        self.consider(around, place, Why::Turn);
        if let Some(task) = self.tasks.get(place).cloned() {
            self.tasks.set(place, Some(task.looking(true)));
        }
    }

    /// What was asked for in the order that is out, if one is.
    pub(super) fn request_in_flight(&self, place: &TargetRef) -> Option<&Request> {
        match &self.tasks.get(place)?.state {
            State::InFlight { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Whether an order that may change a target is out.
    pub(super) fn is_being_written(&self, place: &TargetRef) -> bool {
        self.request_in_flight(place).is_some_and(Request::is_write)
    }

    /// Whether targets of a kind have the same keys under this and what is wanted now.
    pub(super) fn has_same_keys(&self, under: &Wanted, kind: ObjectKind) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| same_keys(under, wanted, kind))
    }

    /// Whether this is what is wanted now.
    pub(super) fn wants(&self, wanted: &Arc<Wanted>) -> bool {
        self.wanted.as_ref().is_some_and(|now| Arc::ptr_eq(now, wanted))
    }
}

/// Where a place waits for its turn.
fn lane(around: Surroundings<'_>, place: &TargetRef, urgent: bool) -> Lane {
    match urgent {
        _ if around.slow.contains(&place.namespace) => Lane::Slow,
        true => Lane::Urgent,
        false => Lane::Bulk,
    }
}

/// Whether targets of a kind have the same keys under both.
fn same_keys(before: &Wanted, now: &Wanted, kind: ObjectKind) -> bool {
    let keys = |wanted: &Wanted| wanted.payloads.get(&kind).map(|payload| payload.values.keys().cloned().collect());
    let (before, now): (Option<BTreeSet<String>>, _) = (keys(before), keys(now));
    before == now
}

/// The same namespace's places of other kinds.
pub(super) fn siblings(TargetRef { kind, namespace }: &TargetRef) -> impl Iterator<Item = TargetRef> + use<> {
    let (kind, namespace) = (*kind, namespace.clone());
    ObjectKind::ALL
        .into_iter()
        .filter(move |other| *other != kind)
        .map(move |kind| TargetRef { kind, namespace: namespace.clone() })
}
