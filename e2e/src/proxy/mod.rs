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

mod fault;
mod request;
mod serve;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::Result;
use kube::Client;
use tokio::sync::broadcast;

use crate::{
    ControlPlane,
    access::{Access, Caller},
    background::Background,
};

pub use fault::{Effect, Fault, Turns};
pub use request::{On, Request};
pub(crate) use serve::tls as server_tls;

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
}

/// What the connections share.
struct State {
    faults: fault::Table,
    cuts: broadcast::Sender<On>,
    exchanges: Mutex<Exchanges>,
}

#[derive(Default)]
struct Exchanges {
    all: Vec<Exchange>,
    listed: request::Listed,
}

impl Proxy {
    /// Starts a proxy without faults.
    ///
    /// # Errors
    /// When there is no port, or no thread.
    pub fn start(control_plane: &ControlPlane) -> Result<Self> {
        let access = control_plane.access.clone();
        let tls = serve::tls(&control_plane.pki.server("proxy", &["localhost"])?)?;
        let state = Arc::new(State {
            faults: fault::Table::default(),
            cuts: broadcast::Sender::new(CUTS),
            exchanges: Mutex::default(),
        });
        let server = {
            let (access, state) = (access.clone(), state.clone());
            Background::start("proxy", |listener| serve::serve(listener, tls, access, state))?
        };
        Ok(Self { server, access, state })
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
            });
            (exchanges.all.len() - 1, request)
        })
    }

    fn answered(&self, place: usize, status: http::StatusCode) {
        self.exchanges(|exchanges| exchanges.all[place].answer = Some((status.as_u16(), Instant::now())));
    }

    fn faulted(&self, place: usize) {
        self.exchanges(|exchanges| exchanges.all[place].faulted = true);
    }
}
