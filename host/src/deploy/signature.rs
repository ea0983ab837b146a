//! Only signed modules: whose signature a module has to carry before anything is done with its bytes.
//!
//! Signatures are those of minisign: a text of four lines beside the module, made with a key that never comes near this
//! host and checked with the public half, which stands in the configuration. Ed25519 over the BLAKE2b hash of the
//! module; the older kind, over the module itself, is refused, so that there is one way only.
//!
//! Several people may have to sign: then their texts are simply put one after the other. A signature that is wrong does
//! no harm beside enough that are right: who sends it could have left it out.
//!
//! A signature is of bytes. It does not say for which pipeline they are, nor when: an older module that was signed once
//! may be deployed again, which is what a roll back does.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{Error, PublicKey, Signature};

/// Most bytes of a text of signatures; one has about 300.
pub const TEXT: usize = 8 << 10;
/// Most signatures of one text, and most keys that may have to sign. For each, the whole module is hashed.
pub const SIGNATURES: usize = 8;

const COMMENT: &str = "untrusted comment:";
/// What a secret key decodes to.
const SECRET_KEY_BYTES: usize = 158;

/// Identifier of a key, which stands in its signatures: displays as minisign does, 16 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// Whose signatures a module needs. At least one, of as many keys as it says.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Names, identifiers and keys are each all different.
    keys: Vec<Key>,
    /// How many of them have to sign: from 1 to all.
    require: usize,
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    id: KeyId,
    /// The 32 bytes that `verifier` does not give away.
    point: [u8; 32],
    verifier: PublicKey,
}

impl Key {
    fn new(name: String, text: &str) -> Result<Self, KeyError> {
        let bytes = key_bytes(text).unwrap_or_default();
        if bytes.len() == SECRET_KEY_BYTES {
            return Err(KeyError::Secret { name });
        }
        // Once more as base64: what is compared here and what verifies are then the same bytes.
        match (
            PublicKey::from_base64(&STANDARD.encode(&bytes)),
            bytes.first_chunk::<10>(),
            bytes.last_chunk(),
        ) {
            (Ok(verifier), Some([_, _, id @ ..]), Some(point)) => {
                Ok(Key { name, id: KeyId(*id), point: *point, verifier })
            }
            _ => Err(KeyError::Malformed { name }),
        }
    }
}

/// What is wrong with the configured keys. No text of a key is part of it, because it may be a secret one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no public key.
    #[error(
        "key `{name}` is no public key of minisign: give the line that begins with `RW`, or all of its .pub file"
    )]
    Malformed {
        /// Of the key.
        name: String,
    },
    /// It is the half that nobody may see.
    #[error(
        "key `{name}` is a secret key and now stands where others may read it: make a new pair with \
         `minisign -G`, and give the public key"
    )]
    Secret {
        /// Of the key.
        name: String,
    },
    /// Two have one name.
    #[error("two keys have the name `{name}`: give each its own")]
    SameName {
        /// Of both.
        name: String,
    },
    /// Two names are of one key, or of two with one identifier.
    #[error("`{first}` and `{second}` are the same key, or have the same identifier: leave one out")]
    SameKey {
        /// The first name of it.
        first: String,
        /// The other.
        second: String,
    },
    /// There are too few for what is required, or nothing is required.
    #[error(
        "{require} of {keys} keys have to sign, which cannot be: it has to be from 1 to the number of keys, \
         and at most {SIGNATURES}"
    )]
    Require {
        /// How many have to sign.
        require: usize,
        /// How many there are.
        keys: usize,
    },
}

