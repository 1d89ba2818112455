//! The candidate at work: it asks, waits and tells, as the election says.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, error, info, warn};

use super::election::{Answer, Election, Loss, Request, Step};
use super::{Leadership, LeaseSettings, Mandate};

/// How long a resignation may take: a pod that ends has little time.
const RESIGN_MAX: Duration = Duration::from_millis(750);

/// This process's part in the election, in the background.
pub struct Candidacy {
    resign: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Candidacy {
    /// Takes part from now on. The client needs no mandate: it is for the Lease only.
    #[must_use]
    pub fn start(client: Client, settings: LeaseSettings) -> (Self, Mandate) {
        let (leadership, mandate) = watch::channel(Leadership::Standby);
        let (resign, resigned) = oneshot::channel();
        let candidate = Candidate {
            leases: Api::namespaced(client, &settings.namespace),
            election: Election::new(settings.clone()),
            settings,
            began: Instant::now(),
            leadership,
            trouble: None,
        };
        (Self { resign, task: tokio::spawn(candidate.run(resigned)) }, Mandate::elected(mandate))
    }

    /// Takes part no more. If we lead, somebody else may do so from now on: every write has been answered before.
    pub async fn resign(self) {
        // Whoever is not there to hear it has lost already.
        if self.resign.send(()).is_ok() && self.task.await.is_err() {
            warn!("the candidate failed to resign");
        }
    }
}

struct Candidate {
    leases: Api<Lease>,
    settings: LeaseSettings,
    election: Election,
    /// The zero of the election's times.
    began: Instant,
    leadership: watch::Sender<Leadership>,
    /// What last went wrong, so that it is said once.
    trouble: Option<String>,
}

impl Candidate {
    async fn run(mut self, resigned: oneshot::Receiver<()>) {
        let LeaseSettings { namespace, name, identity, .. } = &self.settings;
        info!(lease = format!("{namespace}/{name}"), identity, "taking part in the election of a leader");
        tokio::select! {
            biased;
            _ = resigned => self.release().await,
            () = self.contest() => {}
        }
    }

    /// Takes part until it is over.
    async fn contest(&mut self) {
        loop {
            match self.election.step(self.began.elapsed(), Timestamp::now()) {
                Step::Wait(until) => sleep_until(self.began + until).await,
                Step::Ask(request, answer_by) => {
                    let answer = self.ask(&request, self.began + answer_by).await;
                    let known = self.election.holder().to_owned();
                    self.election.hear(answer, self.began.elapsed(), chance());
                    self.tell(&known);
                }
                Step::End(loss) => return self.lose(&loss),
            }
        }
    }

    async fn ask(&mut self, request: &Request, answer_by: Instant) -> Answer {
        let (name, params) = (&self.settings.name, PostParams::default());
        debug!(?request, "asking");
        let answer = async {
            match request {
                Request::Read => {
                    let found = self.leases.get_opt(name).await?;
                    Ok(found.map_or(Answer::Absent, |lease| Answer::Found(Box::new(lease))))
                }
                Request::Create(lease) => Ok(Answer::Written(Box::new(self.leases.create(&params, lease).await?))),
                Request::Replace(lease) => {
                    Ok(Answer::Written(Box::new(self.leases.replace(name, &params, lease).await?)))
                }
            }
        };
        let trouble = match timeout_at(answer_by, answer).await {
            Ok(Ok(answer)) => {
                self.trouble = None;
                return answer;
            }
            // Another candidate was faster, as it happens: reading tells who.
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => {
                return Answer::Failed;
            }
            Ok(Err(kube::Error::Api(status))) => status.message.clone(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if self.trouble.as_ref() != Some(&trouble) {
            warn!(lease = self.name(), "leader election: {trouble}");
            self.trouble = Some(trouble);
        }
        Answer::Failed
    }

    fn tell(&self, known: &str) {
        let leadership = match self.election.leads_until() {
            Some(until) => Leadership::Leading { until: self.began + until },
            None => Leadership::Standby,
        };
        let before = self.leadership.send_replace(leadership);
        let holder = self.election.holder();
        match (before, leadership) {
            (Leadership::Standby, Leadership::Leading { .. }) => info!(lease = self.name(), "leading"),
            (Leadership::Standby, Leadership::Standby) if holder != known && !holder.is_empty() => {
                info!(lease = self.name(), holder, "standing by");
            }
            _ => {}
        }
    }

    fn lose(&self, loss: &Loss) {
        self.leadership.send_replace(Leadership::Lost);
        let why = match loss {
            Loss::Overdue => format!("not renewed for {:?}", self.settings.renew_deadline),
            Loss::Taken(holder) if holder.is_empty() => "somebody has taken our name off it".to_owned(),
            Loss::Taken(holder) => format!("{holder} has taken it"),
        };
        error!(lease = self.name(), "leadership lost, ending to start afresh: {why}");
    }

    /// Gives the Lease back. A request of ours that is still on its way fails on the version that this makes.
    async fn release(&mut self) {
        let release = async {
            loop {
                let Some(known) = self.leases.get_opt(&self.settings.name).await? else { return Ok(false) };
                let Some(free) = Election::released(&self.settings, &known, Timestamp::now()) else { return Ok(false) };
                match self.leases.replace(&self.settings.name, &PostParams::default(), &free).await {
                    Err(kube::Error::Api(status)) if status.is_conflict() => {}
                    result => return result.map(|_| true),
                }
            }
        };
        match timeout(RESIGN_MAX, release).await {
            Ok(Ok(true)) => info!(lease = self.name(), "released"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => warn!(lease = self.name(), "not released, it has to expire: {error}"),
            Err(_) => warn!(lease = self.name(), "not released, it has to expire: no answer within {RESIGN_MAX:?}"),
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.settings.namespace, self.settings.name)
    }
}

/// A number from 0 to 1 from the seed that the standard library draws for each map.
fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from((bits >> 32) as u32) / f64::from(u32::MAX)
}
