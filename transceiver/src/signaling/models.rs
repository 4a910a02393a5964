//! Whom there is to talk with.

use super::Signaling;
use super::failure::Failure;
use super::json::json;
use super::request::Admitted;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;

/// `GET /v1/models`
pub(super) async fn list(
    State(signaling): State<Arc<Signaling>>,
    admitted: Admitted,
) -> Result<Response, Failure> {
    admitted.may_open(&signaling)?;
    let models: Vec<Value> = signaling
        .calls
        .backends()
        .map(|(backend, is_default)| {
            serde_json::json!({
                "id": backend.name(),
                "object": "model",
                "owned_by": "ringway",
                "description": backend.description(),
                "default": is_default,
            })
        })
        .collect();
    Ok(json(&serde_json::json!({ "object": "list", "data": models })))
}

impl Signaling {
    /// Refuses a name that nobody here has.
    pub(super) fn check_model(&self, name: &str) -> Result<(), Failure> {
        if self.calls.backends().any(|(backend, _)| backend.name() == name) {
            return Ok(());
        }
        let known: Vec<_> = self.calls.backends().map(|(backend, _)| backend.name()).collect();
        let name = name.chars().take(64).collect();
        Err(crate::calls::OpenError::NoSuchBackend { asked: name, known: known.join(", ") }.into())
    }
}