/// Why a module is not accepted. Nothing of the text is part of it but identifiers of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// There is no signature.
    #[error(
        "the module has no signature, and only signed ones may run here: sign it with `minisign -S -m MODULE`, \
         and send MODULE.minisig with it"
    )]
    Missing,
    /// More than anybody needs to sign.
    #[error(
        "the signatures are more than {SIGNATURES}, or longer than {} KiB: send only those of configured keys",
        TEXT >> 10
    )]
    TooLong,
    /// It is no text of minisign.
    #[error(
        "signature {number} is not one of minisign: send the .minisig file as it is, four lines for each signature"
    )]
    Malformed {
        /// Which of the text, from 1.
        number: usize,
    },
    /// The older kind.
    #[error(
        "the signature by key `{name}` is of the old kind, over the module and not over its hash: sign again without \
         `-l`, and with minisign 0.10 or newer"
    )]
    Legacy {
        /// Of the key.
        name: String,
    },
    /// None is by a key of the configuration.
    #[error(
        "the module is signed with {}, which is not among the configured keys: sign it with one of {}, or \
         configure that key",
        listed("key", ids),
        listed("", names)
    )]
    UnknownKey {
        /// Which signed.
        ids: Vec<KeyId>,
        /// Names of those that are configured.
        names: Vec<String>,
    },
    /// It was made with the right key, for something else.
    #[error(
        "the signature by key `{name}` is not of this module: the module, or the signature, was changed after \
         signing, or belongs to another; sign these bytes again"
    )]
    OtherBytes {
        /// Of the key.
        name: String,
    },
    /// Right, but not enough.
    #[error(
        "{require} different keys have to sign, and only {} did: have it signed with more of {}, and send all \
         signatures one after the other",
        listed("", by),
        listed("", names)
    )]
    TooFew {
        /// How many have to.
        require: usize,
        /// Names of those that did.
        by: Vec<String>,
        /// Names of all that may.
        names: Vec<String>,
    },
}

impl Policy {
    /// Keys by name, each as the line of base64 or as the text of the .pub file, and how many of them have to sign.
    ///
    /// # Errors
    ///
    /// If a key is none or there twice, or if not so many can sign.
    pub fn new(keys: impl IntoIterator<Item = (String, String)>, require: usize) -> Result<Policy, KeyError> {
        let mut policy = Policy { keys: Vec::new(), require };
        for (name, text) in keys {
            let key = Key::new(name, &text)?;
            if policy.keys.iter().any(|known| known.name == key.name) {
                return Err(KeyError::SameName { name: key.name });
            }
            // Under another identifier it would count twice; under the same, a signature would be by both.
            let same = policy.keys.iter().find(|known| known.point == key.point || known.id == key.id);
            if let Some(known) = same {
                return Err(KeyError::SameKey { first: known.name.clone(), second: key.name });
            }
            policy.keys.push(key);
        }
        if require == 0 || require > policy.keys.len().min(SIGNATURES) {
            return Err(KeyError::Require { require, keys: policy.keys.len() });
        }
        Ok(policy)
    }

    /// Names of the keys that signed exactly these bytes, in the order of the configuration: at least as many as have
    /// to. `signature` is the text of a .minisig file, or of several, one after the other.
    ///
    /// Hashes the module up to eight times.
    ///
    /// # Errors
    ///
    /// If too few of the keys signed; of several reasons the one that is told is what most needs a look.
    pub fn check(&self, module: &[u8], signature: Option<&str>) -> Result<Vec<String>, Unsigned> {
        let signatures = parse(signature.unwrap_or_default())?;
        let (mut by, mut unknown) = (BTreeSet::new(), Vec::new());
        let (mut other_bytes, mut legacy) = (None, None);
        for (id, signature) in signatures {
            let Some((index, key)) = self.keys.iter().enumerate().find(|(_, key)| key.id == id) else {
                unknown.push(id);
                continue;
            };
            if by.contains(&index) {
                continue;
            }
            match key.verifier.verify(module, &signature, false) {
                Ok(()) => {
                    by.insert(index);
                }
                Err(Error::UnexpectedAlgorithm) => legacy = legacy.or(Some(key)),
                Err(_) => other_bytes = other_bytes.or(Some(key)),
            }
        }
        let by: Vec<String> = by.into_iter().map(|index| self.keys[index].name.clone()).collect();
        if by.len() >= self.require {
            return Ok(by);
        }
        let names = self.keys.iter().map(|key| key.name.clone()).collect();
        Err(match (other_bytes, legacy) {
            (Some(key), _) => Unsigned::OtherBytes { name: key.name.clone() },
            (None, Some(key)) => Unsigned::Legacy { name: key.name.clone() },
            (None, None) if by.is_empty() => Unsigned::UnknownKey { ids: unknown, names },
            (None, None) => Unsigned::TooFew { require: self.require, by, names },
        })
    }
}

