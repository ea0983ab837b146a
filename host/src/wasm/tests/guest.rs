//! Guests for tests, from WebAssembly text.

/// The component type of the contract, as tool chains embed it in core modules.
pub(super) mod contract {
    #![allow(missing_docs, unused)]

    wasmtime::component::bindgen!({
        path: "../wit",
        world: "handler",
        include_component_type: true,
    });
}

/// A core module for wasm32-wasip1 that exports the contract's functions under their mangled names.
///
/// Memory: an answer of zeros, which is empty, lies at 1024, and another one to be written to at 2048; data for
/// columns may be put at 3072 and after; arguments are allocated from 64 KiB on, anew in each call.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    handle: String,
    start: String,
    after: String,
    extra: String,
    imports: String,
    pages: u32,
    version: &'static str,
    component_type: Option<&'static [u8]>,
}

/// Where the answer that [`Guest::answer`] builds lies.
pub(super) const ANSWER: u32 = 2048;

impl Guest {
    /// `handle` is the body of the function: it may use the local `$batch` and returns where the answer lies.
    pub(super) fn new(handle: &str) -> Self {
        Guest {
            handle: handle.to_owned(),
            start: "(i32.const 1024)".to_owned(),
            after: String::new(),
            extra: String::new(),
            imports: String::new(),
            pages: 2,
            version: "0.1.0",
            component_type: Some(contract::COMPONENT_TYPE),
        }
    }

    /// Another body of `handle`.
    pub(super) fn handle(mut self, handle: &str) -> Self {
        handle.clone_into(&mut self.handle);
        self
    }

    /// The body of `start`, which returns where its result lies.
    pub(super) fn start(mut self, start: &str) -> Self {
        start.clone_into(&mut self.start);
        self
    }

    /// What it does once its answer was copied out, before it frees that.
    pub(super) fn after(mut self, after: &str) -> Self {
        after.clone_into(&mut self.after);
        self
    }

    /// More definitions: globals, functions, tables, data.
    pub(super) fn with(mut self, extra: &str) -> Self {
        self.extra.push_str(extra);
        self
    }

    /// An import; these come first in a module.
    pub(super) fn import(mut self, module: &str, name: &str, function: &str) -> Self {
        self.imports.push_str(&format!("(import \"{module}\" \"{name}\" {function})"));
        self
    }

    /// Pages of memory that it starts with.
    pub(super) fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// The version of the contract in its exports.
    pub(super) fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Leaves out the custom section that says what the module's functions mean.
    pub(super) fn without_component_type(mut self) -> Self {
        self.component_type = None;
        self
    }

    /// Has another type than that of the contract, with more imports and exports.
    pub(super) fn component_type(mut self, component_type: &'static [u8]) -> Self {
        self.component_type = Some(component_type);
        self
    }

    /// A guest that answers with these columns of outputs and failures: pairs of a column's place in the
    /// answer and its data, with the number of entries.
    pub(super) fn answer(columns: &[(Column, &[u8], u32)]) -> Self {
        let mut guest = Guest::new(&format!("(i32.const {ANSWER})"));
        let mut place = 3072;
        for &(column, data, entries) in columns {
            let mut list = u32::to_le_bytes(place).to_vec();
            list.extend_from_slice(&entries.to_le_bytes());
            if column.is_optional() {
                list.splice(..0, [1, 0, 0, 0]);
            }
            guest = guest.with(&datum(ANSWER + column as u32, &list)).with(&datum(place, data));
            place += u32::try_from(data.len()).expect("test data is small").next_multiple_of(8);
        }
        guest
    }

    /// The module's bytes.
    pub(super) fn core_module(&self) -> Vec<u8> {
        let Guest { handle, start, after, extra, imports, pages, version, .. } = self;
        let text = format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (global $next (mut i32) (i32.const 65536))
                (func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32)
                    (result i32)
                    (local $place i32)
                    (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                    (local.set $place (global.get $next))
                    (global.set $next (i32.add (global.get $next) (local.get $len)))
                    (local.get $place))
                (func (export "sandmill:handler/process@{version}#start") (param i32 i32) (result i32) {start})
                (func (export "sandmill:handler/process@{version}#handle") (param $batch i32) (result i32) {handle})
                (func (export "cabi_post_sandmill:handler/process@{version}#handle") (param i32)
                    {after}
                    (global.set $next (i32.const 65536)))
                {extra}
            )"#
        );
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        if let Some(component_type) = self.component_type {
            custom_section(&mut module, "component-type:test", component_type);
        }
        module
    }

    /// The same as a component.
    pub(super) fn component(&self) -> Vec<u8> {
        let core = self.core_module();
        wit_component::ComponentEncoder::default()
            .module(&core)
            .and_then(|encoder| {
                encoder.adapter(
                    wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                    wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
                )
            })
            .and_then(wit_component::ComponentEncoder::encode)
            .expect("the guest becomes a component")
    }
}

/// Where a column lies in an answer: its address and length, or, of an optional one, a word that says whether
/// these follow.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Column {
    Inputs = 0,
    Destinations = 8,
    Keys = 32,
    KeyEnds = 44,
    Values = 56,
    ValueEnds = 64,
    Flags = 72,
    Failures = 152,
}

impl Column {
    fn is_optional(self) -> bool {
        matches!(self, Column::Destinations | Column::Keys | Column::KeyEnds | Column::Flags)
    }
}

/// A data segment.
pub(super) fn datum(place: u32, bytes: &[u8]) -> String {
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(data (i32.const {place}) \"{escaped}\")")
}

/// Appends a custom section.
pub(super) fn custom_section(module: &mut Vec<u8>, name: &str, data: &[u8]) {
    fn number(bytes: &mut Vec<u8>, mut number: usize) {
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
    }
    let mut content = Vec::new();
    number(&mut content, name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    module.push(0);
    number(module, content.len());
    module.extend_from_slice(&content);
}
