//! What a pipeline starts with: its handler's file, or what was deployed over it.

use std::path::{Path, PathBuf};

use crate::config;
use crate::deploy::history::{AtStart, Brought, FileSeen, History, Source};
use crate::deploy::{Journal, Stamp};
use crate::pipeline::StartError;
use crate::pipeline::load::{LoadedHandler, Loader};
use crate::pipeline::source::{HandlerSource, stamp};
use crate::time::unix_millis;
use crate::wasm::Digest;
use crate::worker::Code;

/// A handler to start with, and the versions that it belongs to.
#[derive(Debug)]
pub struct Opened {
    /// It.
    pub handler: LoadedHandler,
    /// The handler's file, and how it was when it was read.
    pub(super) file: Option<(PathBuf, Option<Stamp>)>,
    pub(super) history: History,
    pub(super) journal: Option<Journal>,
}

impl Loader {
    /// Loads what a pipeline starts with.
    ///
    /// # Errors
    /// As [`load`](Loader::load); if folders of the data directory cannot be used.
    pub fn open(
        &mut self,
        source: &HandlerSource,
        pipeline: &config::Pipeline,
    ) -> Result<Opened, StartError> {
        let HandlerSource::File(path) = source else { return self.open_built_in(source, pipeline) };
        let folder = self.data_dir().join("versions");
        let opened = Journal::open(&folder, &pipeline.name)
            .map_err(|reason| StartError::Folder { path: folder.clone(), reason })?;
        let (journal, mut history) = opened;
        if journal.is_none() {
            tracing::warn!(
                pipeline = pipeline.name,
                folder = %folder.display(),
                "another host keeps this pipeline's versions there: what is deployed to this one does not survive its \
                 restart; give it a `host.data_dir` of its own"
            );
        }
        let store = self.store()?;
        let seen = stamp(path);
        if let Some(handler) = self.deployed(path, pipeline, &history)? {
            return Ok(Opened { handler, file: Some((path.clone(), seen)), history, journal });
        }
        let handler = match self.load(source, pipeline) {
            Ok(handler) => handler,
            Err(error) => match self.before(&error, pipeline, &history) {
                Some(handler) => {
                    return Ok(Opened { handler, file: Some((path.clone(), None)), history, journal });
                }
                None => return Err(error),
            },
        };
        if let (Code::Module(module), Some(bytes)) = (&handler.code, &handler.module) {
            let digest = module.digest();
            let is_running = history
                .running()
                .is_some_and(|running| (running.digest, &running.handler) == (digest, &handler.name));
            let path = path.to_string_lossy().into_owned();
            let before = history.clone();
            history.saw_file(FileSeen { path: path.clone(), digest });
            if !is_running {
                let (handler, by) = (handler.name.clone(), "file".to_owned());
                let (source, from, unix_ms) = (Source::File, Some(path), unix_millis());
                history.run(Brought { digest, handler, source, from, by, unix_ms });
            }
            // Neither keeps the host from its work: a deploy will say so if it is still so then.
            let kept = store.put(&digest, bytes, handler.signature.as_deref());
            let written =
                journal.as_ref().filter(|_| history != before).map(|journal| journal.write(&history));
            if let Err(error) = kept.and(written.unwrap_or(Ok(()))) {
                tracing::warn!(pipeline = pipeline.name, %error, "the version that runs cannot be kept");
            }
        }
        let file = Some((path.clone(), handler.file));
        Ok(Opened { handler, file, history, journal })
    }

    /// What was deployed, if that is newer than the file, and is what it was.
    fn deployed(
        &mut self,
        path: &Path,
        pipeline: &config::Pipeline,
        history: &History,
    ) -> Result<Option<LoadedHandler>, StartError> {
        // A file that cannot be read has not changed.
        let digest = self.digest_of(path).or_else(|| history.file().map(|file| file.digest));
        let Some(digest) = digest else { return Ok(None) };
        let seen = FileSeen { path: path.to_string_lossy().into_owned(), digest };
        let AtStart::Version(number) = history.at_start(&seen) else { return Ok(None) };
        let Some(version) = history.version(number) else { return Ok(None) };
        let source = HandlerSource::Stored { name: version.handler.clone(), digest: version.digest };
        let name = &pipeline.name;
        match self.load(&source, pipeline) {
            Ok(handler) => {
                let (digest, by) = (version.digest.short(), &version.by);
                tracing::info!(
                    pipeline = name,
                    version = number,
                    digest,
                    by,
                    "a deployed version runs: the handler's file has not changed since"
                );
                Ok(Some(handler))
            }
            // It says something of the module, and will next time.
            Err(error @ (StartError::HandlerFile { .. } | StartError::Unsigned { .. })) => {
                let reason = error.to_string();
                tracing::error!(
                    pipeline = name,
                    version = number,
                    reason,
                    "the deployed version cannot run: the handler's file does"
                );
                Ok(None)
            }
            // A restart with what is missing may find it.
            Err(error) => Err(error),
        }
    }

    /// The version that ran before, where the file is new and cannot run.
    fn before(
        &mut self,
        error: &StartError,
        pipeline: &config::Pipeline,
        history: &History,
    ) -> Option<LoadedHandler> {
        let version = history.running()?;
        let source = HandlerSource::Stored { name: version.handler.clone(), digest: version.digest };
        let handler = self.load(&source, pipeline).ok()?;
        let (name, reason) = (&pipeline.name, error.to_string());
        tracing::error!(
            pipeline = name,
            version = version.version,
            reason,
            "the handler's file cannot run: the version that ran before does"
        );
        Some(handler)
    }

    fn open_built_in(
        &mut self,
        source: &HandlerSource,
        pipeline: &config::Pipeline,
    ) -> Result<Opened, StartError> {
        let handler = self.load(source, pipeline)?;
        let (store, mut history) = (self.store()?, History::default());
        if let (Code::Module(module), Some(bytes)) = (&handler.code, &handler.module) {
            let digest: Digest = module.digest();
            if let Err(error) = store.put(&digest, bytes, None) {
                tracing::warn!(pipeline = pipeline.name, %error, "the version that runs cannot be kept");
            }
            let (handler, by) = (handler.name.clone(), "sandmill".to_owned());
            let (source, from, unix_ms) = (Source::BuiltIn, None, unix_millis());
            history.run(Brought { digest, handler, source, from, by, unix_ms });
        }
        Ok(Opened { handler, file: None, history, journal: None })
    }
}
