//! What a manifest says of the one module that it may hold.
//!
//! The layout is that of the CNCF's "Wasm OCI Artifact": one layer of type `application/wasm`. The config is neither
//! read nor fetched: what the module needs it says itself, and whoever pushes with a general tool has another type there.
//! `urls` of a layer are not read either: they would have this host ask whomever the manifest names.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::{Kind, Trouble, mebibytes};
use super::reference::{parse_digest, show_digest};
use crate::wasm::{Digest, text};

/// The annotation that holds the text of a minisign signature, as base64: line ends do not survive in annotations, as
/// the canonical JSON of some clients leaves them raw.
pub const SIGNATURE: &str = "io.sandmill.minisig";

/// The manifest that holds modules.
pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Lists of manifests. Asked for as well, so that whoever points at one hears that and not "not found".
pub(super) const LISTS: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// A layer that is a module; the second is what the first tools wrote.
const MODULES: [&str; 2] = ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"];
/// Bytes of a manifest. Registries take no longer ones.
pub(super) const LARGEST: usize = 4 << 20;
/// Bytes of a signature in base64. The text has a few hundred.
const LONGEST_SIGNATURE: usize = 4 << 10;
/// Bytes of a foreign word in a sentence.
const WORD: usize = 128;

/// Where the module lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// As the registry writes it.
    pub(super) digest: String,
    /// Bytes, and not one more or less.
    pub(super) size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<IgnoredAny>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// The digest of a manifest, which is held against the one that was asked for.
///
/// # Errors
/// If there is one and it is another.
pub(super) fn check(manifest: &[u8], asked: Option<Digest>) -> Result<Digest, Trouble> {
    if manifest.len() > LARGEST {
        let limit = mebibytes(LARGEST as u64);
        return Err((Kind::TooLarge, format!("its manifest has more than {limit}")));
    }
    // What the registry says that the digest is does not matter.
    let digest = Digest::of(manifest);
    match asked {
        Some(asked) if asked != digest => Err((
            Kind::Digest,
            format!("the registry answered with other bytes: their digest is {}", show_digest(&digest)),
        )),
        _ => Ok(digest),
    }
}

