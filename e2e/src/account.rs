//! The `ServiceAccounts` that config/ ships, as whom the product's programs call the API server.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};

use crate::{
    ControlPlane,
    access::{Access, Caller},
    product::NAMESPACE,
};

/// A kubeconfig with a fresh token of a `ServiceAccount`.
pub(crate) async fn kubeconfig(control_plane: &ControlPlane, access: &Access, account: &str) -> Result<PathBuf> {
    access.kubeconfig(Caller::Token(&token(control_plane, account).await?))
}

/// A fresh token of a `ServiceAccount` of the product.
async fn token(control_plane: &ControlPlane, account: &str) -> Result<String> {
    let accounts = Api::<ServiceAccount>::namespaced(control_plane.client(), NAMESPACE);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(24 * 60 * 60), ..TokenRequestSpec::default() }),
        ..TokenRequest::default()
    };
    accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .with_context(|| format!("asking for a token of the ServiceAccount {account} (is the product installed?)"))?
        .status
        .and_then(|status| status.token)
        .context("the answer to a token request holds no token")
}

impl ControlPlane {
    /// A client that has the token of one of the product's `ServiceAccounts`, and with it what config/ grants.
    ///
    /// # Errors
    /// When the account is not installed.
    pub async fn account_client(&self, account: &str) -> Result<Client> {
        Ok(self.access.client(Caller::Token(&token(self, account).await?)))
    }
}
