//! The unsafe parts of the sandbox's use, kept small: compiled code, and [hearing of answers](told).
//!
//! # Compiled code, sealed
//!
//! To load compiled code is to run it: nothing checks machine code again. So code is loaded only if this crate made it.
//! [`compile`] compiles a component and seals the result under a secret [`Key`]; [`Sealed::open`] believes nothing
//! without a valid seal, so that what lies in a cache may be damaged, cut, swapped or forged, and is refused then.
//!
//! ```text
//! seal:32   HMAC-SHA-256 over all bytes after it
//! length:4  of the note, little-endian
//! note      what the caller wants to know of the code again, as sure as the code itself
//! code      what wasmtime made
//! ```

pub mod told;

use std::ops::Range;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes of a seal.
const SEAL: usize = 32;
/// Bytes of the length of the note.
const LENGTH: usize = 4;

/// The secret of whoever compiles and loads. Who has it can make this process run anything.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Key(bytes))
    }

    /// One that was kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// To keep it, where nobody else can read.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length will do");
        mac.chain_update(bytes)
    }
}

impl std::fmt::Debug for Key {
    /// Says nothing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Bytes without a valid seal: damaged, cut short, made by somebody else, or under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compiled code without a valid seal: it is damaged, or this host did not make it")]
pub struct NotSealed;

/// Compiles a component and seals it, with a note.
///
/// Takes the time and the memory that the component wants; run it where both are bounded.
///
/// # Errors
/// If the component is not valid, or uses a feature that the engine has not.
///
/// # Panics
/// If the note has more than 2^32 bytes.
pub fn compile(engine: &Engine, component: &[u8], note: &[u8], key: &Key) -> wasmtime::Result<Vec<u8>> {
    let code = engine.precompile_component(component)?;
    let length = u32::try_from(note.len()).expect("a note is short").to_le_bytes();
    let mut sealed = Vec::with_capacity(SEAL + LENGTH + note.len() + code.len());
    sealed.extend([0; SEAL]);
    sealed.extend(length);
    sealed.extend(note);
    sealed.extend(code);
    let seal = key.mac(&sealed[SEAL..]).finalize().into_bytes();
    sealed[..SEAL].copy_from_slice(&seal);
    Ok(sealed)
}

/// Compiled code whose seal was checked.
pub struct Sealed {
    bytes: Vec<u8>,
    note: Range<usize>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Sealed {
    /// Checks the seal, in constant time.
    ///
    /// # Errors
    /// Without a valid one.
    pub fn open(bytes: Vec<u8>, key: &Key) -> Result<Self, NotSealed> {
        let (seal, rest) = bytes.split_at_checked(SEAL).ok_or(NotSealed)?;
        key.mac(rest).verify_slice(seal).map_err(|_| NotSealed)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH>().ok_or(NotSealed)?;
        let length = u32::from_le_bytes(*length) as usize;
        let note = SEAL + LENGTH..SEAL + LENGTH + rest.get(..length).ok_or(NotSealed)?.len();
        Ok(Sealed { bytes, note })
    }

    /// What was noted when it was compiled.
    #[must_use]
    pub fn note(&self) -> &[u8] {
        &self.bytes[self.note.clone()]
    }

    /// All of it, as [`compile`] made it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts another seal in the place of this one: whoever keeps code need not have made its key known to whoever
    /// compiled it.
    pub fn reseal(&mut self, key: &Key) {
        let seal = key.mac(&self.bytes[SEAL..]).finalize().into_bytes();
        self.bytes[..SEAL].copy_from_slice(&seal);
    }

    /// Loads the code. Makes a copy of it.
    ///
    /// # Errors
    /// If it was compiled by another version of the sandbox, for another machine, or with other settings.
    #[expect(unsafe_code, reason = "to load compiled code is to trust it: see the safety comment")]
    pub fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` asks for bytes that `precompile_component` made, unchanged. A value of this type
        // exists only if `open` found the seal of the key over exactly these bytes, nobody can change them since but for
        // the seal itself, and this crate puts a seal only on what `precompile_component` returned, in `compile`, or on
        // what had one, in `reseal`. So they are that, unless somebody else who has the key made a seal of his own:
        // keys are given out as bytes only to be kept in a private file or handed to a process of this program, and
        // whoever does anything else with them takes that on. Versions, target and settings are checked by
        // `deserialize` itself.
        unsafe { Component::deserialize(engine, &self.bytes[self.note.end..]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::random().expect("there are random bytes")
    }

    fn component() -> Vec<u8> {
        wat::parse_str("(component (core module (func (export \"f\"))))").expect("it is text")
    }

    #[test]
    fn what_was_compiled_loads_with_its_note() {
        let (engine, key) = (Engine::default(), key());
        let sealed = compile(&engine, &component(), b"a note", &key).expect("it compiles");
        let kept = Key::from_bytes(*key.as_bytes());
        let opened = Sealed::open(sealed.clone(), &kept).expect("it is sealed");
        assert_eq!((opened.note(), opened.bytes()), (&b"a note"[..], &sealed[..]));
        assert!(opened.load(&engine).is_ok());
    }

    #[test]
    fn a_changed_missing_or_added_byte_is_refused() {
        let (engine, key) = (Engine::default(), key());
        let sealed = compile(&engine, &component(), b"a note", &key).expect("it compiles");
        for at in (0..sealed.len()).step_by(97).chain(0..64) {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(Sealed::open(changed, &key).err(), Some(NotSealed), "byte {at}");
            assert_eq!(Sealed::open(sealed[..at].to_vec(), &key).err(), Some(NotSealed), "cut at {at}");
        }
        let longer = [&sealed[..], b"\0"].concat();
        assert_eq!(Sealed::open(longer, &key).err(), Some(NotSealed));
    }

    #[test]
    fn a_new_seal_takes_the_place_of_the_old_one() {
        let (engine, first, second) = (Engine::default(), key(), key());
        let sealed = compile(&engine, &component(), b"a note", &first).expect("it compiles");
        let mut opened = Sealed::open(sealed, &first).expect("it is sealed");
        opened.reseal(&second);
        let bytes = opened.bytes().to_vec();
        assert_eq!(Sealed::open(bytes.clone(), &first).err(), Some(NotSealed));
        let again = Sealed::open(bytes, &second).expect("it is sealed again");
        assert!(again.note() == b"a note" && again.load(&engine).is_ok());
    }

    #[test]
    fn a_seal_under_another_key_is_none() {
        let sealed = compile(&Engine::default(), &component(), b"", &key()).expect("it compiles");
        assert_eq!(Sealed::open(sealed, &key()).err(), Some(NotSealed));
    }

    #[test]
    fn code_for_other_settings_is_refused() {
        let key = key();
        let sealed = compile(&Engine::default(), &component(), b"", &key).expect("it compiles");
        let opened = Sealed::open(sealed, &key).expect("it is sealed");
        let mut settings = wasmtime::Config::new();
        settings.consume_fuel(true);
        let other = Engine::new(&settings).expect("an engine");
        assert!(opened.load(&other).is_err(), "code without fuel checks would run for ever");
    }

    #[test]
    fn what_is_no_component_does_not_compile_and_a_key_is_not_shown() {
        assert!(compile(&Engine::default(), b"\0asm", b"", &key()).is_err());
        assert_eq!(format!("{:?}", key()), "Key(…)");
    }
}
