//! A registry of modules: Debian's `docker-registry`, unpacked and never installed, since its package adds a user and
//! starts a service.
//!
//! It keeps its modules in a folder that goes away, and picks a free port itself. And how a test asks registries without
//! a host: in its own process.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use oci_client::Client;
use oci_client::client::{
    Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer,
};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use sandmill::deploy::registry::{Login, PullError, Pulled, Request, SIGNATURE, pull};
use tempfile::TempDir;
use tokio_rustls::rustls;

use crate::reaper::{Process, folder};

/// Whom a registry with a login knows.
pub const USER: &str = "sandmill";
/// And their password.
pub const PASSWORD: &str = "secret";
/// The same as the registry has it: bcrypt.
const HTPASSWD: &str = "sandmill:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// Names the program, instead of looking for it.
const PROGRAM: &str = "SANDMILL_REGISTRY_BIN";
/// What it is called, and its package.
const NAME: &str = "docker-registry";
/// Until it listens; it takes a few milliseconds.
const START: Duration = Duration::from_secs(20);
/// Bytes of a module, unless a test says otherwise.
const SIZE: u64 = 1 << 20;
/// For one module, unless a test says otherwise: far more than any takes.
const TIME: Duration = Duration::from_secs(30);

/// Asks for the module that the registry there calls so, as `team/orders:v1`; over TLS if there is somebody to trust.
///
/// # Panics
/// When nothing can be called so.
#[must_use]
pub fn request(authority: &str, ca: Option<&str>, module: &str) -> Request {
    Request {
        reference: format!("oci://{authority}/{module}").parse().expect("it is a reference"),
        plain_http: ca.is_none(),
        ca: ca.map(str::to_owned),
        login: None,
        size: SIZE,
        time: TIME,
    }
}

/// The same, asked by somebody.
#[must_use]
pub fn with_login(request: Request, user: &str, password: &str) -> Request {
    Request { login: Some(Login { user: user.to_owned(), password: password.to_owned() }), ..request }
}

/// What comes of it, in this process: without the limits of a child.
///
/// # Errors
/// Why there is no module.
///
/// # Panics
/// When the machine gives no event queue.
pub fn pulled(request: &Request) -> Result<Pulled, PullError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the machine gives an event queue").block_on(pull(request))
}

/// How to start one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Asks for [`USER`] and [`PASSWORD`].
    pub login: bool,
    /// Speaks TLS, under a certificate of its own.
    pub tls: bool,
}

/// A running registry on loopback; ends when it is dropped.
pub struct Registry {
    _process: Process,
    authority: String,
    ca: Option<String>,
    login: bool,
    _folder: TempDir,
}

impl Registry {
    /// Starts one that is empty.
    ///
    /// # Panics
    /// When there is no program, or it does not start.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let program = resolve().unwrap_or_else(|error| panic!("{error}"));
        let folder = folder("registry");
        let ca = options.tls.then(|| certificate(folder.path()));
        let config = folder.path().join("config.yml");
        let write =
            |path: &Path, text: &str| fs::write(path, text).expect("the run's folder can be written to");
        write(&config, &configuration(folder.path(), options));
        write(&folder.path().join("htpasswd"), HTPASSWD);
        let mut command = Command::new(&program);
        command.arg("serve").arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command)
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let stderr = process.child().stderr.take().expect("its errors are piped");
        let (found, ports) = mpsc::channel();
        // Reads to the end, so that it never waits to write more.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(port) = port(&line) {
                    // Nobody listens any more.
                    let _ = found.send(port);
                }
            }
        });
        let port: u16 = ports.recv_timeout(START).expect("the registry says where it listens");
        let authority = format!("127.0.0.1:{port}");
        Registry { _process: process, authority, ca, login: options.login, _folder: folder }
    }

    /// As `127.0.0.1:5000`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Asks it for a module, as `team/orders:v1`.
    #[must_use]
    pub fn request(&self, module: &str) -> Request {
        request(&self.authority, self.ca.as_deref(), module)
    }

    /// Pushes a module, with a signature in base64, and returns its manifest's digest, as `sha256:…`.
    ///
    /// # Panics
    /// When the registry does not take it.
    #[track_caller]
    pub fn push(&self, repository: &str, tag: &str, module: &[u8], signature: Option<&str>) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let pushing = Box::pin(self.push_async(repository, tag, module, signature));
        let pushed = runtime.expect("the machine gives an event queue").block_on(pushing);
        pushed.unwrap_or_else(|error| panic!("{repository}:{tag} is not taken: {error}"))
    }

    async fn push_async(
        &self,
        repository: &str,
        tag: &str,
        module: &[u8],
        signature: Option<&str>,
    ) -> Result<String, OciDistributionError> {
        // Whoever was first installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root =
            |pem: &String| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone().into_bytes() };
        let client = Client::try_from(ClientConfig {
            protocol: if self.ca.is_some() { ClientProtocol::Https } else { ClientProtocol::Http },
            extra_root_certificates: self.ca.iter().map(root).collect(),
            ..ClientConfig::default()
        })?;
        let auth = match self.login {
            true => RegistryAuth::Basic(USER.to_owned(), PASSWORD.to_owned()),
            false => RegistryAuth::Anonymous,
        };
        let (authority, repository) = (self.authority.clone(), repository.to_owned());
        let reference = oci_client::Reference::with_tag(authority, repository, tag.to_owned());
        let layers = [ImageLayer::new(module.to_vec(), "application/wasm".to_owned(), None)];
        let about = br#"{"architecture":"wasm","os":"wasip1","layerDigests":[]}"#;
        let config = Config::new(about.to_vec(), "application/vnd.wasm.config.v0+json".to_owned(), None);
        let annotations = signature.map(|text| BTreeMap::from([(SIGNATURE.to_owned(), text.to_owned())]));
        let mut manifest = OciImageManifest::build(&layers, &config, annotations);
        manifest.media_type = Some(OCI_IMAGE_MEDIA_TYPE.to_owned());
        client.push(&reference, &layers, config, &auth, Some(manifest)).await?;
        client.fetch_manifest_digest(&reference, &auth).await
    }
}