/// The signatures of a text, at least one, with the identifiers of their keys.
fn parse(text: &str) -> Result<Vec<(KeyId, Signature)>, Unsigned> {
    if text.len() > TEXT {
        return Err(Unsigned::TooLong);
    }
    // Empty lines come from putting files together. None of the four is ever empty.
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return Err(Unsigned::Missing);
    }
    if lines.len() > SIGNATURES * 4 {
        return Err(Unsigned::TooLong);
    }
    let parse = |lines: &[&str]| {
        // The crate does not look at the first line, by which a text that lost a line shows.
        let [comment, encoded, _, _] = lines else { return None };
        let bytes = STANDARD.decode(encoded).ok().filter(|_| comment.starts_with(COMMENT))?;
        let id = KeyId(bytes.get(2..10)?.try_into().ok()?);
        Some((id, Signature::decode(&lines.join("\n")).ok()?))
    };
    lines
        .chunks(4)
        .enumerate()
        .map(|(index, lines)| parse(lines).ok_or(Unsigned::Malformed { number: index + 1 }))
        .collect()
}

/// What a key's text decodes to, with its comment or without.
fn key_bytes(text: &str) -> Option<Vec<u8>> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let encoded = match lines[..] {
        [encoded] => encoded,
        [comment, encoded] if comment.starts_with(COMMENT) => encoded,
        _ => return None,
    };
    STANDARD.decode(encoded).ok()
}

