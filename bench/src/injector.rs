//! The injector on one core, asked from another; cainjector beside it, where the environment says which program that is.

use std::{
    env,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{self, Command},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rootcast_e2e::{
    Balancer, ControlPlane, Injector, Launch, TlsClient, Volume, eventually,
    scenario::{self, TRUST_NAMESPACE},
};
use serde_json::json;

use crate::{
    ROUNDS,
    numbers::{mebibytes, median_by},
    process::{cpu_time, rss},
    report::{Report, Row},
    reviews::{Asker, review},
    stage::Stage,
};

/// Names cainjector's program.
const PEER: &str = "CAINJECTOR";

/// Reviews a second, and how many times the peer's.
const RATE_GOAL: f64 = 5_000.0;
const RATIO_GOAL: f64 = 3.0;
const LATENCY_GOAL: Duration = Duration::from_millis(1);

/// In MiB.
const RSS_GOAL: f64 = 14.0;

pub(crate) const CONNECTIONS: usize = 16;

/// The Bundle that the pod names.
pub(crate) const BUNDLE: &str = "corporate";

/// What both do by cainjector's rules.
const CONFIG: &str = "configMap: example-bundle\nmountPath: /cacerts\ncertFile: ca.crt\n";

/// One way to be asked.
struct Subject<'a> {
    pid: u32,
    asker: Asker<'a>,
    results: Vec<Results>,
}

/// One round.
#[derive(Clone, Copy)]
struct Results {
    rate: f64,
    /// CPU time of one review.
    cost: Duration,
    median: Duration,
    /// The 99th percentile.
    late: Duration,
    rss: f64,
}

/// What injectors need: they are installed, with a certificate and cainjector's file.
pub(crate) struct Place {
    pub(crate) balancer: Balancer,
    pub(crate) tls: TlsClient,
    flags: [String; 2],
}

impl Place {
    pub(crate) async fn prepare(control_plane: &ControlPlane) -> Result<Self> {
        control_plane.install().await?;
        let spec = json!({
            "sources": [{"inLine": scenario::certificate("ec")}],
            "target": {"configMap": {"key": "ca-bundle.crt"}},
        });
        scenario::apply(&control_plane.client(), &scenario::bundle(BUNDLE, &spec.to_string())).await?;
        let balancer = Balancer::start()?;
        control_plane.install_injector(&balancer, &[])?;
        let host = format!("rootcast-injector.{TRUST_NAMESPACE}.svc");
        let certificate = control_plane.serving_certificate(&host)?;
        let (mut certs, mut config) = (Volume::new(control_plane)?, Volume::new(control_plane)?);
        certs.show(&[("tls.crt", &certificate.certificate), ("tls.key", &certificate.key)])?;
        config.show(&[("config.yaml", CONFIG)])?;
        let flags =
            [format!("--cert-dir={}", certs.path().display()), format!("--config={}", config.file("config.yaml"))];
        Ok(Self { balancer, tls: TlsClient::new(&certificate.authority, &host)?, flags })
    }

    /// Starts an injector in some way, with these files.
    pub(crate) async fn start_with<'a>(
        &self,
        control_plane: &'a ControlPlane,
        launch: Launch<'_>,
    ) -> Result<Injector<'a>> {
        let args = self.flags.each_ref().map(String::as_str);
        let launch = Launch { args: &args, ..launch };
        Injector::start_with(control_plane, &self.balancer, launch).await
    }

    /// Somebody who asks for the review of a pod that names the Bundle.
    pub(crate) fn asker(&self, port: u16, path: &'static str) -> Asker<'_> {
        Asker { tls: &self.tls, port, path, review: review(BUNDLE) }
    }
}

/// Measures throughput, latency and memory.
pub(crate) async fn injector(stage: &Stage, report: &mut Report) -> Result<()> {
    let control_plane = &stage.control_plane;
    let place = Place::prepare(control_plane).await?;
    let ours = place.start_with(control_plane, Launch::default()).await?;
    let peer = env::var_os(PEER).map(|program| Peer::start(Path::new(&program), &place.flags)).transpose()?;
    // What goes on in a cluster is no part of this.
    control_plane.freeze();
    control_plane.freeze_etcd();
    // Away from the cores of those who are asked.
    pin(process::id(), 1)?;

    let subject = |pid, port, path| {
        pin(pid, 0)?;
        Ok::<_, anyhow::Error>(Subject { pid, asker: place.asker(port, path), results: Vec::new() })
    };
    let mut subjects = vec![subject(ours.pid(), ours.port(), "/inject")?, subject(ours.pid(), ours.port(), "/mutate")?];
    if let Some(peer) = &peer {
        subjects.push(subject(peer.process.id(), peer.port, "/mutate")?);
    }
    for Subject { asker, .. } in &subjects {
        eventually("pods are injected", Duration::from_secs(10), || asker.check()).await;
    }
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            subject.round().await?;
        }
    }
    let [by_bundle, by_rules, peer @ ..] = &subjects[..] else { anyhow::bail!("there are two ways at least") };
    tell(&by_bundle.middle(), &by_rules.middle(), peer.first().map(Subject::middle).as_ref(), report);
    Ok(())
}