/// The layer with the module, which has `size` bytes at most, and the signature if there is one.
///
/// # Errors
/// If that is no manifest of one module.
pub(super) fn read(manifest: &[u8], size: u64) -> Result<(Layer, Option<String>), Trouble> {
    let broken = |why: String| (Kind::Broken, format!("its manifest cannot be read: {why}"));
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|error| broken(text::clean(&error.to_string(), WORD)))?;
    let media_type = manifest.media_type.as_deref();
    if manifest.manifests.is_some() || media_type.is_some_and(|written| LISTS.contains(&written)) {
        return Err((
            Kind::Index,
            "it is an index, a list of images for several platforms, and a module is for none; name the manifest in it \
             that holds the module, by its digest"
                .to_owned(),
        ));
    }
    if let Some(other) = media_type.filter(|written| *written != IMAGE) {
        return Err((
            Kind::NotWasm,
            format!("its manifest is a \"{}\", not {IMAGE}", text::clean(other, WORD)),
        ));
    }
    if manifest.schema_version != 2 {
        return Err(broken(format!("its schema version is {}, not 2", manifest.schema_version)));
    }
    let [layer] = &manifest.layers[..] else {
        return Err((
            Kind::Layers,
            format!(
                "it has {} layers, and a module is exactly one; push the module alone, for example with `wkg oci push`",
                manifest.layers.len()
            ),
        ));
    };
    if !MODULES.contains(&layer.media_type.as_str()) {
        let found = text::clean(&layer.media_type, WORD);
        return Err((
            Kind::NotWasm,
            format!(
                "its layer is a \"{found}\", not {}; is it the image of a container? Push the module itself, for \
                 example with `wkg oci push`",
                MODULES[0]
            ),
        ));
    }
    if layer.size > size {
        return Err((
            Kind::TooLarge,
            format!("the module has {}, and {} are allowed", mebibytes(layer.size), mebibytes(size)),
        ));
    }
    if parse_digest(&layer.digest).is_none() {
        return Err(broken(format!("\"{}\" is no digest of a layer", text::clean(&layer.digest, WORD))));
    }
    let signature = manifest.annotations.and_then(|mut annotations| annotations.remove(SIGNATURE));
    if signature.as_ref().is_some_and(|signature| signature.len() > LONGEST_SIGNATURE) {
        return Err(broken(format!("its annotation `{SIGNATURE}` has more than {LONGEST_SIGNATURE} bytes")));
    }
    Ok((Layer { digest: layer.digest.clone(), size: layer.size }, signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn layer(media_type: &str, size: u64) -> Value {
        json!({"mediaType": media_type, "digest": show_digest(&Digest::of(b"wasm")), "size": size})
    }

    fn manifest(layers: &[Value]) -> Value {
        json!({"schemaVersion": 2, "mediaType": IMAGE, "config": {}, "layers": layers})
    }

    fn kind(manifest: &Value) -> Result<u64, Kind> {
        read(manifest.to_string().as_bytes(), 100).map(|(layer, _)| layer.size).map_err(|(kind, _)| kind)
    }

    #[test]
    fn one_module_is_found_under_both_of_its_types() {
        for media_type in MODULES {
            assert_eq!(kind(&manifest(&[layer(media_type, 100)])), Ok(100));
        }
        let mut silent = manifest(&[layer(MODULES[0], 4)]);
        silent.as_object_mut().unwrap().remove("mediaType");
        assert_eq!(kind(&silent), Ok(4));
    }

    #[test]
    fn what_is_not_one_module_is_refused_for_its_own_reason() {
        let one = layer(MODULES[0], 1);
        let mut old = manifest(std::slice::from_ref(&one));
        old["schemaVersion"] = json!(1);
        let mut docker = manifest(std::slice::from_ref(&one));
        docker["mediaType"] = json!("application/vnd.docker.distribution.manifest.v2+json");
        let mut path = manifest(std::slice::from_ref(&one));
        path["layers"][0]["digest"] = json!("sha256:../../../v2/secrets");
        let mut negative = manifest(std::slice::from_ref(&one));
        negative["layers"][0]["size"] = json!(-1);
        let mut signed = manifest(std::slice::from_ref(&one));
        signed["annotations"] = json!({SIGNATURE: "A".repeat(LONGEST_SIGNATURE + 1)});
        for (manifest, wrong) in [
            (manifest(&[]), Kind::Layers),
            (manifest(&[one.clone(), one.clone()]), Kind::Layers),
            (manifest(&[layer("application/vnd.oci.image.layer.v1.tar+gzip", 1)]), Kind::NotWasm),
            (manifest(&[layer(MODULES[0], 101)]), Kind::TooLarge),
            (json!({"schemaVersion": 2, "manifests": []}), Kind::Index),
            (json!({"schemaVersion": 2, "mediaType": LISTS[0]}), Kind::Index),
            (json!({"schemaVersion": 2, "mediaType": LISTS[1]}), Kind::Index),
            (docker, Kind::NotWasm),
            (old, Kind::Broken),
            (path, Kind::Broken),
            (negative, Kind::Broken),
            (signed, Kind::Broken),
            (json!([]), Kind::Broken),
            (json!("<html>"), Kind::Broken),
        ] {
            assert_eq!(kind(&manifest), Err(wrong), "{manifest}");
        }
    }

    #[test]
    fn the_signature_is_that_of_the_annotation() {
        let mut signed = manifest(&[layer(MODULES[0], 1)]);
        signed["annotations"] = json!({SIGNATURE: "dW50cnVzdGVk", "other": "x"});
        let (_, signature) = read(signed.to_string().as_bytes(), 100).unwrap();
        assert_eq!(signature.as_deref(), Some("dW50cnVzdGVk"));
    }

    #[test]
    fn other_bytes_than_those_asked_for_are_refused() {
        let digest = Digest::of(b"{}");
        assert_eq!(check(b"{}", None), Ok(digest));
        assert_eq!(check(b"{}", Some(digest)), Ok(digest));
        assert_eq!(check(b"{} ", Some(digest)).unwrap_err().0, Kind::Digest);
        assert_eq!(check(&vec![b' '; LARGEST + 1], None).unwrap_err().0, Kind::TooLarge);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(read(&bytes, 1 << 20));
        }
    }
}
