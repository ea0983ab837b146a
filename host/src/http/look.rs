//! Routes that anybody may ask: metrics, health, status, what routes there are.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::routes::{Answering, Call};
use super::{Shared, StatusReport, VERSION, health};
use crate::telemetry::exposition;

pub(super) fn metrics(shared: Arc<Shared>, _: Call) -> Answering {
    Box::pin(async move {
        let page = exposition::text(&shared.registry, VERSION, shared.wasmtime);
        Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response())
    })
}

pub(super) fn alive(_: Arc<Shared>, _: Call) -> Answering {
    Box::pin(async { Ok("alive\n".into_response()) })
}

pub(super) fn ready(shared: Arc<Shared>, _: Call) -> Answering {
    Box::pin(async move {
        let reasons = health::not_ready(&shared.registry);
        if reasons.is_empty() {
            return Ok("ready\n".into_response());
        }
        let mut page = String::from("not ready\n");
        for reason in reasons {
            page.push_str(&reason);
            page.push('\n');
        }
        Ok((StatusCode::SERVICE_UNAVAILABLE, page).into_response())
    })
}

pub(super) fn status(shared: Arc<Shared>, _: Call) -> Answering {
    Box::pin(
        async move { Ok(axum::Json(StatusReport::of(&shared.registry, shared.wasmtime)).into_response()) },
    )
}

pub(super) fn openapi(shared: Arc<Shared>, _: Call) -> Answering {
    Box::pin(async move { Ok(axum::Json(super::openapi::document(shared.admin.is_some())).into_response()) })
}