/// The port in the line that says where it listens, as `"msg":"listening on 127.0.0.1:33453, tls"`.
fn port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

fn configuration(folder: &Path, options: Options) -> String {
    let folder = folder.display();
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n");
    let tls = format!("  tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}\n");
    format!(
        "version: 0.1\n\
         log: {{level: info, formatter: json, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n\
         {}http:\n  addr: 127.0.0.1:0\n  secret: test\n{}",
        if options.login { &auth } else { "" },
        if options.tls { &tls } else { "" },
    )
}

/// Makes a key and a certificate for loopback, and returns the certificate.
fn certificate(folder: &Path) -> String {
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("it is signed");
    for (name, pem) in [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
        fs::write(folder.join(name), pem).expect("the run's folder can be written to");
    }
    made.cert.pem()
}

/// Where its program is: as the environment names it, on the path, in the cache, or downloaded into that.
fn resolve() -> Result<PathBuf, String> {
    /// One test downloads, the others find it.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    if let Some(named) = env::var_os(PROGRAM).map(PathBuf::from) {
        return if named.is_file() {
            Ok(named)
        } else {
            Err(format!("{PROGRAM} names no file: {}", named.display()))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = env::split_paths(&path).map(|folder| folder.join(NAME)).find(|file| file.is_file()) {
        return Ok(found);
    }
    let folder = cache()?.join(NAME);
    let program = folder.join("usr/bin").join(NAME);
    if !program.is_file() {
        download(&folder).map_err(|error| {
            format!("there is no registry to test with ({error}); set {PROGRAM}, or put `{NAME}` on the path")
        })?;
    }
    if program.is_file() {
        Ok(program)
    } else {
        Err(format!("the package {NAME} has no {}", program.display()))
    }
}

/// Where programs are kept for tests.
fn cache() -> Result<PathBuf, String> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    Ok(base.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("sandmill"))
}

/// Unpacks Debian's package into `folder`, all at once: another process may do the same.
fn download(folder: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let parent = folder.parent().ok_or("the cache has no folder")?;
    fs::create_dir_all(parent).map_err(text)?;
    // Beside it, as it is renamed.
    let made = TempDir::new_in(parent).map_err(text)?;
    run(Command::new("apt-get").args(["download", NAME]).current_dir(made.path()))?;
    let mut files = fs::read_dir(made.path()).map_err(text)?.filter_map(Result::ok);
    let package = files.next().ok_or("apt-get downloaded nothing")?.path();
    let unpacked = made.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("-x").args([&package, &unpacked]))?;
    match fs::rename(&unpacked, folder) {
        // Somebody was faster.
        Err(_) if folder.is_dir() => Ok(()),
        renamed => renamed.map_err(text),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let what = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{what}: {}", words.trim())) }
}
