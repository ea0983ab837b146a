//! Why a request is not served.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::pipeline::NotAsked;

/// Why a request is not served: a status, and a sentence that says what to do.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    text: String,
    retry_after: Option<Duration>,
}

impl Problem {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Problem { status, text: text.into(), retry_after: None }
    }

    pub fn bad(text: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, text)
    }

    /// The host's own fault.
    pub fn ours() -> Self {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the host failed; please report this")
    }

    pub fn later(status: StatusCode, text: impl Into<String>, after: Duration) -> Self {
        Problem { retry_after: Some(after), ..Problem::new(status, text) }
    }
}

impl From<NotAsked> for Problem {
    fn from(reason: NotAsked) -> Self {
        let text = reason.to_string();
        match reason {
            NotAsked::Unknown { .. } => Problem::new(StatusCode::NOT_FOUND, text),
            NotAsked::NotWritten(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text),
            NotAsked::Cannot(_) => Problem::new(StatusCode::CONFLICT, text),
            NotAsked::Busy | NotAsked::Stopping => {
                Problem::later(StatusCode::SERVICE_UNAVAILABLE, text, Duration::from_secs(1))
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({ "error": self.text }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
