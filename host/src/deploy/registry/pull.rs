//! Pulls one module, in the child process.
//!
//! What the client of registries leaves open is closed here: it reads a layer without bound, so the layer is streamed and
//! counted; it takes what the registry says for the manifest's digest, so that is computed; it knows no time, so all of
//! it has one; it would go from HTTPS to HTTP if told to, with the login, so there it finds no way. What it holds in
//! memory of manifests, tokens and errors it does not bound, and nobody can from outside: the process's limit does.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use super::error::{Kind, PullError, Trouble, explain, explain_body, mebibytes};
use super::manifest::{self, IMAGE, LISTS, Layer};
use super::reference::{Reference, show_digest};
use crate::wasm::Digest;

/// How every module begins.
const MAGIC: &[u8] = b"\0asm";
/// For one connection, so that an address that swallows packets does not take all of the time.
const CONNECT: Duration = Duration::from_secs(10);
/// All hosts, as lists of whom to ask without a proxy have it: names, then addresses.
const EVERYBODY: &str = "*,0.0.0.0/0,::/0";
/// Nobody can listen there.
pub(super) const NOWHERE: &str = "127.0.0.1:0";

/// What to pull, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which module.
    pub reference: Reference,
    /// The registry is asked without TLS.
    pub plain_http: bool,
    /// Who else may sign the registry's certificate, as PEM; what the machine trusts is trusted besides.
    pub ca: Option<String>,
    /// Who asks.
    pub login: Option<Login>,
    /// Bytes of the module, at most.
    pub size: u64,
    /// By the clock, for all of it.
    pub time: Duration,
}

/// A name and what proves it. Shown without that.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password, or a token in its place.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A module, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Of the manifest: what a tag meant, and what to write in its place.
    pub manifest_digest: Digest,
    /// Its bytes are those that the manifest names.
    pub module: Vec<u8>,
    /// The text of a minisign signature in base64, from the manifest's annotation [`SIGNATURE`](super::SIGNATURE).
    pub signature: Option<String>,
}

impl fmt::Debug for Pulled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulled")
            .field("manifest_digest", &self.manifest_digest)
            .field("module", &self.module.len())
            .field("signature", &self.signature)
            .finish()
    }
}

/// Pulls a module. Needs a runtime with network and time; uses the memory of the module and of whatever else the
/// registry says, which only the process bounds.
///
/// # Errors
/// Why there is none.
pub async fn pull(request: &Request) -> Result<Pulled, PullError> {
    // The client panics at some answers, such as a token that cannot stand in a header.
    let fetching = AssertUnwindSafe(Box::pin(fetch(request))).catch_unwind();
    match tokio::time::timeout(request.time, fetching).await {
        Ok(Ok(pulled)) => pulled,
        Ok(Err(_)) => Err((Kind::Broken, "the registry's answer makes no sense to its client".to_owned())),
        Err(_) => Err((
            Kind::Time,
            format!("it is not here after {:?}; the registry is slow, or holds its clients up", request.time),
        )),
    }
    .map_err(|trouble| PullError::new(request, trouble))
}

async fn fetch(request: &Request) -> Result<Pulled, Trouble> {
    let explain = |error| explain(error, request);
    let client = client(request)?;
    let (reference, auth) = (asked(&request.reference), auth(request));
    // The client would ask for a token by itself, and keep silent about why it got none.
    client.auth(&reference, &auth, RegistryOperation::Pull).await.map_err(explain)?;
    let accepted = [IMAGE, LISTS[0], LISTS[1]];
    let (manifest, _) = client.pull_manifest_raw(&reference, &auth, &accepted).await.map_err(explain)?;
    let manifest_digest = manifest::check(&manifest, request.reference.digest())?;
    let (layer, signature) = manifest::read(&manifest, request.size)?;
    let module = blob(&client, &reference, &layer, request).await?;
    if !module.starts_with(MAGIC) {
        return Err((
            Kind::NotWasm,
            "its layer says that it is a module, and does not begin like one".to_owned(),
        ));
    }
    Ok(Pulled { manifest_digest, module, signature })
}

/// A layer's bytes, which are as many as its descriptor says and have its digest.
async fn blob(
    client: &Client,
    reference: &oci_client::Reference,
    layer: &Layer,
    request: &Request,
) -> Result<Vec<u8>, Trouble> {
    // By its digest alone: the client asks whomever a descriptor's `urls` name.
    let stream = client.pull_blob_stream(reference, layer.digest.as_str()).await;
    let mut stream = stream.map_err(|error| explain(error, request))?;
    // In one piece, as growing would need twice as much. What is allowed bounds it.
    let mut bytes = Vec::with_capacity(layer.size as usize);
    while let Some(part) = stream.next().await {
        // The last one says if the digest is another.
        let part = part.map_err(|error| explain_body(&error, request))?;
        if bytes.len() as u64 + part.len() as u64 > layer.size {
            let said = mebibytes(layer.size);
            let what =
                format!("the layer is longer than the {said} that its manifest says; the registry is broken");
            return Err((Kind::TooLarge, what));
        }
        bytes.extend_from_slice(&part);
    }
    if bytes.len() as u64 != layer.size {
        let (had, said) = (mebibytes(bytes.len() as u64), mebibytes(layer.size));
        return Err((Kind::Digest, format!("the layer has {had}, and its manifest says {said}")));
    }
    Ok(bytes)
}

fn client(request: &Request) -> Result<Client, Trouble> {
    // Whoever was first installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClientConfig {
        protocol: if request.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
        extra_root_certificates: roots(request)?,
        // An index is refused; the choice would be by the machine's platform.
        platform_resolver: None,
        connect_timeout: Some(CONNECT.min(request.time)),
        user_agent: concat!("sandmill/", env!("CARGO_PKG_VERSION")),
        // With TLS, nothing goes out without it: neither where a redirect leads nor to a token service. And no proxy is
        // taken out of the environment.
        http_proxy: Some(format!("http://{NOWHERE}")),
        no_proxy: request.plain_http.then(|| EVERYBODY.to_owned()),
        ..ClientConfig::default()
    };
    // `new` would go on with another configuration.
    Client::try_from(config).map_err(|error| explain(error, request))
}

fn roots(request: &Request) -> Result<Vec<Certificate>, Trouble> {
    let Some(pem) = &request.ca else { return Ok(Vec::new()) };
    let wrong =
        |why: String| (Kind::Setup, format!("the certificate that signs the registry's is no PEM: {why}"));
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|found| found.map(|der| Certificate { encoding: CertificateEncoding::Der, data: der.to_vec() }))
        .collect();
    match roots {
        // It would be trusted as if it were not given.
        Ok(roots) if roots.is_empty() => Err(wrong("there is no certificate in it".to_owned())),
        Ok(roots) => Ok(roots),
        Err(error) => Err(wrong(format!("{error:?}"))),
    }
}

fn auth(request: &Request) -> RegistryAuth {
    match &request.login {
        Some(login) => RegistryAuth::Basic(login.user.clone(), login.password.clone()),
        None => RegistryAuth::Anonymous,
    }
}

/// The reference as the client has it.
fn asked(reference: &Reference) -> oci_client::Reference {
    let (registry, repository) = (reference.registry().to_owned(), reference.repository().to_owned());
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, show_digest(&digest)),
        (None, tag) => {
            oci_client::Reference::with_tag(registry, repository, tag.unwrap_or_default().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let login = Login { user: "ci".into(), password: "secret".into() };
        assert_eq!(format!("{login:?}"), "Login { user: \"ci\", .. }");
    }
}
