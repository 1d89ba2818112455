//! Requests as the product sends them: kube's client over rustls, bodies of a head and shared bytes, answers without
//! content.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body::{Frame, SizeHint};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _},
};
use serde::Deserialize;
use tower::{BoxError, ServiceBuilder};

/// Asks for an answer without content: 1 KB comes back instead of the object.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// What to send before the body of a request; an extension of that request.
#[derive(Clone)]
struct Head(Bytes);

/// A head and a body, of known length together.
struct Prefixed {
    head: Option<Bytes>,
    body: Body,
}

impl http_body::Body for Prefixed {
    type Data = Bytes;
    type Error = kube::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, kube::Error>>> {
        match self.head.take() {
            Some(head) => Poll::Ready(Some(Ok(Frame::data(head)))),
            None => Pin::new(&mut self.body).poll_frame(context),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let head = self.head.as_ref().map_or(0, |head| head.len() as u64);
        self.body.size_hint().exact().map_or_else(SizeHint::new, |body| SizeHint::with_exact(head + body))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.body.is_end_stream()
    }
}

/// kube's client, but for bodies that may have a head.
pub(crate) fn client(config: &Config) -> Result<Client> {
    let sender = legacy::Client::builder(TokioExecutor::new()).build(config.rustls_https_connector()?);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .map_request(|request: Request<Body>| {
            let (mut parts, body) = request.into_parts();
            let head = parts.extensions.remove::<Head>().map(|Head(bytes)| bytes);
            Request::from_parts(parts, Prefixed { head, body })
        })
        .service(sender);
    Ok(Client::new(service, "default"))
}

/// Sends one request and returns the resource version that it led to.
pub(crate) async fn send(
    client: &Client,
    method: Method,
    uri: &str,
    content_type: &str,
    head: Option<Bytes>,
    body: Bytes,
) -> Result<String> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT, METADATA_ONLY)
        .body(Body::from(body))?;
    if let Some(head) = head {
        request.extensions_mut().insert(Head(head));
    }
    let answer = client.send(request).await?;
    let code = answer.status();
    let body = answer.into_body().collect_bytes().await?;
    if !code.is_success() {
        bail!("{uri}: {code}: {}", String::from_utf8_lossy(&body));
    }
    let answer: Answer = serde_json::from_slice(&body)?;
    Ok(answer.metadata.resource_version)
}

/// As much of `PartialObjectMetadata` as is of use here; a deleted object is answered with a `Status`.
#[derive(Deserialize)]
struct Answer {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    #[serde(default)]
    resource_version: String,
}
