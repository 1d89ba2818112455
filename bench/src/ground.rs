//! A stage with the product at work: one Bundle, its targets, and what a change of it costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rootcast_e2e::{Controller, Exit, Launch};

use crate::{
    process::{Processes, Used},
    requests::Requests,
    stage::Stage,
    subject::Subject,
};

/// The product under its shipped permissions, with everything in sync at first.
pub(crate) struct Ground<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) controller: Controller<'a>,
    pub(crate) subject: Subject<'a>,
    processes: Processes,
    launch: Launch<'a>,
}

/// What something cost, until all was quiet again; its time is up to the last effect.
pub(crate) struct Costs {
    pub(crate) used: Used,
    pub(crate) requests: Requests,
}

impl<'a> Ground<'a> {
    /// Installs the product, starts it with one Bundle of about `bytes` for all namespaces of the stage.
    pub(crate) async fn begin(stage: &'a Stage, name: &'static str, bytes: usize, launch: Launch<'a>) -> Result<Self> {
        stage.control_plane.install().await?;
        let controller = Controller::start_with(&stage.control_plane, launch).await?;
        let subject = Subject::begin(stage, name, bytes).await?;
        let processes = stage.processes.and(controller.pid());
        let ground = Self { stage, controller, subject, processes, launch };
        ground.subject.arrived().await?;
        ground.settle().await?;
        Ok(ground)
    }

    /// Waits until neither the API server nor the controller has anything to do.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.processes.quiet().await
    }

    /// CPU time of the controller since it started.
    pub(crate) fn cpu_since_start(&self) -> Result<Duration> {
        Ok(self.processes.usage()?.cpu.controller)
    }

    /// Does something that returns how long it took, and waits until all is quiet.
    pub(crate) async fn costs(&mut self, work: impl AsyncFnOnce(&mut Self) -> Result<Duration>) -> Result<Costs> {
        let mark = self.stage.control_plane.audit().mark().await?;
        let start = self.processes.usage()?;
        let time = work(self).await?;
        self.settle().await?;
        let used = Used { time, ..self.processes.since(&start)? };
        let requests = Requests::since(&self.stage.control_plane, mark).await?;
        Ok(Costs { used, requests })
    }

    /// Changes the source; the time until the last target has the new content.
    pub(crate) async fn rollout(&mut self) -> Result<Costs> {
        self.costs(async |ground| {
            let began = ground.subject.change().await?;
            Ok(ground.subject.arrived().await? - began)
        })
        .await
    }

    /// Ends the controller and starts it anew; how long it took to be ready.
    pub(crate) async fn restart(self) -> Result<(Self, Duration)> {
        let launch = self.launch;
        self.restart_as(launch).await
    }

    /// [`Ground::restart`] in another way.
    pub(crate) async fn restart_as(self, launch: Launch<'a>) -> Result<(Self, Duration)> {
        let Self { stage, controller, subject, processes: _, launch: _ } = self;
        let exit = controller.stop().await?;
        ensure!(exit == Exit::Code(0), "the controller ended with {exit:?}");
        let mut controller = Controller::launch_with(&stage.control_plane, launch).await?;
        let began = Instant::now();
        controller.wait_ready().await?;
        let ready = began.elapsed();
        let processes = stage.processes.and(controller.pid());
        Ok((Self { stage, controller, subject, processes, launch }, ready))
    }

    /// Ends the controller.
    pub(crate) async fn end(self) -> Result<()> {
        let exit = self.controller.stop().await?;
        ensure!(exit == Exit::Code(0), "the controller ended with {exit:?}");
        Ok(())
    }
}
