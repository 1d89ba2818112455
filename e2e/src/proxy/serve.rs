//! Connections: TLS in, faults on the way, the API server's own answers out.

use std::{io, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::stream;
use http::{
    HeaderValue, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{Client, Config, client::Body};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::{
    State,
    fault::{Answer, Effect},
    request::{On, Request},
};
use crate::{
    access::{Access, Caller},
    pki::Identity,
};

/// How the API server behind a proxy is reached.
pub(crate) struct Route {
    /// As its administrator.
    pub(crate) administrator: Config,
    /// As whoever a request says.
    pub(crate) bearer: Config,
}

impl Route {
    pub(super) fn to(access: &Access) -> Self {
        Self { administrator: access.config(Caller::Admin), bearer: access.config(Caller::Bearer) }
    }
}

type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The listening side's TLS.
pub(crate) fn tls(identity: &Identity) -> Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(&identity.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&identity.key)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("a server's certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, tls: TlsAcceptor, route: Route, state: Arc<State>) {
    let client = |config| Client::try_from(config).expect("the keys of a route were read before");
    let upstream = Upstream { administrator: client(route.administrator), bearer: client(route.bearer) };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(connection(stream, tls.clone(), upstream.clone(), state.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Ways to the API server.
#[derive(Clone)]
struct Upstream {
    administrator: Client,
    /// Adds nothing to what the request says of itself.
    bearer: Client,
}

/// A connection ends when the client closes it, or a fault does.
async fn connection(stream: TcpStream, tls: TlsAcceptor, upstream: Upstream, state: Arc<State>) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(|request| exchange(request, &upstream, &state));
    let _: Result<_, hyper::Error> = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// One request under way. An error closes the connection without an answer.
struct UnderWay {
    place: usize,
    request: Request,
    cuts: broadcast::Receiver<On>,
    state: Arc<State>,
}

async fn exchange(request: http::Request<Incoming>, upstream: &Upstream, state: &Arc<State>) -> io::Result<Reply> {
    let (mut head, body) = request.into_parts();
    let cuts = state.cuts.subscribe();
    let (place, request) = state.came(&head);
    let under_way = UnderWay { place, request, cuts, state: state.clone() };
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    head.headers.remove(HOST);
    let client = if head.headers.contains_key(AUTHORIZATION) { &upstream.bearer } else { &upstream.administrator };
    let forward = async {
        let answer = client.send(http::Request::from_parts(head, Body::from(body))).await;
        answer.map_err(io::Error::other)
    };
    under_way.answer(forward).await
}

impl UnderWay {
    async fn answer(mut self, forward: impl Future<Output = io::Result<Response<Body>>>) -> io::Result<Reply> {
        let effect = self.state.faults.effect(&self.request);
        if effect.is_some() {
            self.state.faulted(self.place);
        }
        let (mut delay, mut lines) = (Duration::ZERO, None);
        match effect {
            Some(Effect::Cut) => return Err(cut()),
            Some(Effect::Answer(answer)) => return Ok(self.reply(answer)),
            Some(Effect::LoseAnswer) => {
                forward.await?.into_body().collect().await.map_err(io::Error::other)?;
                return Err(cut());
            }
            Some(Effect::Delay(time)) => delay = time,
            Some(Effect::CutLine(count)) => lines = Some(count),
            Some(Effect::Stall) | None => {}
        }
        let (faults, request) = (self.state.faults.clone(), self.request.clone());
        let forward = async {
            tokio::time::sleep(delay).await;
            faults.moves(&request).await;
            let answer = forward.await;
            faults.moves(&request).await;
            answer
        };
        let answer = tokio::select! {
            answer = forward => answer?,
            () = self.is_cut() => return Err(cut()),
        };
        let (head, body) = answer.into_parts();
        let body = self.note(head.status, body).await?;
        Ok(Response::from_parts(head, self.pass(body, lines)))
    }

    /// Takes an answer down. A refusal and a creation are read for what they say, and so are here as a whole.
    async fn note(&self, status: StatusCode, body: Body) -> io::Result<Body> {
        if !status.is_client_error() && status != StatusCode::CREATED {
            self.state.answered(self.place, status, &[]);
            return Ok(body);
        }
        let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
        self.state.answered(self.place, status, &bytes);
        Ok(Body::from(bytes))
    }

    fn reply(&self, answer: Answer) -> Reply {
        let Answer { status, retry_after, content_type, text } = answer;
        self.state.answered(self.place, status, text.as_bytes());
        let mut reply = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
        *reply.status_mut() = status;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = retry_after {
            reply.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        reply
    }

    /// Passes the body of an answer on as it comes; `lines` is how many lines of it may arrive whole.
    fn pass(self, body: Body, lines: Option<usize>) -> UnsyncBoxBody<Bytes, io::Error> {
        let frames = stream::try_unfold((self, body, lines, false), async |(mut this, mut body, mut lines, over)| {
            if over {
                // What was said before is on its way first.
                tokio::task::yield_now().await;
                return Err(cut());
            }
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = this.is_cut() => return Err(cut()),
            };
            this.state.faults.moves(&this.request).await;
            let Some(frame) = frame else { return Ok(None) };
            let mut frame = frame.map_err(io::Error::other)?;
            let mut over = false;
            if let (Some(lines), Some(data)) = (&mut lines, frame.data_mut())
                && let Some(end) = cut_point(lines, data)
            {
                data.truncate(end);
                over = true;
            }
            Ok(Some((frame, (this, body, lines, over))))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    /// Waits until the test cuts what this is.
    async fn is_cut(&mut self) {
        loop {
            match self.cuts.recv().await {
                Ok(on) if on.matches(&self.request) => return,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn cut() -> io::Error {
    io::Error::other("cut by the fault proxy")
}

/// Where `data` is to end, if it reaches into the line after the last that may arrive whole: half-way into its part.
fn cut_point(lines: &mut usize, data: &[u8]) -> Option<usize> {
    let mut rest = data;
    while *lines > 0 {
        let newline = rest.iter().position(|&byte| byte == b'\n')?;
        rest = &rest[newline + 1..];
        *lines -= 1;
    }
    (!rest.is_empty()).then_some(data.len() - rest.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_in_its_middle() {
        assert_eq!(cut_point(&mut 0, b"abcd\n"), Some(3));
        assert_eq!(cut_point(&mut 1, b"abcd\n"), None);
        assert_eq!(cut_point(&mut 1, b"ab\ncdef\n"), Some(6));
        let mut lines = 1;
        assert_eq!(cut_point(&mut lines, b"ab\n"), None);
        assert_eq!(cut_point(&mut lines, b"cd"), Some(1));
    }
}
