//! The API server: its flags, and when it is ready.

use std::{fs, net::Ipv4Addr, process::Command, sync::Mutex};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use crate::{
    access::{Access, Caller},
    audit,
    control_plane::{Options, PATIENCE, free_port},
    eventually::until,
    pki::Pki,
    processes::{flag, lock},
    programs::Program,
    scratch::Scratch,
    supervised::Supervised,
    tunnel::SERVER_NAME,
};

/// How often a start is tried when another process takes the free port that was
/// found, before the program can.
const PORT_TRIES: usize = 5;

/// Where etcd listens.
pub(crate) fn socket(scratch: &Scratch, name: &str) -> String {
    format!("unix://{}", scratch.data().join(format!("{name}.sock")).display())
}

/// Starts the API server on a free port and waits until it is ready.
pub(crate) async fn start_api_server(
    options: &Options,
    scratch: &Scratch,
    pki: &Pki,
    etcd: &Mutex<Supervised>,
) -> Result<(Mutex<Supervised>, Command, Access)> {
    let log = scratch.logs().join("kube-apiserver.log");
    let policy = scratch.keys().join("audit-policy.yaml");
    fs::write(&policy, audit::POLICY).context("writing the audit policy")?;
    let server = pki.server("kube-apiserver", &["localhost", SERVER_NAME])?;
    let tokens = pki.token_keys()?;
    for _ in 0..PORT_TRIES {
        let access = Access::administrator((Ipv4Addr::LOCALHOST, free_port()?).into(), pki, scratch)?;
        let mut command = Command::new(Program::ApiServer.path()?);
        command
            .current_dir(scratch.data())
            .arg(format!("--etcd-servers={}", socket(scratch, "client")))
            .arg("--bind-address=127.0.0.1")
            .arg("--advertise-address=127.0.0.1")
            .arg(format!("--secure-port={}", access.server.port()))
            .arg(flag("--tls-cert-file", &server.certificate))
            .arg(flag("--tls-private-key-file", &server.key))
            .arg(flag("--client-ca-file", &access.authority_file))
            .arg("--authorization-mode=RBAC")
            .arg("--enable-admission-plugins=OwnerReferencesPermissionEnforcement")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(flag("--service-account-key-file", &tokens.certificate))
            .arg(flag("--service-account-signing-key-file", &tokens.key))
            .arg("--service-cluster-ip-range=10.0.0.0/24")
            .arg("--endpoint-reconciler-type=none")
            .arg(flag("--audit-policy-file", &policy))
            .arg(flag("--audit-log-path", &audit::file(scratch)))
            .args(&options.api_server_flags);
        let program = Mutex::new(Supervised::start(&command, &log)?);
        match ready(&access, || both_run(etcd, &program)).await {
            Ok(()) => return Ok((program, command, access)),
            Err(error) if !lost_port(&mut lock(&program))? => return Err(error),
            Err(_) => {}
        }
    }
    bail!("kube-apiserver lost its port {PORT_TRIES} times to other processes")
}

/// Waits until the server answers, its own roles exist and so does the
/// namespace that events of cluster-wide objects go to.
///
/// # Errors
/// When `alive` fails, which is asked again and again, or after [`PATIENCE`].
pub(crate) async fn ready(access: &Access, alive: impl FnMut() -> Result<()>) -> Result<()> {
    let client = access.client(Caller::Admin);
    let namespaces = Api::<Namespace>::all(client.clone());
    until("kube-apiserver is ready", PATIENCE, alive, async || {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        client.request_text(request).await?;
        namespaces.get("default").await?;
        Ok(())
    })
    .await
}

/// Fails, with its log, when one of the two has ended.
pub(crate) fn both_run(etcd: &Mutex<Supervised>, api_server: &Mutex<Supervised>) -> Result<()> {
    lock(etcd).still_runs("etcd")?;
    lock(api_server).still_runs("kube-apiserver")
}

/// Whether a program ended because its port was taken.
pub(crate) fn lost_port(program: &mut Supervised) -> Result<bool> {
    let ended = program.exit()?.is_some();
    let log = fs::read_to_string(program.log()).context("reading a program's log")?;
    Ok(ended && log.to_lowercase().contains("address already in use"))
}
