//! A large Bundle in a crowd of namespaces.

use std::{env, time::Instant};

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{ControlPlane, Controller};
use serde_json::json;

use crate::{
    rotating::{Ca, Rotating, pem},
    stage::SETTLES,
};

/// How many namespaces there are; `make nightly` has more by this variable.
const SOME: usize = 100;
const MORE: &str = "ROTATING_NAMESPACES";

/// What each target holds, in bytes, at least.
const BYTES: usize = 220_000;

#[tokio::test]
async fn a_ca_that_is_added_to_many_large_targets_costs_one_write_of_the_ledger_before_and_one_after() -> Result<()> {
    let namespaces = match env::var(MORE) {
        Ok(namespaces) => namespaces.parse().with_context(|| format!("{MORE} is a number"))?,
        Err(_) => SOME,
    };
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let controller = Controller::start(&control_plane, &[SETTLES]).await?;
    let (first, added) = (Ca::new("first")?, Ca::new("added")?);
    let others: Vec<_> = (0..BYTES / first.pem().len()).map(|_| Ca::new("other")).collect::<Result<_>>()?;
    let before: Vec<_> = others.iter().chain([&first]).collect();
    ensure!(pem(&before).len() >= BYTES, "{} bytes", pem(&before).len());
    let crowd = Rotating::prepare(&control_plane, "crowd", namespaces, &before).await?;
    crowd.annotate(&json!({"rootcast.dev/retain": "1h"})).await?;
    crowd.is_settled(&[&first]).await;

    let (mark, began) = (control_plane.audit().mark().await?, Instant::now());
    crowd.publish(&before.into_iter().chain([&added]).collect::<Vec<_>>()).await?;
    crowd.is_settled(&[&added]).await;
    println!("added in {namespaces} namespaces and settled within {:.1?}", began.elapsed());
    let targets = format!("all {namespaces} targets");
    crowd.says("Settled", "True", "Settled", &[&targets]).await;
    assert_eq!(crowd.steps(mark).await?, ["ledger", &*namespaces.to_string(), "ledger"]);
    controller.stop().await?;
    control_plane.finish().await
}
