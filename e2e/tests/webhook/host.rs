//! Where the webhook listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use rootcast_e2e::{ControlPlane, Controller, TlsClient, eventually, scenario::SOON};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{HOST, Place};

const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[tokio::test]
async fn reviews_are_taken_over_ipv4_and_ipv6_unless_one_address_is_named() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    if TcpListener::bind((IPV6, 0)).await.is_err() {
        println!("this machine has no IPv6: only IPv4 is looked at");
    }
    let all = [IPV4, IPV6];
    for (flag, expected) in [
        (None, &all[..]),
        (Some("--webhook-host=0.0.0.0"), &all[..]),
        (Some("--webhook-host=::"), &all[..]),
        (Some("--webhook-host=127.0.0.1"), &all[..1]),
        (Some("--webhook-host=::1"), &all[1..]),
    ] {
        let mut place = Place::new(&control_plane)?;
        place.show()?;
        let folder = format!("--webhook-certificate-dir={}", place.volume.path().display());
        let port = format!("--webhook-port={}", place.port);
        let flags: Vec<_> = [folder.as_str(), &port].into_iter().chain(flag).collect();
        let controller = Controller::start(&control_plane, &flags).await?;
        let client = TlsClient::new(&place.certificate.authority, HOST)?;
        for address in all {
            if TcpListener::bind((address, 0)).await.is_err() {
                continue;
            }
            if expected.contains(&address) {
                eventually(&format!("{flag:?}: reviews are taken at {address}"), SOON, async || {
                    client.connect_to((address, place.port).into()).await.map(drop)
                })
                .await;
            }
        }
        for address in all.iter().filter(|address| !expected.contains(address)) {
            ensure!(TcpStream::connect((*address, place.port)).await.is_err(), "{flag:?}: it listens at {address}");
        }
        controller.stop().await?;
    }
    control_plane.finish().await
}
