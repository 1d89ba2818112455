//! State machine of leader election: when to send which request, and whether this process leads. Pure: times are
//! readings of one monotonic clock.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use super::LeaseSettings;

/// The maximum of the pause of a candidate that does not lead, beyond the retry period and as a factor of it: not all
/// send their requests at once.
const JITTER: f64 = 1.2;

/// The election from the view of one candidate.
#[derive(Debug)]
pub(super) struct Election {
    settings: LeaseSettings,
    next: NextRequest,
    /// The time at which the last request was sent.
    sent: Duration,
    /// The last known state of the Lease and the time since when it is unchanged.
    observed: Option<(LeaseSpec, Duration)>,
    /// The end of the leadership, unless it is renewed.
    until: Option<Duration>,
    /// The reason why the leadership was lost.
    lost: Option<LossReason>,
}

/// The next request and its time.
#[derive(Debug)]
enum NextRequest {
    /// A read of the Lease.
    Read(Duration),
    /// A write of the Lease: over the last known state, or as a new object.
    Write(Duration, Option<Box<Lease>>),
}

/// A step of the candidate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ElectionStep {
    /// Sends a request and waits for its response until this time.
    Send(LeaseRequest, Duration),
    /// Waits until this time.
    Wait(Duration),
    /// Ends the candidacy.
    End(LossReason),
}

/// A request about the Lease.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LeaseRequest {
    /// A GET request.
    Read,
    /// A POST request.
    Create(Box<Lease>),
    /// A PUT request, guarded by the resource version in it.
    Replace(Box<Lease>),
}

/// The result of a request about the Lease.
#[derive(Clone, Debug)]
pub(super) enum LeaseResponse {
    /// A read returned this Lease.
    Found(Box<Lease>),
    /// A read found no Lease.
    Absent,
    /// A write returned this Lease.
    Written(Box<Lease>),
    /// The request was refused, or its effect is unknown.
    Failed,
}

/// A reason for the loss of leadership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LossReason {
    /// No renewal succeeded in time.
    RenewDeadlineExceeded,
    /// The Lease has this other holder, or none (empty).
    Taken(String),
}

impl Election {
    /// Creates a candidate that begins with a read of the Lease.
    pub(super) fn new(settings: LeaseSettings) -> Self {
        let next = NextRequest::Read(Duration::ZERO);
        Self { settings, next, sent: Duration::ZERO, observed: None, until: None, lost: None }
    }

    /// Returns the end of the leadership, if this candidate leads: every action of a leader has to begin before.
    pub(super) fn leads_until(&self) -> Option<Duration> {
        self.until.filter(|_| self.lost.is_none())
    }

    /// Returns the holder in the last known state of the Lease; empty for none.
    pub(super) fn holder(&self) -> &str {
        self.observed.as_ref().map(|(spec, _)| holder(spec)).unwrap_or_default()
    }

    /// Returns the next step. `clock` is the time of day, which the Lease shows to its readers.
    pub(super) fn step(&mut self, now: Duration, clock: Timestamp) -> ElectionStep {
        if self.until.is_some_and(|until| until <= now) {
            self.lost.get_or_insert(LossReason::RenewDeadlineExceeded);
        }
        if let Some(loss) = &self.lost {
            return ElectionStep::End(loss.clone());
        }
        let (NextRequest::Read(from) | NextRequest::Write(from, _)) = self.next;
        let before_end = |time: Duration| self.until.map_or(time, |until| until.min(time));
        if now < from {
            return ElectionStep::Wait(before_end(from));
        }
        let answer_by = before_end(now + self.settings.renew_deadline / 2);
        let request = match &self.next {
            NextRequest::Read(_) => LeaseRequest::Read,
            NextRequest::Write(_, None) => LeaseRequest::Create(Box::new(self.new_lease(clock))),
            NextRequest::Write(_, Some(known)) => LeaseRequest::Replace(Box::new(self.claimed(known, clock))),
        };
        self.sent = now;
        ElectionStep::Send(request, answer_by)
    }

