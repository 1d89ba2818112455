//! A proxy in front of the API server that misbehaves when told to.
//!
//! ```text
//! Proxy::start ──▶ url, client          who is to suffer comes through it
//!       │
//!       ├──▶ inject(On, Turns, Effect)  a fault, until its guard is dropped
//!       ├──▶ cut(On)                    what is under way, once and now
//!       └──▶ exchanges, count           what came through, and what was answered
//! ```
//!
//! It serves TLS with a certificate of the control plane's own CA and passes tokens and impersonation on. A request
//! without a token comes as the administrator, whose client certificate cannot pass through.

mod caller;
mod fault;
mod request;
mod serve;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::Result;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::{
    ControlPlane,
    access::{Access, Caller},
    audit::Entry,
    background::Background,
    pki::Pki,
};

pub use fault::{Effect, Fault, Turns};
pub use request::{On, Request};
pub(crate) use serve::{Route, tls as server_tls};

/// How many cuts may happen while one exchange is not looking.
const CUTS: usize = 1024;

/// A running proxy. Dropping it closes every connection.
pub struct Proxy {
    server: Background,
    access: Access,
    state: Arc<State>,
}

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What was asked.
    pub request: Request,
    /// When its head was read.
    pub came: Instant,
    /// What the client was answered, and when the head of the answer was on its way; `None` for nothing, or not yet.
    pub answer: Option<(u16, Instant)>,
    /// Whether a fault had its hands on it.
    pub faulted: bool,
    entry: Entry,
}

/// What the connections share.
struct State {
    faults: fault::Table,
    cuts: broadcast::Sender<On>,
    exchanges: Mutex<Exchanges>,
}

type OnCreation = Box<dyn FnMut(&str) + Send>;

#[derive(Default)]
struct Exchanges {
    all: Vec<Exchange>,
    /// Their places, in the order of answers.
    answered: Vec<usize>,
    listed: request::Listed,
    /// What is told of each object that is created: its path.
    on_creation: Option<OnCreation>,
}

impl Proxy {
    /// Starts a proxy without faults.
    ///
    /// # Errors
    /// When there is no port, or no thread.
    pub fn start(control_plane: &ControlPlane) -> Result<Self> {
        let access = control_plane.access.clone();
        Self::before(Route::to(&access), access, &control_plane.pki)
    }

    /// Starts a proxy before any API server. `access` is how it is reached itself, but for its port.
    pub(crate) fn before(route: Route, access: Access, pki: &Pki) -> Result<Self> {
        let tls = serve::tls(&pki.server("proxy", &["localhost"])?)?;
        let state = Arc::new(State {
            faults: fault::Table::default(),
            cuts: broadcast::Sender::new(CUTS),
            exchanges: Mutex::default(),
        });
        let server = {
            let state = state.clone();
            Background::start("proxy", |listener| serve::serve(listener, tls, route, state))?
        };
        Ok(Self { server, access, state })
    }

    /// From now on, `tell` is called with the path of each object that is created.
    pub(crate) fn on_creation(&self, tell: impl FnMut(&str) + Send + 'static) {
        self.state.exchanges(|exchanges| exchanges.on_creation = Some(Box::new(tell)));
    }

    /// How many requests were answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.state.exchanges(|exchanges| exchanges.answered.len())
    }

    /// What an audit log would say of the requests that were answered after the first so many, in the order of answers.
    pub(crate) fn entries(&self, after: usize) -> Vec<Entry> {
        self.state.exchanges(|exchanges| {
            let later = exchanges.answered.get(after..).unwrap_or_default();
            later.iter().map(|place| exchanges.all[*place].entry.clone()).collect()
        })
    }

    /// The proxy's address.
    #[must_use]
    pub fn url(&self) -> String {
        self.access.at(self.server.port()).url()
    }

    /// A client of the administrator's that comes through the proxy.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        self.access.at(self.server.port()).client(Caller::Admin)
    }

    /// A client for a user in some groups that comes through the proxy.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        self.access.at(self.server.port()).client(Caller::User(user, groups))
    }

    /// From now on, until the answer is dropped, `effect` happens to these requests. Of several faults for one request
    /// the oldest happens.
    pub fn inject(&self, on: On, turns: Turns, effect: Effect) -> Fault {
        self.state.faults.inject(on, turns, effect)
    }

    /// Closes the connections of these requests that are under way, watches above all.
    pub fn cut(&self, on: &On) {
        // Nobody listens where nothing is under way.
        let _: Result<_, _> = self.state.cuts.send(on.clone());
    }

    /// Every request so far, in the order in which they came.
    #[must_use]
    pub fn exchanges(&self, on: &On) -> Vec<Exchange> {
        self.state.exchanges(|exchanges| exchanges.all.iter().filter(|one| on.matches(&one.request)).cloned().collect())
    }

    /// How many such requests came so far, answered or not.
    #[must_use]
    pub fn count(&self, on: &On) -> usize {
        self.state.exchanges(|exchanges| exchanges.all.iter().filter(|one| on.matches(&one.request)).count())
    }

    pub(crate) fn access(&self) -> Access {
        self.access.at(self.server.port())
    }
}

impl State {
    fn exchanges<T>(&self, with: impl FnOnce(&mut Exchanges) -> T) -> T {
        with(&mut self.exchanges.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a request down; the answer is its place.
    fn came(&self, head: &http::request::Parts) -> (usize, Request) {
        self.exchanges(|exchanges| {
            let request = Request::read(&head.method, &head.uri, &mut exchanges.listed);
            exchanges.all.push(Exchange {
                request: request.clone(),
                came: Instant::now(),
                answer: None,
                faulted: false,
                entry: entry(&request, &head.headers),
            });
            (exchanges.all.len() - 1, request)
        })
    }

    /// Takes an answer down; its body counts only where it refuses or creates.
    fn answered(&self, place: usize, status: http::StatusCode, body: &[u8]) {
        self.exchanges(|exchanges| {
            exchanges.answered.push(place);
            let Exchange { request, answer, entry, .. } = &mut exchanges.all[place];
            *answer = Some((status.as_u16(), Instant::now()));
            entry.code = status.as_u16();
            let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
            let text = |at| body.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            let created = status == http::StatusCode::CREATED;
            if request.verb == "create" {
                entry.name = text(if created { "/metadata/name" } else { "/details/name" });
            }
            if !created {
                entry.message = text("/message");
            } else if request.subresource.is_empty() && !entry.name.is_empty() {
                let path = request.uri.split('?').next().unwrap_or_default();
                let path = if request.verb == "create" { format!("{path}/{}", entry.name) } else { path.to_owned() };
                exchanges.on_creation.iter_mut().for_each(|tell| tell(&path));
            }
        });
    }

    fn faulted(&self, place: usize) {
        self.exchanges(|exchanges| exchanges.all[place].faulted = true);
    }
}

/// What is known before the answer.
fn entry(request: &Request, headers: &http::HeaderMap) -> Entry {
    let Request { verb, resource, subresource, namespace, name, uri, resumes: _ } = request.clone();
    Entry {
        user: caller::of(headers),
        agent: headers
            .get(http::header::USER_AGENT)
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        verb: verb.to_owned(),
        resource,
        subresource,
        namespace,
        name,
        uri,
        code: 0,
        message: String::new(),
        time: Timestamp::now(),
        webhooks: Vec::new(),
    }
}
