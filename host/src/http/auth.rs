//! Who may do what: tokens, and the roles that they give.
//!
//! The configuration names every token and its role; there are no others. Kept is the digest of each, never the token,
//! so that neither a log nor a core file of the running host gives one away. What comes with a request is hashed as
//! well and compared with every entry to its end: the time that takes says nothing, not even how long a token is. A
//! plain digest is enough, as nobody can try all texts of 32 characters.
//!
//! A host for which nobody configured a token makes one of its own, in a file that only its user can read: whoever may
//! read that file may as well replace the host.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::config::Role;
use crate::wasm::Key;

/// Characters of a token, at the least: as many as 16 random bytes have in hex.
pub const SHORTEST: usize = 32;
/// Bytes that are read of a token's file.
const FILE_BYTES: u64 = 4 << 10;

/// Why a list of tokens is refused. Says names, never a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It could be guessed.
    #[error(
        "token {name:?} has {characters} characters, and {SHORTEST} are the least; `openssl rand -hex 32` makes one"
    )]
    Short {
        /// Of the token.
        name: String,
        /// How many it has.
        characters: usize,
    },
    /// A header could not carry it.
    #[error(
        "token {name:?} has a character that is no visible ASCII, a space or the end of a line for one; \
         `openssl rand -hex 32` makes one without"
    )]
    Characters {
        /// Of the token.
        name: String,
    },
    /// The audit log could not tell them apart.
    #[error("two tokens are called {name:?}; give each a name of its own")]
    SameName {
        /// Of both.
        name: String,
    },
    /// Nobody could tell which of them came.
    #[error("tokens {first:?} and {second:?} are the same; make a new one for one of them")]
    SameToken {
        /// Who has it first in the list.
        first: String,
        /// Who has it as well.
        second: String,
    },
}

/// Why a request is nobody's. All of them are answered in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No header.
    #[error("no token came with the request; send `Authorization: Bearer TOKEN`")]
    None,
    /// A header that holds no token.
    #[error("the Authorization header is not `Bearer TOKEN`, with one token of visible ASCII")]
    Malformed,
    /// A token that is not in the list.
    #[error("this host knows no such token; look for it in `[http.tokens]` of the host's configuration")]
    Unknown,
}

/// Whose a request is.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    role: Role,
    place: usize,
    digest: [u8; 32],
}

impl Identity {
    /// The token's name, for logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the token allows at the most.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The token's place in the list, from 0: which bucket its requests are taken from.
    pub fn place(&self) -> usize {
        self.place
    }

