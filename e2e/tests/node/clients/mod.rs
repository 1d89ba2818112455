//! Other people's programs in pods: what they trust before there is a Bundle, and with it.
//!
//! ```text
//! Stage::set: the product, two servers ──▶ namespace, bundle ──▶ ClientPod::start ──▶ says: Trusts | Doubts
//! ```

mod distrusted;
mod java;
mod pod;
mod programs;
mod retained;
mod rotation;
mod stage;

use anyhow::Result;
use jiff::SignedDuration;

use self::{
    pod::{
        ClientPod, Mount,
        Verdict::{Doubts, Trusts},
    },
    programs::PEM,
    stage::{BUNDLE, Stage},
};

/// After this, no connection is under way that began before.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(2);

const PRIVATE_ONLY: &str = "
sources: [{configMap: {name: private-ca, key: ca.crt}}]
target: {configMap: {key: ca-bundle.crt}}
";

const PRIVATE_AND_PUBLIC: &str = "
sources: [{useDefaultCAs: true}, {configMap: {name: private-ca, key: ca.crt}}]
target: {configMap: {key: ca-bundle.crt}}
";

#[tokio::test]
async fn programs_trust_by_annotation_by_label_and_by_a_mounted_config_map_what_they_doubted_before() -> Result<()> {
    let stage = Stage::set().await?;
    let asks = [&stage.private, &stage.public];
    let plain =
        ClientPod { namespace: "plain", name: "shop", programs: &PEM, asks: &asks, annotations: &[], mount: None };
    let labelled = ClientPod { namespace: "labelled", ..plain };
    let doubts = [(&stage.private, Doubts), (&stage.public, Doubts)];
    let trusts = [(&stage.private, Trusts), (&stage.public, Trusts)];

    for pod in [plain, labelled] {
        stage.namespace(pod.namespace, &[]).await?;
        let before = pod.start(stage.node)?;
        before.says(&doubts).await?;
        before.remove()?;
    }
    stage.bundle("everyone", PRIVATE_AND_PUBLIC).await?;

    let annotated = ClientPod { annotations: &[(BUNDLE, "everyone")], ..plain }.start(stage.node)?;
    annotated.says(&trusts).await?;
    annotated.remove()?;

    stage.namespace(labelled.namespace, &[(BUNDLE, "everyone")]).await?;
    let labelled = labelled.start(stage.node)?;
    labelled.says(&trusts).await?;
    labelled.remove()?;

    let mounting = ClientPod { mount: Some(&Mount::pem("everyone")), ..plain }.start(stage.node)?;
    mounting.says(&trusts).await?;
    stage.end()
}

#[tokio::test]
async fn without_default_cas_programs_doubt_what_is_only_in_the_default_package() -> Result<()> {
    let stage = Stage::set().await?;
    stage.namespace("plain", &[]).await?;
    stage.bundle("private-only", PRIVATE_ONLY).await?;
    let asks = [&stage.private, &stage.public];
    let annotations = [(BUNDLE, "private-only")];
    let pod = ClientPod {
        namespace: "plain",
        name: "shop",
        programs: &PEM,
        asks: &asks,
        annotations: &annotations,
        mount: None,
    };
    let pod = pod.start(stage.node)?;
    pod.says(&[(&stage.private, Trusts), (&stage.public, Doubts)]).await?;
    stage.end()
}
