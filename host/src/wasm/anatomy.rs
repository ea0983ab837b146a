//! What a file is, read from its sections before anything of it is compiled.
//!
//! Whoever sent the file chose every byte of it, so this reads names and counts only, allocates little, and
//! believes nothing that validation has not seen yet.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

/// What a file may be, before anything of it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// Its bytes; a larger one is not looked at.
    pub size: usize,
    /// Its functions, all nested modules together.
    pub functions: usize,
}

impl Default for FileLimits {
    /// CPython has about 12,000 functions in 30 MiB.
    fn default() -> Self {
        FileLimits { size: 64 << 20, functions: 200_000 }
    }
}

/// Most imports and exports that are listed; no honest module comes near.
const NAMES: usize = 2_000;

/// The two kinds of modules that this host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A component, as targets like `wasm32-wasip2` make.
    Component,
    /// A core module, as `wasm32-wasip1` makes; it is turned into a component when it is loaded.
    CoreModule,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Component => "component",
            Kind::CoreModule => "core module",
        })
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Unreadable {
    #[error("it has {size} bytes, more than the {limit} that this host allows: raise `host.module_size`")]
    TooLarge { size: u64, limit: usize },
    #[error("it is no WebAssembly: a module begins with the bytes `\\0asm`")]
    NotWasm,
    #[error("it is WebAssembly in text form: turn it into binary form, with `wasm-tools parse`")]
    Text,
    #[error("it is neither a core module nor a component: its version field says {0:#010x}")]
    Version(u32),
    #[error("it is cut short: it ends in the middle of a section")]
    Truncated,
    #[error("it is damaged: {0}")]
    Damaged(String),
    #[error("it has more than the {limit} functions that this host allows: raise `host.module_functions`")]
    TooManyFunctions { limit: usize },
    #[error("it has more than {NAMES} imports or exports")]
    TooManyNames,
}

/// What the sections of a file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anatomy {
    pub(crate) kind: Kind,
    /// Names of what it imports; of a core module, `module::name`.
    pub(crate) imports: Vec<String>,
    /// Names of what it exports.
    pub(crate) exports: Vec<String>,
    /// Functions of all core modules in it.
    pub(crate) functions: usize,
    /// Whether a tool left the type of the component in a core module.
    pub(crate) has_component_type: bool,
    /// Languages and tools that say they made it, with versions.
    pub(crate) producers: Vec<String>,
}

/// Reads the sections of `bytes`.
pub(crate) fn read(bytes: &[u8], limits: &FileLimits) -> Result<Anatomy, Unreadable> {
    limits.check_size(bytes.len() as u64)?;
    let mut anatomy = Anatomy {
        kind: kind(bytes)?,
        imports: Vec::new(),
        exports: Vec::new(),
        functions: 0,
        has_component_type: false,
        producers: Vec::new(),
    };
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| unreadable(&error))?;
        match payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CodeSectionStart { count, .. } => anatomy.functions += count as usize,
            _ => {}
        }
        if anatomy.functions > limits.functions {
            return Err(Unreadable::TooManyFunctions { limit: limits.functions });
        }
        if depth == 1 {
            anatomy.note(payload).map_err(|error| unreadable(&error))?;
        } else if let Payload::CustomSection(section) = payload
            && section.name() == "producers"
        {
            // Of a component, the nested modules say what made it.
            anatomy.note_producers(section.data(), section.data_offset());
        }
        if anatomy.imports.len().max(anatomy.exports.len()) > NAMES {
            return Err(Unreadable::TooManyNames);
        }
    }
    anatomy.producers.sort_unstable();
    anatomy.producers.dedup();
    Ok(anatomy)
}

impl FileLimits {
    /// Whether a file of `size` bytes may be looked at.
    ///
    /// # Errors
    /// [`Unreadable::TooLarge`]
    pub fn check_size(&self, size: u64) -> Result<(), Unreadable> {
        if size > self.size as u64 { Err(Unreadable::TooLarge { size, limit: self.size }) } else { Ok(()) }
    }
}

impl Anatomy {
    /// The version of the contract of which it exports `process`.
    pub(crate) fn contract(&self) -> Option<&str> {
        let exported = |name: &'_ String| name.starts_with(super::capability::PROCESS);
        let name = self.exports.iter().find(|&name| exported(name))?;
        // A core module's exports end in `#function`.
        let interface = name.split_once('#').map_or(name.as_str(), |(interface, _)| interface);
        match interface.strip_prefix(super::capability::PROCESS)?.strip_prefix('@') {
            Some(version) => Some(version),
            None => Some("without a number"),
        }
    }

    /// Whether it was started and frozen when it was built, its random seeds with it.
    pub(crate) fn is_preinitialised(&self) -> bool {
        self.producers.iter().any(|producer| producer.contains("wizer"))
    }

    fn note(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.imports.push(import?.name.full_name().into_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.full_name().into_owned());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    self.imports.push(format!("{}::{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                self.has_component_type = true;
            }
            Payload::CustomSection(section) if section.name() == "producers" => {
                self.note_producers(section.data(), section.data_offset());
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads a `producers` section; one that is damaged says nothing.
    fn note_producers(&mut self, data: &[u8], offset: u64) {
        /// As many as are shown.
        const SHOWN: usize = 32;
        let reader = wasmparser::BinaryReader::new(data, offset);
        let Ok(fields) = wasmparser::ProducersSectionReader::new(reader) else { return };
        for value in fields.into_iter().flatten().flat_map(|field| field.values).flatten() {
            if self.producers.len() < SHOWN {
                let (name, version) = (value.name, value.version);
                self.producers.push(if version.is_empty() {
                    name.to_owned()
                } else {
                    format!("{name} {version}")
                });
            }
        }
    }
}

/// What the first eight bytes say.
fn kind(bytes: &[u8]) -> Result<Kind, Unreadable> {
    let Some(header) = bytes.first_chunk::<8>() else {
        let starts_right = !bytes.is_empty() && b"\0asm".starts_with(&bytes[..bytes.len().min(4)]);
        return Err(if starts_right { Unreadable::Truncated } else { Unreadable::NotWasm });
    };
    if !header.starts_with(b"\0asm") {
        let text = bytes.trim_ascii_start();
        let is_text =
            text.starts_with(b"(module") || text.starts_with(b"(component") || text.starts_with(b";;");
        return Err(if is_text { Unreadable::Text } else { Unreadable::NotWasm });
    }
    if Parser::is_component(bytes) {
        Ok(Kind::Component)
    } else if Parser::is_core_wasm(bytes) {
        Ok(Kind::CoreModule)
    } else {
        let [_, _, _, _, version @ ..] = *header;
        Err(Unreadable::Version(u32::from_le_bytes(version)))
    }
}

pub(super) fn unreadable(error: &wasmparser::BinaryReaderError) -> Unreadable {
    if error.message().starts_with("unexpected end") {
        Unreadable::Truncated
    } else {
        Unreadable::Damaged(super::text::clean(&error.to_string(), 300))
    }
}