    /// Processes the result of the last request. `jitter`, from 0 to 1, differs from one candidate to the next.
    pub(super) fn on_response(&mut self, response: LeaseResponse, now: Duration, jitter: f64) {
        self.next = match response {
            LeaseResponse::Found(lease) => self.found(lease, now, jitter),
            LeaseResponse::Absent => {
                self.observed = None;
                NextRequest::Write(now, None)
            }
            LeaseResponse::Written(lease) => {
                self.observe(&lease, now);
                let until = self.sent + self.settings.renew_deadline;
                // A late response starts no leadership: its time is over already.
                if self.until.is_some() || now < until {
                    self.until = Some(self.until.unwrap_or_default().max(until));
                }
                NextRequest::Write(self.sent + self.settings.retry_period, Some(lease))
            }
            LeaseResponse::Failed => NextRequest::Read(self.after_pause(now, jitter)),
        };
    }

    /// Returns the Lease in its released form, which any candidate may take at once; `None` if another holds it.
    pub(super) fn released(settings: &LeaseSettings, known: &Lease, clock: Timestamp) -> Option<Lease> {
        let mut lease = known.clone();
        let spec = lease.spec.as_mut().filter(|spec| holder(spec) == settings.identity)?;
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.acquire_time = Some(MicroTime(clock));
        spec.renew_time = Some(MicroTime(clock));
        Some(lease)
    }

    fn found(&mut self, lease: Box<Lease>, now: Duration, jitter: f64) -> NextRequest {
        self.observe(&lease, now);
        let nobody = LeaseSpec::default();
        let spec = lease.spec.as_ref().unwrap_or(&nobody);
        let holder = holder(spec);
        if holder == self.settings.identity {
            return NextRequest::Write(now, Some(lease));
        }
        if self.until.is_some() {
            self.lost = Some(LossReason::Taken(holder.to_owned()));
        }
        let (_, since) = self.observed.as_ref().expect("observed above");
        if holder.is_empty() || *since + self.term(spec) <= now {
            NextRequest::Write(now, Some(lease))
        } else {
            NextRequest::Read(self.after_pause(now, jitter))
        }
    }

    fn observe(&mut self, lease: &Lease, now: Duration) {
        let spec = lease.spec.clone().unwrap_or_default();
        if self.observed.as_ref().is_none_or(|(known, _)| *known != spec) {
            self.observed = Some((spec, now));
        }
    }

    /// Returns the lease duration that the holder has set.
    fn term(&self, spec: &LeaseSpec) -> Duration {
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        seconds.filter(|seconds| *seconds > 0).map_or(self.settings.lease_duration, Duration::from_secs)
    }

    fn after_pause(&self, now: Duration, jitter: f64) -> Duration {
        let retry = self.settings.retry_period;
        let pause = if self.until.is_some() { retry } else { retry.mul_f64(1.0 + JITTER * jitter) };
        now.max(self.sent + pause)
    }

    fn new_lease(&self, clock: Timestamp) -> Lease {
        let LeaseSettings { namespace, name, .. } = &self.settings;
        let metadata =
            ObjectMeta { namespace: Some(namespace.clone()), name: Some(name.clone()), ..ObjectMeta::default() };
        let mut lease = self.claimed(&Lease { metadata, spec: None }, clock);
        lease.spec.get_or_insert_default().lease_transitions = Some(0);
        lease
    }

    /// Returns a Lease with this process as its holder; all other fields stay.
    fn claimed(&self, known: &Lease, clock: Timestamp) -> Lease {
        let mut lease = known.clone();
        let spec = lease.spec.get_or_insert_default();
        if holder(spec) != self.settings.identity {
            spec.holder_identity = Some(self.settings.identity.clone());
            spec.acquire_time = Some(MicroTime(clock));
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        }
        let seconds = self.settings.lease_duration.as_millis().div_ceil(1000);
        spec.lease_duration_seconds = Some(i32::try_from(seconds).unwrap_or(i32::MAX));
        spec.renew_time = Some(MicroTime(clock));
        lease
    }
}

