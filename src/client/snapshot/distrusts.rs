//! The reads of Distrusts.

use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;

use crate::api::Distrust;
use crate::bundle::{Denials, DeniedCertificates};

use super::{SnapshotReadError, SnapshotReader, name};
use crate::client::objects::parse;

impl SnapshotReader<'_> {
    /// Reads all that is distrusted: nothing where the cluster does not have the kind. What cannot be parsed of a
    /// Distrust does not count; its status says so.
    ///
    /// # Errors
    /// When the Distrusts cannot be listed.
    pub async fn denials(&self) -> Result<Denials, SnapshotReadError> {
        let distrusts = Api::all_with(self.client.clone(), &ApiResource::erase::<Distrust>(&()));
        let mut denials = Denials::default();
        let listed: Vec<DynamicObject> =
            match self.list("distrusts.rootcast.dev", &distrusts, ListParams::default()).await {
                Err(SnapshotReadError { absent: true, .. }) => return Ok(denials),
                listed => listed?,
            };
        for object in listed {
            let name = name(&object.metadata).to_owned();
            if let Ok(Distrust { spec, .. }) = parse(object) {
                denials.insert(&name, DeniedCertificates::parse(&spec).0);
            }
        }
        Ok(denials)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::fixture::anchor;
    use crate::client::fixture::server;

    #[tokio::test]
    async fn distrusts_are_read_and_a_cluster_without_them_denies_nothing() {
        let digest = anchor("rsa").fingerprint();
        let object = |name: &str, certificates: serde_json::Value| {
            json!({
                "apiVersion": "rootcast.dev/v1alpha1", "kind": "Distrust", "metadata": { "name": name },
                "spec": { "certificates": certificates },
            })
        };
        let items = json!([object("one", json!([{ "sha256": digest.to_string() }])), object("odd", json!("none"))]);
        let list = json!({
            "apiVersion": "rootcast.dev/v1alpha1", "kind": "DistrustList", "metadata": {}, "items": items,
        });
        for (answer, names) in [((200, list), vec!["one"]), ((404, json!("404 page not found")), vec![])] {
            let (connection, _) = server(vec![answer]).await;
            let denials = SnapshotReader::new(&connection, &|_, _| {}).denials().await.expect("Distrusts");
            assert_eq!(denials.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), names);
        }
    }
}
