//! Writes that are refused for a while, and writes whose answers are lost.

use std::time::{Duration, Instant};

use anyhow::Result;
use rootcast_e2e::proxy::{Effect, Exchange, On, Turns};

use crate::{crowd::Crowd, stage::shared};

/// What the API server asks for, in seconds.
const RETRY_AFTER: u32 = 2;

/// The most requests that a controller may have under way.
const IN_FLIGHT: usize = 32;

#[tokio::test]
async fn in_a_storm_of_429_nothing_is_sent_while_retry_after_holds() -> Result<()> {
    let stage = shared().await;
    let crowd = Crowd::gather(&stage, "storm", 100).await?;
    let since = Instant::now();
    // As API priority and fairness does it: leases have a level of their own.
    let refuse = |on| stage.proxy.inject(on, Turns::Each, Effect::too_many_requests(RETRY_AFTER));
    let storm = refuse(On::target_writes());
    let others = refuse(On::writes().resource("bundles"));
    crowd.change(1).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let refused = storm.hits();
    drop((storm, others));
    crowd.comes_to_rest(&stage, 1).await?;

    let mut writes = stage.proxy.exchanges(&On::target_writes());
    writes.retain(|write| write.came >= since);
    let rounds = rounds(&writes);
    assert!(rounds.len() > 1, "it is tried again, once Retry-After is over: {rounds:?}");
    assert!(rounds.iter().all(|&late| late < IN_FLIGHT), "requests while Retry-After held, by round: {rounds:?}");
    assert!(refused <= rounds.len() * IN_FLIGHT, "{refused} requests refused in {} rounds", rounds.len());
    crowd.wrote_once_each(2, 0).await?;
    stage.is_in_order().await
}

/// For each time that requests were let go again: how many came after the first refusal, when it told them not to.
fn rounds(writes: &[Exchange]) -> Vec<usize> {
    let mut rounds = Vec::new();
    let mut closed: Option<(Instant, Instant)> = None;
    for write in writes {
        match closed {
            Some((from, until)) if (from..until).contains(&write.came) => {
                *rounds.last_mut().expect("a refusal began a round") += 1;
            }
            _ => closed = None,
        }
        if let Some((429, at)) = write.answer {
            let (from, _) = *closed.get_or_insert_with(|| {
                rounds.push(0);
                (at, at)
            });
            closed = Some((from, at + Duration::from_secs(RETRY_AFTER.into())));
        }
    }
    rounds
}

#[tokio::test]
async fn what_was_written_is_not_written_again_when_the_answer_was_lost() -> Result<()> {
    let stage = shared().await;
    let lost = stage.proxy.inject(On::target_writes(), Turns::Every(3), Effect::LoseAnswer);
    let crowd = Crowd::gather(&stage, "lost", 60).await?;
    crowd.change(1).await?;
    crowd.comes_to_rest(&stage, 1).await?;
    assert!(lost.hits() >= 40, "{} answers were lost", lost.hits());
    let hits = lost.hits();
    drop(lost);
    crowd.wrote_once_each(2, hits).await?;
    let mut granted = crowd.requests().await?;
    granted.retain(|request| request.code < 300);
    granted.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    let again = granted.chunk_by(|a, b| a.namespace == b.namespace).find(|writes| writes.len() > 2);
    assert_eq!(again, None, "written again");
    stage.is_in_order().await
}
