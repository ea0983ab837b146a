//! Any text as a configuration file gives errors that each name a place, or a configuration that, printed, is a file
//! that says the same. No password is in either.
//!
//! A text is the input as it is, or composed by it (`compose`): of random characters hardly any is TOML, and of TOML
//! hardly any is a configuration.

mod compose;

use std::path::Path;

use crate::config::{ClientProperties, Config, Errors, Origin, Source};
use crate::input::Input;

/// What an input begins with that composes a text; no text has this byte.
pub const COMPOSED: u8 = 0xff;

/// Passwords in composed texts and seeds, as they are written and as a variable holds one.
pub const SECRETS: [&str; 2] = ["hunter2-in-the-file", "swordfish-in-a-variable"];

/// What a file may refer to.
const VARIABLES: [(&str, &str); 2] = [("HOME", "/home/mill"), ("KEY", SECRETS[1])];

/// What a printed file has in place of a password.
const REDACTED: &str = "<redacted>";

/// See the module.
///
/// # Panics
/// Where the promise breaks.
pub fn check(data: &[u8]) {
    let text = match data.split_first() {
        Some((&COMPOSED, rest)) => compose::text(&mut Input(rest)),
        _ => String::from_utf8_lossy(data).into_owned(),
    };
    // A secret may be read from any file: from devices reading never ends.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    match load(&text) {
        Ok(config) => printed(config),
        Err(errors) => told(&errors, &text),
    }
}

fn load(text: &str) -> Result<Config, Errors> {
    Config::load(Source::new(environment()).text("conf/sandmill.toml", text))
}

fn environment() -> [(String, String); 2] {
    VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// What is printed is a file that says the same, but for passwords, on which it does not depend.
fn printed(mut config: Config) {
    let shown = config.to_string();
    let debugged = format!("{config:?}");
    assert!(!shown.contains(SECRETS[1]) && !debugged.contains(SECRETS[1]), "a variable is shown:\n{shown}");
    let again = load_printed(&shown).unwrap_or_else(|errors| panic!("{errors}\n\n{shown}"));
    assert!(!config.pipelines.is_empty());
    assert_hidden(&again, &shown);

    // Another password each: those that were the same still are.
    change_hidden(&mut config, &again, |password| format!("{password} or another"));
    assert_eq!(config.to_string(), shown, "a password decides what is printed");
    assert_eq!(format!("{config:?}"), debugged, "a password decides what is shown");

    change_hidden(&mut config, &again, |_| REDACTED.to_owned());
    assert_eq!(again, config, "\n{shown}");
}

/// As [`load`], for a file whose paths are complete.
fn load_printed(text: &str) -> Result<Config, Errors> {
    Config::load(Source::new(environment()).text("sandmill.toml", text))
}

/// The printed file says of each password only that there is one, or which variable has it.
fn assert_hidden(again: &Config, shown: &str) {
    let all = std::iter::once(&again.kafka).chain(again.pipelines.iter().map(|one| &one.kafka));
    for (name, value) in all.flat_map(ClientProperties::iter).filter(|(name, _)| is_secret(name)) {
        let referred = VARIABLES.iter().any(|(_, known)| *known == value);
        assert!(value == REDACTED || referred, "{name} is shown:\n{shown}");
    }
}

/// Changes the passwords that the printed file does not have.
fn change_hidden(config: &mut Config, again: &Config, change: impl Fn(&str) -> String) {
    let all = std::iter::once(&mut config.kafka).chain(config.pipelines.iter_mut().map(|one| &mut one.kafka));
    let others = std::iter::once(&again.kafka).chain(again.pipelines.iter().map(|one| &one.kafka));
    for (mine, other) in all.zip(others) {
        let hidden = other.iter().filter(|(name, value)| is_secret(name) && *value == REDACTED);
        for (name, _) in hidden {
            let password = mine.get(name).map(&change).unwrap_or_default();
            mine.set(name, password);
        }
    }
}

/// What anybody would take for a password.
fn is_secret(name: &str) -> bool {
    ["password", "passphrase", "secret", "key.pem", "oauthbearer.config"]
        .iter()
        .any(|word| name.contains(word))
}

/// Each error names a place that there is, and says what to do in one line without a password.
fn told(errors: &Errors, text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    assert!(errors.iter().next().is_some(), "no reason");
    for error in errors.iter() {
        match error.at() {
            Origin::File { name, line, column } => {
                assert_eq!(**name, *Path::new("conf/sandmill.toml"));
                let there = line.checked_sub(1).and_then(|line| lines.get(line));
                let end = there.unwrap_or_else(|| panic!("no such line: {error}")).chars().count() + 1;
                assert!((1..=end).contains(column), "no such column: {error}");
            }
            // What is missing as a whole has no place.
            Origin::Nowhere => assert!(error.message().contains("; add "), "no place: {error}"),
            Origin::Environment(_) | Origin::Flag(_) => panic!("neither was given: {error}"),
        }
        assert!(!error.message().is_empty());
        assert!(!error.message().chars().any(char::is_control), "not one line: {error:?}");
    }
    let told = errors.to_string();
    assert!(!told.contains(SECRETS[1]) || text.contains(SECRETS[1]), "{told}");
    assert!(!told.contains(SECRETS[0]) || !is_password(&lines), "{told}\n\n{text}");
}

/// Whether the secret is written as a password and as nothing else: of a property that there is, or of none.
fn is_password(lines: &[&str]) -> bool {
    let mut with = lines.iter().filter(|line| line.contains(SECRETS[0]));
    with.all(|line| {
        let (name, value) = line.split_once(" = ").unwrap_or_default();
        let is_name = name.starts_with('"') && name.ends_with("password\"");
        is_name && value.trim_end() == format!("{:?}", SECRETS[0])
    })
}
