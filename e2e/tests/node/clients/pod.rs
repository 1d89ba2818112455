//! A pod of client programs, by a manifest as anybody would write it, and what its programs say.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use rootcast_e2e::{Node, TlsServer, eventually};
use serde_json::{Value, json};

use super::programs::Program;

/// How long a pod may take to start and to say something, on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// So many attempts are an answer.
const ENOUGH: usize = 3;

/// A pod with a container for each program, which asks these servers.
#[derive(Clone, Copy)]
pub(super) struct ClientPod<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) programs: &'a [Program],
    pub(super) asks: &'a [&'a TlsServer],
    pub(super) annotations: &'a [(&'a str, &'a str)],
    pub(super) mount: Option<&'a Mount>,
}

/// A Bundle's ConfigMap at /trust, and the variables that tell of it.
pub(super) struct Mount {
    config_map: &'static str,
    variables: Vec<(&'static str, String)>,
}

/// A pod that was created. It is to be [removed](Started::remove) by those who want its name again.
pub(super) struct Started {
    node: &'static Node,
    namespace: String,
    name: String,
    programs: Vec<Program>,
}

/// One connection, as a program tells of it.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) at: Timestamp,
    url: String,
    /// `ok`, or `failed` and why.
    outcome: String,
}

/// What a program makes of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Trusts,
    /// It does not know the CA: no other failure counts.
    Doubts,
    /// It fails for any reason, such as that it knows no CA at all.
    Fails,
}

impl Mount {
    /// The PEM, for programs of all kinds.
    pub(super) fn pem(config_map: &'static str) -> Self {
        let variables = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"];
        Self { config_map, variables: variables.map(|name| (name, "/trust/ca-bundle.crt".to_owned())).to_vec() }
    }

    /// A keystore, for Java.
    pub(super) fn keystore(config_map: &'static str, options: &str) -> Self {
        let options = format!("-Djavax.net.ssl.trustStore=/trust/truststore {options}");
        Self { config_map, variables: vec![("JAVA_TOOL_OPTIONS", options)] }
    }
}

impl ClientPod<'_> {
    pub(super) fn start(&self, node: &'static Node) -> Result<Started> {
        let &Self { namespace, name, programs, .. } = self;
        node.kubectl_ok(&["create", "-f", "-"], &self.manifest().to_string())?;
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Started { node, namespace, name, programs: programs.to_vec() })
    }

    fn manifest(&self) -> Value {
        let &Self { namespace, name, programs, asks, annotations, mount } = self;
        let urls: Vec<_> = asks.iter().map(|server| server.url()).collect();
        let annotations: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let variables = mount.iter().flat_map(|mount| &mount.variables);
        let env: Vec<_> = variables.map(|(name, value)| json!({"name": name, "value": value})).collect();
        let mounted: Vec<_> =
            mount.iter().map(|_| json!({"name": "trust", "mountPath": "/trust", "readOnly": true})).collect();
        let containers = programs.iter().map(|Program { name, command, .. }| {
            let command: Vec<_> = command.iter().copied().chain(urls.iter().map(String::as_str)).collect();
            json!({
                "name": name, "image": "localhost/clients:1", "command": command, "env": env, "volumeMounts": mounted,
            })
        });
        let volumes: Vec<_> =
            mount.iter().map(|mount| json!({"name": "trust", "configMap": {"name": mount.config_map}})).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "annotations": annotations},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": containers.collect::<Vec<_>>(),
                "volumes": volumes,
            },
        })
    }
}

impl Started {
    /// Waits until each program has said something of each server; all that it ever said has to be this.
    pub(super) async fn says(&self, verdicts: &[(&TlsServer, Verdict)]) -> Result<()> {
        self.says_since(Timestamp::MIN, verdicts).await
    }

    /// The same, of what was said since then.
    pub(super) async fn says_since(&self, since: Timestamp, verdicts: &[(&TlsServer, Verdict)]) -> Result<()> {
        for program in &self.programs {
            for (server, verdict) in verdicts {
                let url = server.url();
                let what = format!("{}/{}: {} asks {url}", self.namespace, self.name, program.name);
                let said = eventually(&what, SOON, async || {
                    let said = self.attempts(program, since, &url)?;
                    ensure!(said.len() >= ENOUGH, "it says {said:?}");
                    Ok(said)
                })
                .await;
                let odd: Vec<_> = said.iter().filter(|attempt| !attempt.is(*verdict, program)).collect();
                ensure!(odd.is_empty(), "{what}: it {verdict:?} it, but of {} times it says {odd:#?}", said.len());
            }
        }
        Ok(())
    }

    /// What a program has said of a server since then.
    pub(super) fn attempts(&self, program: &Program, since: Timestamp, url: &str) -> Result<Vec<Attempt>> {
        let attempts = self.log(program.name)?.into_iter().filter_map(|(at, line)| {
            let (url, outcome) = line.split_once(' ')?;
            Some(Attempt { at, url: url.to_owned(), outcome: outcome.to_owned() })
        });
        Ok(attempts.filter(|attempt| attempt.at >= since && attempt.url == url).collect())
    }

    /// A container's log, line by line.
    pub(super) fn log(&self, container: &str) -> Result<Vec<(Timestamp, String)>> {
        let Self { node, namespace, name, .. } = self;
        let arguments = ["logs", "--timestamps", "--namespace", namespace, name, "--container", container];
        let lines = node.kubectl_ok(&arguments, "")?;
        let lines = lines.lines().map(|line| {
            let (at, line) = line.split_once(' ').context("a line of a log begins with its time")?;
            Ok((at.parse()?, line.to_owned()))
        });
        lines.collect()
    }

    pub(super) fn remove(self) -> Result<()> {
        let Self { node, namespace, name, .. } = self;
        node.kubectl_ok(&["delete", "pod", "--namespace", &namespace, &name], "")?;
        Ok(())
    }
}

impl Attempt {
    pub(super) fn is(&self, verdict: Verdict, program: &Program) -> bool {
        match verdict {
            Verdict::Trusts => self.outcome == "ok",
            Verdict::Doubts => self.outcome.starts_with("failed") && self.outcome.contains(program.doubt),
            Verdict::Fails => self.outcome.starts_with("failed"),
        }
    }
}
