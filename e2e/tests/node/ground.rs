//! The node itself: what the other scenarios stand on.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use rootcast_e2e::{BUSYBOX, Node, eventually};

/// How long a pod may take to start or to go.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_pod_runs_is_reached_and_reaches_out() -> Result<()> {
    let node = Node::shared().await;
    let manifest = format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: ground}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: main, image: '{BUSYBOX}'}}]
"
    );
    node.kubectl_ok(&["apply", "-f", "-"], &manifest)?;
    running(&node.client(), "ground").await;
    let told = node.exec("default", "ground", "main", &["cat", "/etc/hostname"])?;
    ensure!(told.stdout == b"ground\n", "{told:?}");
    ensure!(node.exec("default", "ground", "main", &["sh", "-c", "exit 7"])?.status.code() == Some(7));

    let listener = TcpListener::bind((node.host_address(), 0))?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut asked = [0; 1024];
        let read = stream.read(&mut asked)?;
        ensure!(asked[..read].starts_with(b"GET /here"), "it asked otherwise");
        Ok(stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nreached")?)
    });
    let told = node.exec("default", "ground", "main", &["wget", "-q", "-O", "-", &format!("http://{address}/here")])?;
    ensure!(told.stdout == b"reached", "{told:?}");
    server.join().expect("the server does not panic")?;
    let api = "wget -O - http://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT";
    eventually("the Service of the API server leads there", SOON, async || {
        let told = node.exec("default", "ground", "main", &["sh", "-c", api])?;
        let refused = String::from_utf8_lossy(&told.stderr).contains("400 Bad Request");
        ensure!(refused, "it is to be asked by HTTPS, and says so: {told:?}");
        Ok(())
    })
    .await;

    node.kubectl_ok(&["delete", "pod", "ground"], "")?;
    Ok(())
}

/// Waits until a pod of the namespace `default` can be worked with.
async fn running(client: &Client, name: &str) {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    eventually("the pod is ready", SOON, async || {
        let status = pods.get(name).await?.status.unwrap_or_default();
        let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
        ensure!(ready, "{status:?}");
        Ok(())
    })
    .await;
}
