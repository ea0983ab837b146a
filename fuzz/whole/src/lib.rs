//! What needs the whole host, and what must hold of it for any input.
//!
//! As in `sandmill-fuzz`, a check takes any bytes and panics where a promise breaks. These run the Wasm engine or the
//! HTTP server, which would take minutes to compile for libFuzzer; so their inputs are drawn by a seeded generator that
//! knows what it makes, and guided by what the host says: an input after which it says something new is kept, and
//! changed later ([`search`]).
//!
//! - [`module`]: any bytes as a module are refused with a reason, or become a handler whose calls end in one of the
//!   outcomes that there are, within their limits;
//! - [`lift`]: any bytes in a guest's memory as an answer are taken or refused, and nothing else happens;
//! - [`http`]: any bytes on a connection leave a server that answers.
//!
//! `cargo xtask fuzz` runs them as the other targets; `tests/seeds.rs` runs the kept inputs and some drawn ones in every
//! test run.

pub mod guests;
pub mod http;
pub mod lift;
pub mod module;
pub mod panics;
pub mod sandbox;
pub mod search;

use fastrand::Rng;

/// What is checked for any input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder of its seeds.
    pub name: &'static str,
    /// Panics where a promise breaks; gives what the host said, in few words that tell kinds of inputs apart.
    pub check: fn(&[u8]) -> String,
    /// Draws an input; the slice has earlier ones that led somewhere.
    pub draw: fn(&mut Rng, &[Vec<u8>]) -> Vec<u8>,
}

/// All of them.
pub const TARGETS: [Target; 3] = [
    Target { name: "module", check: module::check, draw: module::draw },
    Target { name: "lift", check: lift::check, draw: lift::draw },
    Target { name: "http", check: http::check, draw: http::draw },
];

/// Changes a few bytes, or cuts, or puts a part of another input in.
pub fn change(random: &mut Rng, input: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=random.usize(..6) {
        let place = random.usize(..=input.len());
        match random.u8(..8) {
            0 if random.bool() => input.truncate(place),
            1 if place < input.len() => drop(input.remove(place)),
            2 => input.insert(place, random.u8(..)),
            3 if !others.is_empty() => {
                let other = &others[random.usize(..others.len())];
                let (from, to) = (random.usize(..=other.len()), random.usize(..=other.len()));
                let part = &other[from.min(to)..from.max(to).min(from.min(to) + 4_096)];
                drop(input.splice(place..place, part.iter().copied()));
            }
            4 if place < input.len() => {
                // A part of itself, again.
                let end = (place + random.usize(..64)).min(input.len());
                let part = input[place..end].to_vec();
                drop(input.splice(place..place, part));
            }
            5 if place < input.len() => input[place] ^= 1 << random.u8(..8),
            _ if place < input.len() => input[place] = random.u8(..),
            _ => input.push(random.u8(..)),
        }
    }
}

/// What was said, without the numbers and names that each input has others of.
pub fn kind_of(said: &str) -> String {
    let mut kind = String::new();
    let mut quoted = false;
    // Places are numbers, of letters too.
    let said = said.split(" (at offset").next().unwrap_or_default();
    for character in said.chars() {
        match character {
            '`' | '"' => quoted = !quoted,
            _ if quoted || character.is_ascii_digit() => {}
            _ => kind.push(character),
        }
    }
    kind.truncate(kind.floor_char_boundary(100));
    kind
}