fn tell(by_bundle: &Results, by_rules: &Results, peer: Option<&Results>, report: &mut Report) {
    let beside = |words: &dyn Fn(&Results) -> String| {
        peer.map_or_else(
            || format!("{PEER} names no program to compare with"),
            |peer| format!("cainjector {}", words(peer)),
        )
    };
    let micros = |results: &Results| format!("{:.0} µs", 1e6 * results.cost.as_secs_f64());
    let ratio = peer.map(|peer| by_rules.rate / peer.rate);
    let times = ratio.map_or_else(String::new, |ratio| format!(" = {ratio:.1} x"));
    report.add(Row {
        measure: "reviews over 16 TLS connections on one core, 4 KB pod with three containers",
        goal: "at least 5,000/s, and 3 x cainjector by its rules",
        measured: format!(
            "{:.0}/s; by cainjector's rules {:.0}/s{times}; {}",
            by_bundle.rate,
            by_rules.rate,
            beside(&|peer| format!("{:.0}/s", peer.rate))
        ),
        met: by_bundle.rate.min(by_rules.rate) >= RATE_GOAL && ratio.is_none_or(|ratio| ratio >= RATIO_GOAL),
        cost: format!("{} per review, {} by rules; {}", micros(by_bundle), micros(by_rules), beside(&micros)),
        requests: "none".to_owned(),
    });
    let latency = |results: &Results| {
        let [median, late] = [results.median, results.late].map(|time| 1e3 * time.as_secs_f64());
        format!("{median:.3} / {late:.3} ms")
    };
    report.add(Row {
        measure: "a review over one TLS connection, median / 99th percentile",
        goal: "99th percentile under 1 ms",
        measured: format!("{}; {}", latency(by_bundle), beside(&latency)),
        met: by_bundle.late < LATENCY_GOAL,
        cost: "-".to_owned(),
        requests: "none".to_owned(),
    });
    let rss = |results: &Results| format!("{:.1} MiB", results.rss);
    report.add(Row {
        measure: "RSS of the injector after that",
        goal: "under 14 MiB",
        measured: format!("{}; {}", rss(by_rules), beside(&rss)),
        met: by_rules.rss < RSS_GOAL,
        cost: "-".to_owned(),
        requests: "none".to_owned(),
    });
}

impl Subject<'_> {
    async fn round(&mut self) -> Result<()> {
        let before = cpu_time(self.pid)?;
        let began = std::time::Instant::now();
        let rate = self.asker.rate(CONNECTIONS).await?;
        let count = rate * began.elapsed().as_secs_f64();
        let cost = cpu_time(self.pid)?.saturating_sub(before).div_f64(count);
        let latencies = self.asker.latencies().await?;
        ensure!(!latencies.is_empty(), "no review was answered");
        let results = Results {
            rate,
            cost,
            median: latencies[latencies.len() / 2],
            late: latencies[latencies.len() * 99 / 100],
            rss: mebibytes(rss(self.pid)?),
        };
        eprintln!("{}: {rate:.0}/s over {CONNECTIONS}, {} one after the other", self.asker.path, latencies.len());
        self.results.push(results);
        Ok(())
    }

    /// Each measure's median over the rounds; of memory the most.
    fn middle(&self) -> Results {
        let results = |key: fn(&Results) -> Duration| median_by(self.results.clone(), key);
        let by_rate = median_by(self.results.clone(), |results| Duration::from_secs_f64(results.rate));
        Results {
            median: results(|results| results.median).median,
            late: results(|results| results.late).late,
            rss: self.results.iter().map(|results| results.rss).fold(0.0, f64::max),
            ..by_rate
        }
    }
}

/// cainjector, until this is dropped.
struct Peer {
    process: process::Child,
    port: u16,
}

impl Peer {
    fn start(program: &Path, flags: &[String]) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args(flags).arg(format!("--port={port}")).env("LOG_LEVEL", "error").stdout(process::Stdio::null());
        let process = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { process, port })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Keeps all threads of a process on one core.
pub(crate) fn pin(pid: u32, core: u32) -> Result<()> {
    let [core, pid] = [core, pid].map(|number| number.to_string());
    let output = Command::new("taskset").args(["-a", "-p", "-c", &core, &pid]).output().context("running taskset")?;
    ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
