//! All routes in one table: what serves them, who may ask, and what the OpenAPI document says of them cannot differ.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use schemars::{Schema, SchemaGenerator};

use super::Shared;
use super::problem::Problem;
use crate::config::Role;
use crate::deploy::story::{Asker, Story};
use crate::pipeline::VersionsReport;

/// What comes with a request, once it is known who asks and that he may.
pub(super) struct Call {
    /// The part of the path that the route leaves open.
    pub part: String,
    /// What stands after the question mark, decoded.
    pub query: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, unread.
    pub body: Body,
    /// Who asks; none: nobody said so.
    pub asker: Option<Asker>,
}

pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// What a route takes as a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// A module, or where it lies.
    Module,
    /// Records, one JSON object a line.
    Records,
}

/// What a route answers.
pub(super) enum Answers {
    Text,
    Json(fn(&mut SchemaGenerator) -> Schema),
}

/// A parameter after the question mark.
pub(super) struct Query {
    pub name: &'static str,
    /// Of JSON schema.
    pub kind: &'static str,
    /// Smallest and largest value.
    pub range: Option<(u32, u32)>,
    pub about: &'static str,
}

/// One route.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// The role that a token needs; none: no token.
    pub needs: Option<Role>,
    /// Nobody needs a token unless `http.reads` says so.
    pub is_read: bool,
    /// It is there although `http.admin` is off.
    pub always: bool,
    pub query: &'static [Query],
    pub takes: Takes,
    pub status: u16,
    pub answers: Answers,
    pub serve: fn(Arc<Shared>, Call) -> Answering,
}

impl Route {
    /// True if it changes something.
    pub fn is_change(&self) -> bool {
        self.method != Method::GET
    }

    fn open(path: &'static str, about: &'static str, serve: fn(Arc<Shared>, Call) -> Answering) -> Self {
        Route {
            method: Method::GET,
            path,
            about,
            needs: None,
            is_read: false,
            always: true,
            query: &[],
            takes: Takes::Nothing,
            status: 200,
            answers: Answers::Text,
            serve,
        }
    }

    fn admin(
        method: Method,
        path: &'static str,
        about: &'static str,
        needs: Role,
        serve: fn(Arc<Shared>, Call) -> Answering,
    ) -> Self {
        let answers = Answers::Json(of_any);
        Route { method, needs: Some(needs), always: false, answers, ..Route::open(path, about, serve) }
    }
}

fn of<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn of_any(_: &mut SchemaGenerator) -> Schema {
    Schema::from(true)
}

/// The table.
pub(super) fn all() -> Vec<Route> {
    use super::{admin, look};
    const TO: Query = Query {
        name: "to",
        kind: "integer",
        range: None,
        about: "the version that shall run; without it the candidate is taken back, or else the version before runs",
    };
    const DEPLOY: &[Query] = &[
        Query {
            name: "canary",
            kind: "integer",
            range: Some((1, 99)),
            about: "try it on so many of a hundred keys, 1 to 99, beside what runs",
        },
        Query {
            name: "shadow",
            kind: "boolean",
            range: None,
            about: "try it on copies of records, for nobody, and compare",
        },
        Query {
            name: "handler",
            kind: "string",
            range: None,
            about: "the handler's name; without it the one that runs",
        },
    ];
    const LINES: &[Query] =
        &[Query { name: "lines", kind: "integer", range: None, about: "how many, 100 without it" }];
    vec![
        Route::open("/metrics", "Metrics in the text format of Prometheus", look::metrics),
        Route::open("/healthz", "Whether the process answers", look::alive),
        Route::open(
            "/readyz",
            "Whether all pipelines do their work, with the reasons if not (503)",
            look::ready,
        ),
        Route {
            answers: Answers::Json(of_any),
            ..Route::open("/api/v1/status", "What runs, how far it is, what blocks it", look::status)
        },
        Route {
            answers: Answers::Json(of_any),
            ..Route::open("/api/v1/openapi.json", "This document", look::openapi)
        },
        Route {
            is_read: true,
            answers: Answers::Json(of::<VersionsReport>),
            ..Route::admin(
                Method::GET,
                "/api/v1/pipelines/{name}/versions",
                "The versions of a pipeline, which of them runs and why. Samples of a shadow's differences are shown to \
                 tokens that may deploy",
                Role::Read,
                admin::versions,
            )
        },
        Route {
            is_read: true,
            answers: Answers::Json(of::<Story>),
            ..Route::admin(
                Method::GET,
                "/api/v1/deploys/{id}",
                "What became of a deploy, step by step",
                Role::Read,
                admin::story,
            )
        },
        Route {
            query: DEPLOY,
            takes: Takes::Module,
            status: 202,
            answers: Answers::Json(of::<Story>),
            ..Route::admin(
                Method::POST,
                "/api/v1/pipelines/{name}/deploy",
                "Deploys a module: it is compiled, checked and tried, and takes the place of what runs; what fails leaves \
                 that in its place",
                Role::Deploy,
                admin::deploy,
            )
        },
        Route {
            query: &[TO],
            status: 202,
            answers: Answers::Json(of::<Story>),
            ..Route::admin(
                Method::POST,
                "/api/v1/pipelines/{name}/rollback",
                "Takes back the candidate, or else what runs",
                Role::Deploy,
                admin::rollback,
            )
        },
        Route {
            status: 202,
            answers: Answers::Json(of::<Story>),
            ..Route::admin(
                Method::POST,
                "/api/v1/pipelines/{name}/promote",
                "The candidate runs from now on",
                Role::Deploy,
                admin::promote,
            )
        },
        Route {
            takes: Takes::Records,
            ..Route::admin(
                Method::PUT,
                "/api/v1/pipelines/{name}/sample",
                "Gives the records on which modules are tried before they run; an empty body: those that flow",
                Role::Deploy,
                admin::sample,
            )
        },
        Route {
            query: LINES,
            ..Route::admin(
                Method::GET,
                "/api/v1/audit",
                "Who asked for what, and what came of it: the newest lines of the audit log",
                Role::Admin,
                admin::audit,
            )
        },
    ]
}
