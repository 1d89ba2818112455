//! Candidates on one simulated API server: requests and responses come late or never, processes freeze, die and resign,
//! and yet no two lead at one moment; and when the disruptions are over, one does.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use proptest::prelude::*;

use super::LeaseSettings;
use super::election::{Election, ElectionStep, LeaseRequest, LeaseResponse};

const TICK: Duration = Duration::from_millis(50);
const DISRUPTION_PERIOD: Duration = Duration::from_mins(2);
/// The lease duration, and time for a restart and some retries.
const RECOVERY_PERIOD: Duration = Duration::from_secs(40);

/// The delays of a request and of its response; `None` for a loss.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    there: Option<Duration>,
    back: Option<Duration>,
}

/// A disruption of a candidate.
#[derive(Clone, Copy, Debug)]
enum Disruption {
    Freeze(Duration),
    Kill,
    Resign,
}

#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
}

impl Server {
    fn respond(&mut self, request: &LeaseRequest) -> LeaseResponse {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        match (request, &self.lease) {
            (LeaseRequest::Read, None) => LeaseResponse::Absent,
            (LeaseRequest::Read, Some(lease)) => LeaseResponse::Found(Box::new(lease.clone())),
            (LeaseRequest::Create(new), None) => self.store(new),
            (LeaseRequest::Replace(new), Some(old)) if version(new) == version(old) => self.store(new),
            (LeaseRequest::Create(_) | LeaseRequest::Replace(_), _) => LeaseResponse::Failed,
        }
    }

    fn store(&mut self, lease: &Lease) -> LeaseResponse {
        self.version += 1;
        let mut lease = lease.clone();
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        LeaseResponse::Written(Box::new(lease))
    }
}

/// A request that a candidate waits for.
struct Pending {
    answer_by: Duration,
    arrival: Option<(Duration, LeaseResponse)>,
}

struct Candidate {
    election: Election,
    settings: LeaseSettings,
    started: Duration,
    pending: Option<(u64, Pending)>,
    frozen_until: Duration,
}

impl Candidate {
    fn new(name: String, now: Duration) -> Self {
        let settings = LeaseSettings {
            namespace: "cert-manager".to_owned(),
            name: "lock".to_owned(),
            identity: name,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        };
        let election = Election::new(settings.clone());
        Self { election, settings, started: now, pending: None, frozen_until: Duration::ZERO }
    }

    fn leads(&self, now: Duration) -> bool {
        self.election.leads_until().is_some_and(|until| now < self.started + until)
    }
}

/// A request in flight to the server.
struct Travelling {
    arrives: Duration,
    from: (usize, u64),
    request: Result<LeaseRequest, LeaseSettings>,
    back: Option<Duration>,
}

#[derive(Default)]
struct Simulation {
    server: Server,
    candidates: Vec<Candidate>,
    travelling: Vec<Travelling>,
    requests: u64,
    created: usize,
}

impl Simulation {
    fn candidate(&mut self, now: Duration) -> Candidate {
        self.created += 1;
        Candidate::new(format!("candidate-{}", self.created), now)
    }

    fn disrupt(&mut self, index: usize, disruption: Disruption, now: Duration) {
        match disruption {
            Disruption::Freeze(length) => self.candidates[index].frozen_until = now + length,
            Disruption::Kill => self.candidates[index] = self.candidate(now),
            Disruption::Resign => {
                let request = Err(self.candidates[index].settings.clone());
                self.travelling.push(Travelling { arrives: now + TICK, from: (index, 0), request, back: None });
                self.candidates[index] = self.candidate(now);
            }
        }
    }

    fn serve(&mut self, now: Duration) {
        let due: Vec<_> = self.travelling.extract_if(.., |travelling| travelling.arrives <= now).collect();
        for Travelling { from: (index, number), request, back, .. } in due {
            let response = match request {
                Ok(request) => self.server.respond(&request),
                Err(settings) => {
                    let known = self.server.lease.as_ref();
                    let free = known.and_then(|known| Election::released(&settings, known, Timestamp::UNIX_EPOCH));
                    free.map_or(LeaseResponse::Failed, |free| self.server.store(&free))
                }
            };
            if let Some((waiting, pending)) = &mut self.candidates[index].pending
                && *waiting == number
            {
                pending.arrival = back.map(|back| (now + back, response));
            }
        }
    }