fn holder(spec: &LeaseSpec) -> &str {
    spec.holder_identity.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(identity: &str) -> LeaseSettings {
        LeaseSettings {
            namespace: "cert-manager".to_owned(),
            name: "lock".to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn lease(holder: &str, renewed: i64) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            acquire_time: Some(MicroTime(at(-500))),
            renew_time: Some(MicroTime(at(renewed))),
            strategy: Some("OldestEmulationVersion".to_owned()),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { resource_version: Some("7".to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(spec) }
    }

    /// A candidate that has read this Lease at time 0, and its next step.
    fn election_after_read(lease: Option<Lease>) -> (Election, ElectionStep) {
        let mut election = Election::new(settings("me"));
        assert!(matches!(election.step(Duration::ZERO, at(0)), ElectionStep::Send(LeaseRequest::Read, _)));
        let response = lease.map_or(LeaseResponse::Absent, |lease| LeaseResponse::Found(Box::new(lease)));
        election.on_response(response, Duration::ZERO, 0.0);
        let step = election.step(Duration::ZERO, at(0));
        (election, step)
    }

    /// A candidate that leads since time 0.
    fn leader() -> Election {
        let (mut election, step) = election_after_read(None);
        let ElectionStep::Send(LeaseRequest::Create(lease), _) = step else { panic!("{step:?}") };
        election.on_response(LeaseResponse::Written(lease), seconds(0.5), 0.0);
        assert_eq!(election.leads_until(), Some(seconds(10.0)), "from the request, not from the response");
        election
    }

    fn spec(step: ElectionStep) -> LeaseSpec {
        match step {
            ElectionStep::Send(LeaseRequest::Create(lease) | LeaseRequest::Replace(lease), _) => lease.spec.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lease_that_is_not_there_is_created() {
        let (_, step) = election_after_read(None);
        assert!(matches!(&step, ElectionStep::Send(LeaseRequest::Create(_), _)), "{step:?}");
        let expected = LeaseSpec {
            holder_identity: Some("me".to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(0),
            acquire_time: Some(MicroTime(at(0))),
            renew_time: Some(MicroTime(at(0))),
            ..LeaseSpec::default()
        };
        assert_eq!(spec(step), expected);
    }

    #[test]
    fn a_lease_of_nobody_is_taken_at_once_with_what_else_is_in_it() {
        for free in [lease("", 0), Lease { spec: None, ..lease("", 0) }] {
            let (_, step) = election_after_read(Some(free.clone()));
            let before = free.spec.unwrap_or_default();
            let expected = LeaseSpec {
                holder_identity: Some("me".to_owned()),
                lease_duration_seconds: Some(15),
                lease_transitions: Some(before.lease_transitions.unwrap_or_default() + 1),
                acquire_time: Some(MicroTime(at(0))),
                renew_time: Some(MicroTime(at(0))),
                ..before
            };
            assert_eq!(spec(step), expected);
        }
    }

    #[test]
    fn a_lease_of_our_own_is_renewed_and_not_taken_anew() {
        let (_, step) = election_after_read(Some(lease("me", -90)));
        let before = lease("me", -90).spec.unwrap();
        assert_eq!(spec(step), LeaseSpec { renew_time: Some(MicroTime(at(0))), ..before });
    }

    /// The times in the Lease do not matter: they are of another clock.
    #[test]
    fn a_foreign_lease_is_taken_when_it_was_unchanged_for_its_lease_duration() {
        for (duration, expires) in [(Some(15), 15.0), (Some(40), 40.0), (Some(1), 1.0), (Some(0), 15.0), (None, 15.0)] {
            for renewed in [-100_000, 0, 100_000] {
                let mut foreign = lease("other", renewed);
                foreign.spec.as_mut().unwrap().lease_duration_seconds = duration;
                let (mut election, step) = election_after_read(Some(foreign.clone()));
                assert_eq!(step, ElectionStep::Wait(seconds(2.0)));
                for (time, takes) in [(expires - 0.1, false), (expires, true)] {
                    election.next = NextRequest::Read(seconds(time));
                    election.step(seconds(time), at(0));
                    election.on_response(LeaseResponse::Found(Box::new(foreign.clone())), seconds(time), 0.0);
                    let step = election.step(seconds(time), at(0));
                    assert_eq!(
                        matches!(step, ElectionStep::Send(LeaseRequest::Replace(_), _)),
                        takes,
                        "{duration:?} {time}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_foreign_lease_that_is_renewed_is_left_alone_for_ever() {
        let (mut election, _) = election_after_read(Some(lease("other", 0)));
        for time in 1..100 {
            let now = Duration::from_secs(time * 14);
            election.step(now, at(0));
            election.on_response(
                LeaseResponse::Found(Box::new(lease("other", i64::try_from(time).unwrap()))),
                now,
                0.0,
            );
            assert!(matches!(election.step(now, at(0)), ElectionStep::Wait(_)));
        }
        assert_eq!((election.holder(), election.leads_until()), ("other", None));
    }

    #[test]
    fn candidates_pause_for_different_times_and_the_leader_for_the_retry_period() {
        for (jitter, pause) in [(0.0, 2.0), (0.5, 3.2), (1.0, 4.4)] {
            let mut election = Election::new(settings("me"));
            election.step(Duration::ZERO, at(0));
            election.on_response(LeaseResponse::Failed, Duration::ZERO, jitter);
            assert_eq!(election.step(Duration::ZERO, at(0)), ElectionStep::Wait(seconds(pause)));
        }
        assert_eq!(leader().step(seconds(0.5), at(0)), ElectionStep::Wait(seconds(2.0)));
    }

    #[test]
    fn a_leader_that_cannot_renew_tries_until_its_deadline_and_ends() {
        let mut election = leader();
        let mut now = seconds(2.0);
        let mut asked = 0;
        let end = loop {
            match election.step(now, at(0)) {
                ElectionStep::Send(_, answer_by) => {
                    asked += 1;
                    assert!(answer_by <= seconds(10.0));
                    election.on_response(LeaseResponse::Failed, now, 0.0);
                }
                ElectionStep::Wait(until) => now = until,
                ElectionStep::End(loss) => break loss,
            }
        };
        assert_eq!((end, now, asked), (LossReason::RenewDeadlineExceeded, seconds(10.0), 4));
        assert_eq!(election.leads_until(), None);
    }

    #[test]
    fn a_leader_that_finds_another_name_on_the_lease_ends_at_once() {
        for holder in ["other", ""] {
            let mut election = leader();
            election.step(seconds(2.0), at(2));
            election.on_response(LeaseResponse::Failed, seconds(2.0), 0.0);
            election.step(seconds(4.0), at(4));
            election.on_response(LeaseResponse::Found(Box::new(lease(holder, 3))), seconds(4.0), 0.0);
            assert_eq!(election.leads_until(), None);
            assert_eq!(election.step(seconds(4.0), at(4)), ElectionStep::End(LossReason::Taken(holder.to_owned())));
        }
    }

    #[test]
    fn a_response_from_before_a_long_standstill_makes_nobody_lead() {
        let (mut election, step) = election_after_read(None);
        let ElectionStep::Send(LeaseRequest::Create(lease), _) = step else { panic!("{step:?}") };
        election.on_response(LeaseResponse::Written(lease), seconds(10.0), 0.0);
        assert_eq!(election.leads_until(), None);
        assert!(matches!(election.step(seconds(10.0), at(10)), ElectionStep::Send(LeaseRequest::Replace(_), _)));

        let mut election = leader();
        let step = election.step(seconds(2.0), at(2));
        let ElectionStep::Send(LeaseRequest::Replace(lease), _) = step else { panic!("{step:?}") };
        election.on_response(LeaseResponse::Written(lease), seconds(60.0), 0.0);
        assert_eq!(election.step(seconds(60.0), at(60)), ElectionStep::End(LossReason::RenewDeadlineExceeded));
    }

    #[test]
    fn lease_durations_are_rounded_up_to_whole_seconds() {
        for (millis, expected) in [(500, 1), (4_000, 4), (4_001, 5)] {
            let lease_duration = Duration::from_millis(millis);
            let election = Election::new(LeaseSettings { lease_duration, ..settings("me") });
            assert_eq!(election.new_lease(at(0)).spec.unwrap().lease_duration_seconds, Some(expected));
        }
    }

    #[test]
    fn only_our_own_lease_is_released() {
        let spec = |lease: Option<Lease>| lease.and_then(|lease| lease.spec);
        assert_eq!(Election::released(&settings("me"), &lease("other", 0), at(9)), None);
        let expected = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(MicroTime(at(9))),
            renew_time: Some(MicroTime(at(9))),
            ..lease("me", 0).spec.unwrap()
        };
        assert_eq!(spec(Election::released(&settings("me"), &lease("me", 0), at(9))), Some(expected));
    }

    /// As Go reads it: with all six digits (<https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#MicroTime>).
    #[test]
    fn times_are_written_with_microseconds() {
        let (_, step) = election_after_read(None);
        let time = serde_json::to_value(spec(step).renew_time).unwrap();
        assert_eq!(time, "2026-09-21T14:13:20.000000Z");
    }
}