    /// True if this may do what needs `role`.
    pub fn may(&self, role: Role) -> bool {
        self.role >= role
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// All tokens of a host: a closed list, no two of one name or of one digest.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    entries: Vec<Identity>,
}

impl Tokens {
    /// Tokens as name, role and the token itself.
    ///
    /// # Errors
    /// If one is too short or has other characters than visible ASCII, or two have one name or are the same.
    pub fn new(entries: impl IntoIterator<Item = (String, Role, String)>) -> Result<Self, TokenError> {
        let mut known: Vec<Identity> = Vec::new();
        for (name, role, token) in entries {
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(TokenError::Characters { name });
            }
            if token.len() < SHORTEST {
                return Err(TokenError::Short { name, characters: token.len() });
            }
            if known.iter().any(|entry| entry.name == name) {
                return Err(TokenError::SameName { name });
            }
            let digest = digest(&token);
            if let Some(same) = known.iter().find(|entry| entry.digest == digest) {
                return Err(TokenError::SameToken { first: same.name.clone(), second: name });
            }
            known.push(Identity { name, role, place: known.len(), digest });
        }
        Ok(Tokens { entries: known })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none: every request is nobody's.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose a request with this `Authorization` is. Where there are several such headers, or one that is no text, hand
    /// in an empty one: it is malformed.
    ///
    /// # Errors
    /// If it is nobody's.
    pub fn who(&self, authorization: Option<&str>) -> Result<&Identity, Denied> {
        let (scheme, token) = authorization.ok_or(Denied::None)?.split_once(' ').ok_or(Denied::Malformed)?;
        // Spaces may stand before the token; none in it.
        let token = token.trim_matches(' ');
        if !scheme.eq_ignore_ascii_case("Bearer")
            || token.is_empty()
            || !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Denied::Malformed);
        }
        let digest = digest(token);
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (index, entry) in (0_u64..).zip(&self.entries) {
            let same = entry.digest.ct_eq(&digest);
            place.conditional_assign(&index, same);
            found |= same;
        }
        let known = usize::try_from(place).ok().filter(|_| bool::from(found));
        known.and_then(|place| self.entries.get(place)).ok_or(Denied::Unknown)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The token in the host's own file, made by whoever comes first: 32 random bytes in hex. Its folder has to be there.
///
/// # Errors
/// If the file belongs to another user or others may read it, if it holds no token, or if it cannot be read or made.
/// The words say which file and what to do.
pub fn read_or_make(path: &Path) -> io::Result<String> {
    let failed = |error: io::Error| {
        let words = format!("cannot use the token file {}: {error}", path.display());
        io::Error::new(error.kind(), words)
    };
    loop {
        match File::open(path) {
            Ok(file) => return read(&file).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What the file holds, if nobody else can know it.
fn read(file: &File) -> io::Result<String> {
    let data = file.metadata()?;
    let ours = rustix::process::geteuid().as_raw();
    if data.uid() != ours {
        let reason = format!(
            "it belongs to user {}, not to this one ({ours}); run this as that user, or remove the file",
            data.uid()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    if data.mode() & 0o077 != 0 {
        let reason = format!(
            "others may have read it (mode {:o}); remove it, and the host makes a new one",
            data.mode() & 0o777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    let mut text = String::new();
    file.take(FILE_BYTES).read_to_string(&mut text)?;
    let token = text.trim_ascii();
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = "it holds no token; remove it, and the host makes a new one";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(token.to_owned())
}

/// Puts a new token in its place, unless another host was first.
fn make(path: &Path) -> io::Result<()> {
    let token = hex(Key::random()?.as_bytes());
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", hex(&Key::random()?.as_bytes()[..8])));
    let beside = PathBuf::from(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    // On the disk before it has its name: a machine that loses power must not find half of it there.
    let written = file.write_all(format!("{token}\n").as_bytes()).and_then(|()| file.sync_all());
    // Of two hosts that start at once, one is first; both read what is there then.
    let linked = written.and_then(|()| match fs::hard_link(&beside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&beside);
    linked.and(removed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FIRST: &str = "0123456789abcdef0123456789abcdef";
    const SECOND: &str = "fedcba9876543210fedcba9876543210";

    fn entry(name: &str, role: Role, token: &str) -> (String, Role, String) {
        (name.to_owned(), role, token.to_owned())
    }

    fn two() -> Tokens {
        let entries = [entry("ci", Role::Deploy, FIRST), entry("ops", Role::Admin, SECOND)];
        Tokens::new(entries).expect("both are long enough")
    }

    #[test]
    fn each_token_is_its_own_identity() {
        let tokens = two();
        for (place, name, token) in [(0, "ci", FIRST), (1, "ops", SECOND)] {
            for header in [format!("Bearer {token}"), format!("bEARER   {token} ")] {
                let identity = tokens.who(Some(&header)).expect("it is known");
                assert_eq!((identity.place(), identity.name()), (place, name));
            }
        }
        let ci = tokens.who(Some(&format!("Bearer {FIRST}"))).expect("it is known");
        assert!(ci.may(Role::Read) && ci.may(Role::Deploy) && !ci.may(Role::Admin));
    }

    #[test]
    fn what_is_no_known_token_is_denied() {
        let tokens = two();
        assert_eq!(tokens.who(None), Err(Denied::None));
        for header in
            ["", " ", "Bearer", "Bearer ", "Bearer  ", FIRST, "Basic Y2k6Y2k=", "Bearer a b", "Bearer ä"]
        {
            assert_eq!(tokens.who(Some(header)), Err(Denied::Malformed), "{header:?}");
        }
        let longer = format!("{FIRST}0");
        for token in [&FIRST[1..], &longer, "ci", &FIRST.to_uppercase()] {
            assert_eq!(tokens.who(Some(&format!("Bearer {token}"))), Err(Denied::Unknown), "{token}");
        }
        let none = Tokens::default();
        assert_eq!(none.who(Some(&format!("Bearer {FIRST}"))), Err(Denied::Unknown), "place 0 of none");
    }

    #[test]
    fn a_list_that_leaves_doubt_is_refused_without_saying_a_token() {
        let short = Tokens::new([entry("ci", Role::Read, &FIRST[1..])]).expect_err("31 characters");
        assert_eq!(short, TokenError::Short { name: "ci".to_owned(), characters: 31 });
        for bad in [" ", "\n", "ä", "\u{7f}"] {
            let token = format!("{FIRST}{bad}");
            let error = Tokens::new([entry("ci", Role::Read, &token)]).expect_err("not visible");
            assert_eq!(error, TokenError::Characters { name: "ci".to_owned() }, "{bad:?}");
        }
        let names = Tokens::new([entry("ci", Role::Read, FIRST), entry("ci", Role::Read, SECOND)]);
        assert_eq!(names.expect_err("one name"), TokenError::SameName { name: "ci".to_owned() });
        let same = Tokens::new([entry("ci", Role::Read, FIRST), entry("ops", Role::Admin, FIRST)]);
        let same = same.expect_err("one token");
        assert_eq!(same, TokenError::SameToken { first: "ci".to_owned(), second: "ops".to_owned() });
        assert!(!format!("{same} {same:?}").contains(FIRST));
    }

    #[test]
    fn neither_a_token_nor_its_digest_is_shown() {
        let tokens = two();
        let shown = format!("{tokens:?} {:?}", tokens.who(Some(&format!("Bearer {FIRST}"))));
        assert!(shown.contains("ci") && shown.contains("Deploy"), "{shown}");
        assert!(!shown.contains(FIRST) && !shown.contains("digest"), "{shown}");
    }

    #[test]
    fn roles_include_those_before_and_are_written_in_small_letters() {
        assert!(Role::Read < Role::Deploy && Role::Deploy < Role::Admin);
        for role in [Role::Read, Role::Deploy, Role::Admin] {
            assert_eq!(serde_json::to_value(role).expect("it is a word"), role.to_string());
        }
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder is made")
    }

    #[test]
    fn hosts_that_start_at_once_have_one_token() {
        let folder = folder();
        let path = folder.path().join("token");
        let tokens: Vec<_> = std::thread::scope(|scope| {
            let hosts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| read_or_make(&path).expect("it is made"))).collect();
            hosts.into_iter().map(|host| host.join().expect("no host panics")).collect()
        });
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        assert_eq!(tokens[0].len(), 64);
        Tokens::new([entry("host", Role::Admin, &tokens[0])]).expect("it is one that can be used");
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 1, "nothing stays beside it");
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_token_is_refused() {
        let folder = folder();
        let path = folder.path().join("token");
        let made = read_or_make(&path).expect("it is made");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            let error = read_or_make(&path).expect_err("others may read it").to_string();
            let words = [format!("mode {mode:o}"), "remove it".to_owned(), path.display().to_string()];
            assert!(words.iter().all(|word| error.contains(word)) && !error.contains(&made), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("it is ours");
        assert_eq!(read_or_make(&path).expect("only we may read it"), made);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        for text in ["", "short\n", &format!("{FIRST}\n{SECOND}\n"), "\u{fffd}"] {
            fs::write(&path, text).expect("it is ours");
            let error = read_or_make(&path).expect_err("no token").to_string();
            assert!(error.contains("no token") && error.contains("remove it"), "{error}");
        }
    }

    #[test]
    fn without_its_folder_no_token_is_made() {
        let folder = folder();
        let error = read_or_make(&folder.path().join("none/token")).expect_err("no folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("none/token"), "{error}");
    }
}
