//! As whom a request comes.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, header::AUTHORIZATION};
use serde_json::Value;

/// The user that is impersonated, or whose token it is; empty for the administrator.
pub(super) fn of(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name)?.to_str().ok();
    let token = || text(AUTHORIZATION.as_str())?.strip_prefix("Bearer ").and_then(subject);
    text("Impersonate-User").map(str::to_owned).or_else(token).unwrap_or_default()
}

/// The subject of a JSON Web Token (RFC 7519), which `ServiceAccounts` have. Whether it is true is the API server's
/// to say.
fn subject(token: &str) -> Option<String> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(claims["sub"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_owner_and_an_impersonated_user_goes_before() {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"system:serviceaccount:a:b"}"#);
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers), "");
        headers.insert(AUTHORIZATION, format!("Bearer e30.{claims}.sig").parse().unwrap());
        assert_eq!(of(&headers), "system:serviceaccount:a:b");
        headers.insert("Impersonate-User", "ann".parse().unwrap());
        assert_eq!(of(&headers), "ann");
    }
}
