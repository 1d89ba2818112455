//! Candidates on one simulated API server: requests and answers come late or never, processes stand still, die and
//! resign, and yet no two lead at one moment; and when the trouble is over, one does.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use proptest::prelude::*;

use super::LeaseSettings;
use super::election::{Answer, Election, Request, Step};

const TICK: Duration = Duration::from_millis(50);
const TROUBLE: Duration = Duration::from_mins(2);
/// A Lease's term, and time for a restart and some retries.
const CALM: Duration = Duration::from_secs(40);

/// What becomes of a request: how long it travels there, and back.
#[derive(Clone, Copy, Debug)]
struct Fate {
    there: Option<Duration>,
    back: Option<Duration>,
}

/// What befalls a candidate.
#[derive(Clone, Copy, Debug)]
enum Blow {
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
    fn answer(&mut self, request: &Request) -> Answer {
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        match (request, &self.lease) {
            (Request::Read, None) => Answer::Absent,
            (Request::Read, Some(lease)) => Answer::Found(Box::new(lease.clone())),
            (Request::Create(new), None) => self.store(new),
            (Request::Replace(new), Some(old)) if version(new) == version(old) => self.store(new),
            (Request::Create(_) | Request::Replace(_), _) => Answer::Failed,
        }
    }

    fn store(&mut self, lease: &Lease) -> Answer {
        self.version += 1;
        let mut lease = lease.clone();
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Answer::Written(Box::new(lease))
    }
}

/// A request that a candidate waits for.
struct Pending {
    answer_by: Duration,
    arrival: Option<(Duration, Answer)>,
}

struct Candidate {
    election: Election,
    settings: LeaseSettings,
    began: Duration,
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
        Self { election, settings, began: now, pending: None, frozen_until: Duration::ZERO }
    }

    fn leads(&self, now: Duration) -> bool {
        self.election.leads_until().is_some_and(|until| now < self.began + until)
    }
}

/// A request under way to the server.
struct Travelling {
    arrives: Duration,
    from: (usize, u64),
    request: Result<Request, LeaseSettings>,
    back: Option<Duration>,
}

#[derive(Default)]
struct Simulation {
    server: Server,
    candidates: Vec<Candidate>,
    travelling: Vec<Travelling>,
    requests: u64,
    born: usize,
}

impl Simulation {
    fn candidate(&mut self, now: Duration) -> Candidate {
        self.born += 1;
        Candidate::new(format!("candidate-{}", self.born), now)
    }

    fn befall(&mut self, index: usize, blow: Blow, now: Duration) {
        match blow {
            Blow::Freeze(length) => self.candidates[index].frozen_until = now + length,
            Blow::Kill => self.candidates[index] = self.candidate(now),
            Blow::Resign => {
                let request = Err(self.candidates[index].settings.clone());
                self.travelling.push(Travelling { arrives: now + TICK, from: (index, 0), request, back: None });
                self.candidates[index] = self.candidate(now);
            }
        }
    }

    fn serve(&mut self, now: Duration) {
        let due: Vec<_> = self.travelling.extract_if(.., |travelling| travelling.arrives <= now).collect();
        for Travelling { from: (index, number), request, back, .. } in due {
            let answer = match request {
                Ok(request) => self.server.answer(&request),
                Err(settings) => {
                    let known = self.server.lease.as_ref();
                    let free = known.and_then(|known| Election::released(&settings, known, Timestamp::UNIX_EPOCH));
                    free.map_or(Answer::Failed, |free| self.server.store(&free))
                }
            };
            if let Some((waiting, pending)) = &mut self.candidates[index].pending
                && *waiting == number
            {
                pending.arrival = back.map(|back| (now + back, answer));
            }
        }
    }

    /// Lets a candidate do all that it has to do at this time.
    fn act(&mut self, index: usize, now: Duration, fates: &mut impl Iterator<Item = Fate>) {
        let candidate = &mut self.candidates[index];
        if now < candidate.frozen_until {
            return;
        }
        let local = now.checked_sub(candidate.began).expect("nobody acts before birth");
        if let Some((number, pending)) = candidate.pending.take() {
            let answer = match pending.arrival {
                Some((at, answer)) if at <= now => answer,
                _ if pending.answer_by <= local => Answer::Failed,
                _ => {
                    candidate.pending = Some((number, pending));
                    return;
                }
            };
            candidate.election.hear(answer, local, 0.3);
        }
        match candidate.election.step(local, Timestamp::UNIX_EPOCH + now) {
            Step::Wait(until) => assert!(local < until, "it waits for the past"),
            Step::Ask(request, answer_by) => {
                self.requests += 1;
                candidate.pending = Some((self.requests, Pending { answer_by, arrival: None }));
                let Fate { there, back } = fates.next().expect("fates repeat for ever");
                if let Some(there) = there {
                    let from = (index, self.requests);
                    self.travelling.push(Travelling { arrives: now + there, from, request: Ok(request), back });
                }
            }
            Step::End(_) => self.candidates[index] = self.candidate(now),
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

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        4 => (0..40_000u64).prop_map(|millis| Blow::Freeze(Duration::from_millis(millis))),
        1 => Just(Blow::Kill),
        1 => Just(Blow::Resign),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_two_candidates_lead_at_one_moment_and_one_does_when_trouble_is_over(
        fates in prop::collection::vec((travel(), travel()), 1..80),
        blows in prop::collection::vec((0..3usize, 0..120_000u64, blow()), 0..24),
    ) {
        let mut fates = fates.into_iter().map(|(there, back)| Fate { there, back }).cycle();
        let mut calm = std::iter::repeat(Fate { there: Some(TICK), back: Some(TICK) });
        let mut simulation = Simulation::default();
        let mut terms = 0;
        let mut last: Option<String> = None;
        for born in 0..3u32 {
            let candidate = simulation.candidate(TICK * born * 17);
            simulation.candidates.push(candidate);
        }
        let mut now = TICK * 100;
        while now < TROUBLE + CALM {
            for (index, at, blow) in &blows {
                if (now..now + TICK).contains(&Duration::from_millis(*at)) {
                    simulation.befall(*index, *blow, now);
                }
            }
            simulation.serve(now);
            for index in 0..3 {
                if now < TROUBLE {
                    simulation.act(index, now, &mut fates);
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