/// "key A, key B", or "`a`, `b`" where there is no `word`.
fn listed(word: &str, of: &[impl fmt::Display]) -> String {
    let each = |one| if word.is_empty() { format!("`{one}`") } else { format!("{word} {one}") };
    of.iter().map(each).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use minisign::KeyPair;
    use proptest::prelude::*;

    use super::*;

    const MODULE: &[u8] = b"\0asm\x0d\0\x01\0";

    struct Signer(KeyPair);

    impl Signer {
        fn new() -> Self {
            Signer(KeyPair::generate_unencrypted_keypair().unwrap())
        }

        /// The text of the .pub file.
        fn public(&self) -> String {
            self.0.pk.to_box().unwrap().into_string()
        }

        fn id(&self) -> KeyId {
            KeyId(self.0.pk.keynum().try_into().unwrap())
        }

        fn sign(&self, module: &[u8]) -> String {
            minisign::sign(Some(&self.0.pk), &self.0.sk, module, None, None).unwrap().into_string()
        }
    }

    fn policy(signers: &[(&str, &Signer)], require: usize) -> Result<Policy, KeyError> {
        Policy::new(signers.iter().map(|(name, signer)| ((*name).to_owned(), signer.public())), require)
    }

    #[test]
    fn a_signed_module_is_accepted_and_it_is_told_by_whom() {
        let (anna, ben) = (Signer::new(), Signer::new());
        let policy = policy(&[("anna", &anna), ("ben", &ben)], 1).unwrap();
        assert_eq!(policy.check(MODULE, Some(&anna.sign(MODULE))), Ok(vec!["anna".to_owned()]));
        assert_eq!(policy.check(MODULE, Some(&ben.sign(MODULE))), Ok(vec!["ben".to_owned()]));
        let both = ben.sign(MODULE) + "\r\n\n" + &anna.sign(MODULE).replace('\n', "\r\n");
        assert_eq!(policy.check(MODULE, Some(&both)), Ok(vec!["anna".to_owned(), "ben".to_owned()]));
    }

    #[test]
    fn no_signature_is_refused() {
        let anna = Signer::new();
        let policy = policy(&[("anna", &anna)], 1).unwrap();
        for text in [None, Some(""), Some("\r\n \n")] {
            assert_eq!(policy.check(MODULE, text), Err(Unsigned::Missing));
        }
    }

    #[test]
    fn what_is_not_of_minisign_is_refused() {
        let anna = Signer::new();
        let policy = policy(&[("anna", &anna)], 1).unwrap();
        let signature = anna.sign(MODULE);
        let lines: Vec<&str> = signature.lines().collect();
        let malformed = |number| Err(Unsigned::Malformed { number });
        assert_eq!(policy.check(MODULE, Some("-----BEGIN PGP SIGNATURE-----")), malformed(1));
        assert_eq!(policy.check(MODULE, Some(&anna.public())), malformed(1));
        assert_eq!(policy.check(MODULE, Some(&(signature.clone() + lines[0]))), malformed(2));
        for left_out in 0..4 {
            let mut three = lines.clone();
            three.remove(left_out);
            assert_eq!(
                policy.check(MODULE, Some(&three.join("\n"))),
                malformed(1),
                "without line {left_out}"
            );
        }
        let swapped = [lines[2], lines[1], lines[0], lines[3]].join("\n");
        assert_eq!(policy.check(MODULE, Some(&swapped)), malformed(1));
        let other_comment = ["comment:", lines[1], lines[2], lines[3]].join("\n");
        assert_eq!(policy.check(MODULE, Some(&other_comment)), malformed(1));
    }

    #[test]
    fn more_text_than_anybody_needs_is_refused_unread() {
        let anna = Signer::new();
        let policy = policy(&[("anna", &anna)], 1).unwrap();
        let signature = anna.sign(MODULE);
        assert_eq!(policy.check(MODULE, Some(&signature.repeat(SIGNATURES))), Ok(vec!["anna".to_owned()]));
        assert_eq!(
            policy.check(MODULE, Some(&signature.repeat(SIGNATURES + 1))),
            Err(Unsigned::TooLong),
            "each would be a pass over the module"
        );
        let padded = signature.clone() + &" ".repeat(TEXT - signature.len());
        assert_eq!(policy.check(MODULE, Some(&padded)), Ok(vec!["anna".to_owned()]));
        assert_eq!(policy.check(MODULE, Some(&(padded + " "))), Err(Unsigned::TooLong));
    }

    #[test]
    fn a_signature_by_another_key_is_refused_with_its_identifier() {
        let (anna, eve) = (Signer::new(), Signer::new());
        let policy = policy(&[("anna", &anna)], 1).unwrap();
        let refused = policy.check(MODULE, Some(&eve.sign(MODULE))).unwrap_err();
        assert_eq!(refused, Unsigned::UnknownKey { ids: vec![eve.id()], names: vec!["anna".to_owned()] });
        // Minisign itself writes the identifier into the comment of the public key.
        assert!(eve.public().contains(&eve.id().to_string()), "{} in {}", eve.id(), eve.public());
        assert!(refused.to_string().contains(&format!("key {}, which", eve.id())), "{refused}");
        let beside = eve.sign(MODULE) + &anna.sign(MODULE);
        assert_eq!(policy.check(MODULE, Some(&beside)), Ok(vec!["anna".to_owned()]));
    }

    #[test]
    fn who_takes_the_identifier_of_a_key_has_not_its_signature() {
        let (anna, eve) = (Signer::new(), Signer::new());
        let policy = policy(&[("anna", &anna)], 1).unwrap();
        let signature = eve.sign(MODULE);
        let mut lines: Vec<String> = signature.lines().map(ToOwned::to_owned).collect();
        let mut bytes = STANDARD.decode(&lines[1]).unwrap();
        bytes[2..10].copy_from_slice(&anna.id().0);
        lines[1] = STANDARD.encode(bytes);
        assert_eq!(
            policy.check(MODULE, Some(&lines.join("\n"))),
            Err(Unsigned::OtherBytes { name: "anna".to_owned() })
        );
    }

    #[test]
    fn a_signature_of_other_bytes_or_with_another_comment_is_refused() {
        let (anna, ben) = (Signer::new(), Signer::new());
        let policy = policy(&[("ben", &ben), ("anna", &anna)], 1).unwrap();
        let other = Err(Unsigned::OtherBytes { name: "anna".to_owned() });
        assert_eq!(policy.check(MODULE, Some(&anna.sign(b"\0asm\x0d\0\x01\x01"))), other);
        assert_eq!(policy.check(&MODULE[1..], Some(&anna.sign(MODULE))), other);
        let changed = anna.sign(MODULE).replace("trusted comment: timestamp", "trusted comment: Timestamp");
        assert_eq!(policy.check(MODULE, Some(&changed)), other);
        // Signed again, and both were sent.
        let again = anna.sign(b"before") + &anna.sign(MODULE);
        assert_eq!(policy.check(MODULE, Some(&again)), Ok(vec!["anna".to_owned()]));
    }

    #[test]
    fn as_many_different_keys_sign_as_have_to() {
        let (anna, ben, eve) = (Signer::new(), Signer::new(), Signer::new());
        let names = || vec!["anna".to_owned(), "ben".to_owned()];
        let policy = policy(&[("anna", &anna), ("ben", &ben)], 2).unwrap();
        let (by_anna, by_ben, by_eve) = (anna.sign(MODULE), ben.sign(MODULE), eve.sign(MODULE));
        let few = Err(Unsigned::TooFew { require: 2, by: vec!["anna".to_owned()], names: names() });
        assert_eq!(policy.check(MODULE, Some(&by_anna)), few);
        assert_eq!(
            policy.check(MODULE, Some(&(by_anna.clone() + &anna.sign(MODULE)))),
            few,
            "twice the same"
        );
        assert_eq!(policy.check(MODULE, Some(&(by_anna.clone() + &by_eve))), few);
        assert_eq!(policy.check(MODULE, Some(&(by_eve + &by_anna + &by_ben))), Ok(names()));
        assert_eq!(
            policy.check(MODULE, Some(&(by_anna + &ben.sign(b"other")))),
            Err(Unsigned::OtherBytes { name: "ben".to_owned() })
        );
    }

    #[test]
    fn keys_are_checked_when_they_are_configured() {
        let (anna, ben) = (Signer::new(), Signer::new());
        let error = |signers: &[(&str, &Signer)], require| policy(signers, require).unwrap_err();
        let keys = |text: String| Policy::new([("anna".to_owned(), text)], 1).map(|_| ());
        assert_eq!(error(&[], 1), KeyError::Require { require: 1, keys: 0 });
        assert_eq!(error(&[("anna", &anna)], 0), KeyError::Require { require: 0, keys: 1 });
        assert_eq!(error(&[("anna", &anna)], 2), KeyError::Require { require: 2, keys: 1 });
        assert_eq!(
            error(&[("anna", &anna), ("anna", &ben)], 1),
            KeyError::SameName { name: "anna".to_owned() }
        );
        let same = KeyError::SameKey { first: "anna".to_owned(), second: "ben".to_owned() };
        assert_eq!(error(&[("anna", &anna), ("ben", &anna)], 2), same);
        // The same key under another identifier.
        let mut bytes = STANDARD.decode(anna.0.pk.to_base64()).unwrap();
        bytes[2] ^= 1;
        let twice = [("anna".to_owned(), anna.public()), ("ben".to_owned(), STANDARD.encode(bytes))];
        assert_eq!(Policy::new(twice, 2).unwrap_err(), same);

        assert_eq!(keys(anna.0.pk.to_base64()), Ok(()));
        assert_eq!(keys(format!("\n {}\r\n", anna.0.pk.to_base64())), Ok(()));
        assert_eq!(keys(anna.public().replace('\n', "\r\n")), Ok(()));
        let secret = anna.0.sk.to_box(None).unwrap().into_string();
        assert_eq!(keys(secret), Err(KeyError::Secret { name: "anna".to_owned() }));
        for text in ["", "RWQ", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", &anna.sign(MODULE)] {
            assert_eq!(keys(text.to_owned()), Err(KeyError::Malformed { name: "anna".to_owned() }), "{text}");
        }
    }

    // The keys and signatures of the tests of minisign-verify 0.3, made by minisign of the module "test".
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key
RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=
trusted comment: timestamp:1555779966\tfile:test
QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==
";
    const PREHASHED: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1556193335\tfile:test
y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==
";

    fn pinned() -> Policy {
        Policy::new([("release".to_owned(), KEY.to_owned())], 1).unwrap()
    }

    #[test]
    fn signatures_that_were_made_years_ago_are_read() {
        assert_eq!(pinned().check(b"test", Some(PREHASHED)), Ok(vec!["release".to_owned()]));
        assert_eq!(
            pinned().check(b"Test", Some(PREHASHED)),
            Err(Unsigned::OtherBytes { name: "release".to_owned() })
        );
        let other = policy(&[("anna", &Signer::new())], 1).unwrap();
        let refused = other.check(b"test", Some(PREHASHED)).unwrap_err().to_string();
        assert_eq!(
            refused,
            "the module is signed with key E7620F1842B4E81F, which is not among the configured keys: sign it with \
             one of `anna`, or configure that key"
        );
    }

    #[test]
    fn signatures_of_the_old_kind_are_refused() {
        assert_eq!(
            pinned().check(b"test", Some(LEGACY)),
            Err(Unsigned::Legacy { name: "release".to_owned() })
        );
        assert!(pinned().check(b"test", Some(&(LEGACY.to_owned() + PREHASHED))).is_ok());
    }

    #[test]
    fn a_key_of_the_right_length_and_nothing_else_verifies_nothing() {
        for fill in [0x00, 0x01, 0xff] {
            let mut bytes = STANDARD.decode(KEY).unwrap();
            bytes[10..].fill(fill);
            let policy = Policy::new([("weak".to_owned(), STANDARD.encode(bytes))], 1).unwrap();
            assert!(policy.check(b"test", Some(PREHASHED)).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(
            text in any::<String>(),
            lines in prop::collection::vec(any::<String>(), 0..9),
        ) {
            prop_assert!(pinned().check(b"test", Some(&text)).is_err());
            prop_assert!(pinned().check(b"test", Some(&lines.join("\n"))).is_err());
            prop_assert!(Policy::new([("any".to_owned(), text)], 1).is_err());
        }

        /// Any bytes in the place of any others: it is refused, or they were in the comment that nobody signed, or a
        /// line end.
        #[test]
        fn a_changed_signature_is_refused_without_a_panic(at in 0..PREHASHED.len(), with in "\\PC|[ -~]|\r|\n|=") {
            let mut text = PREHASHED.to_owned();
            text.replace_range(at..=at, &with);
            let comment = PREHASHED.find('\n').unwrap();
            let is_same = text.lines().skip(1).eq(PREHASHED.lines().skip(1));
            if at > comment && !is_same {
                prop_assert!(pinned().check(b"test", Some(&text)).is_err(), "{text}");
            } else {
                let _accepted_or_not = pinned().check(b"test", Some(&text));
            }
        }

        #[test]
        fn a_text_of_right_form_and_any_content_is_refused_without_a_panic(
            first in prop::collection::vec(any::<u8>(), 60..90),
            last in prop::collection::vec(any::<u8>(), 50..70),
            of_key in any::<bool>(),
            comment in "\\PC{0,40}",
        ) {
            let mut first = first;
            first.resize(74, 0);
            if of_key {
                first[..10].copy_from_slice(&STANDARD.decode(PREHASHED.lines().nth(1).unwrap()).unwrap()[..10]);
            }
            let mut last = last;
            last.resize(64, 0);
            let text = format!(
                "untrusted comment:\n{}\ntrusted comment: {comment}\n{}\n",
                STANDARD.encode(first), STANDARD.encode(last)
            );
            prop_assert!(pinned().check(b"test", Some(&text)).is_err());
        }
    }
}
