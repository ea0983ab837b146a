//! The host's imports in a native build: thread-local, because tests run side by side.

use std::cell::RefCell;

use crate::config::Config;
use crate::log::Level;

thread_local! {
    static CONFIG: RefCell<Config> = RefCell::default();
    static SECRETS: RefCell<Config> = RefCell::default();
    static LOG: RefCell<Vec<(Level, String)>> = RefCell::default();
    static SERIES: RefCell<Vec<Recorded>> = RefCell::default();
}

/// What a handler recorded in one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The metric.
    pub metric: String,
    /// The values of its labels.
    pub labels: Vec<String>,
    /// What was recorded, in order.
    pub values: Vec<f64>,
}

pub(crate) fn secret(name: &str) -> Option<String> {
    SECRETS.with_borrow(|secrets| secrets.get(name).map(str::to_owned))
}

/// What [`secrets::get`](crate::secrets::get) finds on this thread from now on.
pub fn set_secrets(secrets: impl Into<Config>) {
    SECRETS.set(secrets.into());
}

/// Every metric is declared here.
pub(crate) fn series(metric: &str, labels: &[&str]) -> u32 {
    SERIES.with_borrow_mut(|all| {
        let same = |one: &Recorded| one.metric == metric && one.labels == labels;
        let place = all.iter().position(same).unwrap_or_else(|| {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            all.push(Recorded { metric: metric.to_owned(), labels, values: Vec::new() });
            all.len() - 1
        });
        u32::try_from(place).expect("a test has few series")
    })
}

pub(crate) fn record(series: u32, value: f64) {
    SERIES.with_borrow_mut(|all| all[series as usize].values.push(value));
}

/// What was recorded on this thread since the last call, by series; series stay.
pub fn take_metrics() -> Vec<Recorded> {
    SERIES.with_borrow_mut(|all| {
        let taken = all.clone();
        all.iter_mut().for_each(|one| one.values.clear());
        taken
    })
}

pub(crate) fn config(key: &str) -> Option<String> {
    CONFIG.with_borrow(|config| config.get(key).map(str::to_owned))
}

pub(crate) fn set_config(config: Config) {
    CONFIG.set(config);
}

pub(crate) fn log(level: Level, message: &str) {
    LOG.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
}

#[cfg(feature = "http")]
mod asked {
    use super::RefCell;
    use crate::http::{HttpError, Request, Response};

    type Server = Box<dyn FnMut(Request) -> Result<Response, HttpError>>;

    thread_local! {
        static SERVER: RefCell<Option<Server>> = RefCell::default();
    }

    /// What answers requests on this thread from now on.
    pub fn set_http(server: impl FnMut(Request) -> Result<Response, HttpError> + 'static) {
        SERVER.set(Some(Box::new(server)));
    }

    pub(crate) fn ask(request: Request) -> Result<Response, HttpError> {
        SERVER.with_borrow_mut(|server| match server {
            Some(server) => server(request),
            None => Err(HttpError::new("no server: see `testing::set_http`")),
        })
    }
}

#[cfg(feature = "http")]
pub(crate) use asked::ask;
#[cfg(feature = "http")]
pub use asked::set_http;

/// The lines that were logged on this thread since the last call.
pub fn take_log() -> Vec<(Level, String)> {
    LOG.take()
}