    /// Runs the due step of a candidate.
    fn act(&mut self, index: usize, now: Duration, deliveries: &mut impl Iterator<Item = Delivery>) {
        let candidate = &mut self.candidates[index];
        if now < candidate.frozen_until {
            return;
        }
        let local = now.checked_sub(candidate.started).expect("a candidate acts only after its start");
        if let Some((number, pending)) = candidate.pending.take() {
            let response = match pending.arrival {
                Some((at, response)) if at <= now => response,
                _ if pending.answer_by <= local => LeaseResponse::Failed,
                _ => {
                    candidate.pending = Some((number, pending));
                    return;
                }
            };
            candidate.election.on_response(response, local, 0.3);
        }
        match candidate.election.step(local, Timestamp::UNIX_EPOCH + now) {
            ElectionStep::Wait(until) => assert!(local < until, "it waits for the past"),
            ElectionStep::Send(request, answer_by) => {
                self.requests += 1;
                candidate.pending = Some((self.requests, Pending { answer_by, arrival: None }));
                let Delivery { there, back } = deliveries.next().expect("deliveries repeat for ever");
                if let Some(there) = there {
                    let from = (index, self.requests);
                    self.travelling.push(Travelling { arrives: now + there, from, request: Ok(request), back });
                }
            }
            ElectionStep::End(_) => self.candidates[index] = self.candidate(now),
        }
    }

    fn leaders(&self, now: Duration) -> Vec<&str> {
        let leading = self.candidates.iter().filter(|candidate| candidate.leads(now));
        leading.map(|candidate| candidate.settings.identity.as_str()).collect()
    }
}

fn travel() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![
        6 => (0..200u64).prop_map(|millis| Some(Duration::from_millis(millis))),
        3 => (0..16_000u64).prop_map(|millis| Some(Duration::from_millis(millis))),
        1 => Just(None),
    ]
}

fn disruption() -> impl Strategy<Value = Disruption> {
    prop_oneof![
        4 => (0..40_000u64).prop_map(|millis| Disruption::Freeze(Duration::from_millis(millis))),
        1 => Just(Disruption::Kill),
        1 => Just(Disruption::Resign),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_two_candidates_lead_at_one_moment_and_one_does_after_the_disruptions(
        deliveries in prop::collection::vec((travel(), travel()), 1..80),
        disruptions in prop::collection::vec((0..3usize, 0..120_000u64, disruption()), 0..24),
    ) {
        let mut deliveries = deliveries.into_iter().map(|(there, back)| Delivery { there, back }).cycle();
        let mut calm = std::iter::repeat(Delivery { there: Some(TICK), back: Some(TICK) });
        let mut simulation = Simulation::default();
        let mut terms = 0;
        let mut last: Option<String> = None;
        for born in 0..3u32 {
            let candidate = simulation.candidate(TICK * born * 17);
            simulation.candidates.push(candidate);
        }
        let mut now = TICK * 100;
        while now < DISRUPTION_PERIOD + RECOVERY_PERIOD {
            for (index, at, disruption) in &disruptions {
                if (now..now + TICK).contains(&Duration::from_millis(*at)) {
                    simulation.disrupt(*index, *disruption, now);
                }
            }
            simulation.serve(now);
            for index in 0..3 {
                if now < DISRUPTION_PERIOD {
                    simulation.act(index, now, &mut deliveries);
                } else {
                    simulation.candidates[index].frozen_until = Duration::ZERO;
                    simulation.act(index, now, &mut calm);
                }
                let leaders = simulation.leaders(now);
                prop_assert!(leaders.len() <= 1, "{leaders:?} lead at {now:?}");
                if let Some(leader) = leaders.first() && last.as_deref() != Some(*leader) {
                    terms += 1;
                    last = Some((*leader).to_owned());
                }
            }
            now += TICK;
        }
        prop_assert_eq!(simulation.leaders(now).len(), 1, "who leads after {} terms", terms);
    }
}
