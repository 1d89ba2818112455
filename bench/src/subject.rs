//! A Bundle whose fan-out is measured, with its source and a watch of its targets.

use std::time::Instant;

use anyhow::{Context as _, Result};
use http::Method;
use rootcast_e2e::scenario::{self, TRUST_NAMESPACE};
use serde_json::json;

use crate::{
    material::{Content, Material},
    stage::{SELECTOR, Stage},
    tally::Tally,
    wire,
};

/// A label that each target has from its Bundle's template.
pub(crate) const LABEL: (&str, &str) = ("example.com/kind", "trust");

/// The key of the source and of the targets.
pub(crate) const KEY: &str = "ca-bundle.crt";

/// One Bundle.
pub(crate) struct Subject<'a> {
    stage: &'a Stage,
    pub(crate) name: &'static str,
    material: Material,
    number: usize,
    pub(crate) tally: Tally,
    /// What targets should hold now.
    pub(crate) content: Content,
}

impl<'a> Subject<'a> {
    /// Creates a Bundle of about `bytes` for all of the stage's namespaces.
    pub(crate) async fn begin(stage: &'a Stage, name: &'static str, bytes: usize) -> Result<Self> {
        let client = stage.control_plane.client();
        let material = Material::of(bytes)?;
        let content = material.content(0)?;
        let tally = Tally::start(client.clone(), name, LABEL.0);
        scenario::apply(&client, &scenario::source("ConfigMap", &source(name), &[], &[(KEY, &content.pem)])).await?;
        let spec = json!({
            "sources": [{"configMap": {"name": source(name), "key": KEY}}],
            "target": {
                "configMap": {"key": KEY, "metadata": {"labels": {LABEL.0: LABEL.1}}},
                "namespaceSelector": {"matchLabels": {SELECTOR: ""}},
            },
        });
        scenario::apply(&client, &scenario::bundle(name, &spec.to_string())).await?;
        Ok(Self { stage, name, material, number: 0, tally, content })
    }

    /// Changes the source; the moment before that.
    pub(crate) async fn change(&mut self) -> Result<Instant> {
        self.number += 1;
        self.content = self.material.content(self.number)?;
        let body = json!({"data": {KEY: self.content.pem}}).to_string();
        let source = source(self.name);
        let uri = format!("/api/v1/namespaces/{TRUST_NAMESPACE}/configmaps/{source}?fieldValidation=Ignore");
        let began = Instant::now();
        let patch = "application/strategic-merge-patch+json";
        wire::send(&self.stage.client, Method::PATCH, &uri, patch, None, body.into())
            .await
            .context("changing the source")?;
        Ok(began)
    }

    /// Waits until each of the stage's namespaces has the present content; when the last one got it.
    pub(crate) async fn arrived(&self) -> Result<Instant> {
        let wanted = self.stage.namespaces.len();
        let hash = &self.content.hash;
        self.tally.until(&format!("{wanted} targets of {}", self.name), |board| board.holding(hash) >= wanted).await
    }
}

/// The name of a Bundle's source.
fn source(bundle: &str) -> String {
    format!("{bundle}-source")
}
