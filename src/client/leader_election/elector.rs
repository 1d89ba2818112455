//! The task of a candidate: it sends the requests of the election, waits, and publishes the leadership.

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

use super::election::{Election, ElectionStep, LeaseRequest, LeaseResponse, LossReason};
use super::{LeadershipState, LeadershipWatch, LeaseSettings};

/// The maximum time for the release of the Lease: a pod that ends has little time.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(750);

/// The candidate of this process, a task in the background.
pub struct LeaderElector {
    release: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl LeaderElector {
    /// Starts a candidate. The client is for the Lease only, so its writes must not be fenced.
    #[must_use]
    pub fn start(client: Client, settings: LeaseSettings) -> (Self, LeadershipWatch) {
        let (leadership, receiver) = watch::channel(LeadershipState::Standby);
        let (release, release_requested) = oneshot::channel();
        let candidate = Candidate {
            leases: Api::namespaced(client, &settings.namespace),
            election: Election::new(settings.clone()),
            settings,
            started: Instant::now(),
            leadership,
            last_error: None,
        };
        (
            Self { release, task: tokio::spawn(candidate.run(release_requested)) },
            LeadershipWatch::from_election(receiver),
        )
    }

    /// Stops the candidate and releases the Lease, if this process holds it. All writes must have been answered before.
    pub async fn release(self) {
        // A candidate that no longer receives it has lost the Lease already.
        if self.release.send(()).is_ok() && self.task.await.is_err() {
            warn!("the candidate failed to resign");
        }
    }
}

struct Candidate {
    leases: Api<Lease>,
    settings: LeaseSettings,
    election: Election,
    /// The zero of the election's times.
    started: Instant,
    leadership: watch::Sender<LeadershipState>,
    /// The last error, so that it is logged once.
    last_error: Option<String>,
}

impl Candidate {
    async fn run(mut self, release_requested: oneshot::Receiver<()>) {
        let LeaseSettings { namespace, name, identity, .. } = &self.settings;
        info!(lease = format!("{namespace}/{name}"), identity, "taking part in the election of a leader");
        tokio::select! {
            biased;
            _ = release_requested => self.release().await,
            () = self.run_election() => {}
        }
    }

    /// Takes part in the election until its end.
    async fn run_election(&mut self) {
        loop {
            match self.election.step(self.started.elapsed(), Timestamp::now()) {
                ElectionStep::Wait(until) => sleep_until(self.started + until).await,
                ElectionStep::Send(request, answer_by) => {
                    let response = self.send_request(&request, self.started + answer_by).await;
                    let last_holder = self.election.holder().to_owned();
                    self.election.on_response(response, self.started.elapsed(), random_fraction());
                    self.publish_leadership(&last_holder);
                }
                ElectionStep::End(loss) => return self.end_leadership(&loss),
            }
        }
    }

    async fn send_request(&mut self, request: &LeaseRequest, answer_by: Instant) -> LeaseResponse {
        let (name, params) = (&self.settings.name, PostParams::default());
        debug!(?request, "asking");
        let response = async {
            match request {
                LeaseRequest::Read => {
                    let found = self.leases.get_opt(name).await?;
                    Ok(found.map_or(LeaseResponse::Absent, |lease| LeaseResponse::Found(Box::new(lease))))
                }
                LeaseRequest::Create(lease) => {
                    Ok(LeaseResponse::Written(Box::new(self.leases.create(&params, lease).await?)))
                }
                LeaseRequest::Replace(lease) => {
                    Ok(LeaseResponse::Written(Box::new(self.leases.replace(name, &params, lease).await?)))
                }
            }
        };
        let error = match timeout_at(answer_by, response).await {
            Ok(Ok(response)) => {
                self.last_error = None;
                return response;
            }
            // Another candidate was faster: the next read shows which.
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_already_exists() => {
                return LeaseResponse::Failed;
            }
            Ok(Err(kube::Error::Api(status))) => status.message.clone(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if self.last_error.as_ref() != Some(&error) {
            warn!(lease = self.name(), "leader election: {error}");
            self.last_error = Some(error);
        }
        LeaseResponse::Failed
    }

    fn publish_leadership(&self, last_holder: &str) {
        let leadership = match self.election.leads_until() {
            Some(until) => LeadershipState::Leading { until: self.started + until },
            None => LeadershipState::Standby,
        };
        let before = self.leadership.send_replace(leadership);
        let holder = self.election.holder();
        match (before, leadership) {
            (LeadershipState::Standby, LeadershipState::Leading { .. }) => info!(lease = self.name(), "leading"),
            (LeadershipState::Standby, LeadershipState::Standby) if holder != last_holder && !holder.is_empty() => {
                info!(lease = self.name(), holder, "standing by");
            }
            _ => {}
        }
    }

    fn end_leadership(&self, loss: &LossReason) {
        self.leadership.send_replace(LeadershipState::Lost);
        let why = match loss {
            LossReason::RenewDeadlineExceeded => format!("not renewed for {:?}", self.settings.renew_deadline),
            LossReason::Taken(holder) if holder.is_empty() => "somebody has taken our name off it".to_owned(),
            LossReason::Taken(holder) => format!("{holder} has taken it"),
        };
        error!(lease = self.name(), "leadership lost, ending to start afresh: {why}");
    }

    /// Releases the Lease. An earlier request that is still in flight fails on the new version.
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
        match timeout(RELEASE_TIMEOUT, release).await {
            Ok(Ok(true)) => info!(lease = self.name(), "released"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => warn!(lease = self.name(), "not released, it has to expire: {error}"),
            Err(_) => {
                warn!(lease = self.name(), "not released, it has to expire: no answer within {RELEASE_TIMEOUT:?}");
            }
        }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.settings.namespace, self.settings.name)
    }
}

/// Returns a random number from 0 to 1, from the seed that the standard library draws for each map.
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from((bits >> 32) as u32) / f64::from(u32::MAX)
}
