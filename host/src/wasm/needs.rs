//! What a component asks for before it runs, counted from its sections, and whether it may have it.
//!
//! Places for instances are made ready when the host starts, for as many core instances, memories and tables as the
//! configuration says; a component that needs more could never run. So it is refused when it is loaded, with the limit
//! and its key. The sandbox's pool counts again: what it refuses and this count does not, for modules that the sandbox
//! itself adds between components, is refused as well.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Encoding, Instance, Parser, Payload,
};

use super::anatomy::{Unreadable, unreadable};

/// Bytes of a page of memory.
const PAGE: u64 = 64 << 10;
/// Bytes that an element of a table takes.
const ELEMENT: u64 = size_of::<usize>() as u64;

/// What a component asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Core instances of which it is made.
    pub core_instances: u64,
    /// Its linear memories.
    pub memories: u64,
    /// Its tables.
    pub tables: u64,
    /// Elements of its largest table, to start with.
    pub table_elements: u64,
    /// Bytes of memories and tables to start with.
    pub memory: u64,
    /// Bytes that its memories ever grow to, by its own word; absent: it says nothing.
    pub memory_at_most: Option<u64>,
}

/// What a component may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentLimits {
    /// Core instances of which it may be made.
    pub core_instances: u32,
    /// Its linear memories.
    pub memories: u32,
    /// Its tables.
    pub tables: u32,
}

impl Default for ComponentLimits {
    /// As far as Python needs.
    fn default() -> Self {
        ComponentLimits { core_instances: 16, memories: 2, tables: 16 }
    }
}

/// A limit that a component exceeds before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Limit {
    CoreInstances,
    Memories,
    Tables,
    TableElements,
    Memory,
}

/// What a component asks for and may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooMuch {
    /// Of what.
    pub limit: Limit,
    /// What it asks for.
    pub asks: u64,
    /// What it may have.
    pub allowed: u64,
}

impl std::error::Error for TooMuch {}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooMuch { limit, asks, allowed } = self;
        let (what, key) = match limit {
            Limit::CoreInstances => ("core instances", "core_instances"),
            Limit::Memories => ("linear memories", "memories"),
            Limit::Tables => ("tables", "tables"),
            Limit::Memory => ("bytes of memory to start with", "memory"),
            Limit::TableElements => {
                return write!(
                    f,
                    "the module has a table of {asks} elements, more than the {allowed} that this host has room for"
                );
            }
        };
        write!(
            f,
            "the module asks for {asks} {what}, more than the {allowed} that its pipeline allows: raise `limits.{key}`"
        )
    }
}

impl Needs {
    /// Whether a pipeline with these limits, and `memory` bytes for an instance, can have it.
    ///
    /// # Errors
    /// The first limit that it exceeds.
    pub fn check(&self, limits: &ComponentLimits, memory: u64) -> Result<(), TooMuch> {
        let each = [
            (Limit::CoreInstances, self.core_instances, limits.core_instances.into()),
            (Limit::Memories, self.memories, limits.memories.into()),
            (Limit::Tables, self.tables, limits.tables.into()),
            (Limit::TableElements, self.table_elements, super::engine::TABLE_ELEMENTS as u64),
            (Limit::Memory, self.memory, memory),
        ];
        let exceeded = each.into_iter().find(|(_, asks, allowed)| asks > allowed);
        exceeded.map_or(Ok(()), |(limit, asks, allowed)| Err(TooMuch { limit, asks, allowed }))
    }

    /// All of `other` on top. Sums saturate: a component may say that it makes another one so often that no number
    /// holds it.
    fn add(&mut self, other: &Needs) {
        self.core_instances = self.core_instances.saturating_add(other.core_instances);
        self.memories = self.memories.saturating_add(other.memories);
        self.tables = self.tables.saturating_add(other.tables);
        self.table_elements = self.table_elements.max(other.table_elements);
        self.memory = self.memory.saturating_add(other.memory);
        self.memory_at_most =
            self.memory_at_most.zip(other.memory_at_most).map(|(one, two)| one.saturating_add(two));
    }
}

/// A component or module whose sections are being read, and what of the same kind it can name by number.
struct Open {
    encoding: Encoding,
    needs: Needs,
    modules: Vec<Needs>,
    components: Vec<Needs>,
}

/// What a module is reckoned with that comes from outside, and so is not known.
const UNKNOWN: Needs = Needs {
    core_instances: 1,
    memories: 0,
    tables: 0,
    table_elements: 0,
    memory: 0,
    memory_at_most: Some(0),
};

/// Counts what `component` asks for.
pub(super) fn of_component(component: &[u8]) -> Result<Needs, Unreadable> {
    let mut open: Vec<Open> = Vec::new();
    let mut whole = Needs::default();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| unreadable(&error))?;
        match payload {
            Payload::Version { encoding, .. } => {
                // A module is one core instance each time that it is made one.
                let core_instances = u64::from(encoding == Encoding::Module);
                let needs = Needs { core_instances, memory_at_most: Some(0), ..Needs::default() };
                open.push(Open { encoding, needs, modules: Vec::new(), components: Vec::new() });
            }
            Payload::End(_) => {
                let Some(ended) = open.pop() else { continue };
                match (open.last_mut(), ended.encoding) {
                    (None, _) => whole = ended.needs,
                    (Some(parent), Encoding::Module) => parent.modules.push(ended.needs),
                    (Some(parent), Encoding::Component) => parent.components.push(ended.needs),
                }
            }
            payload => read(payload, &mut open).map_err(|error| unreadable(&error))?,
        }
    }
    Ok(whole)
}

fn read(payload: Payload<'_>, open: &mut [Open]) -> wasmparser::Result<()> {
    let Some((this, outer)) = open.split_last_mut() else { return Ok(()) };
    match payload {
        Payload::MemorySection(section) => {
            for memory in section {
                let memory = memory?;
                let most = memory.maximum.map(|pages| pages.saturating_mul(PAGE));
                this.needs.add(&Needs {
                    memories: 1,
                    memory: memory.initial.saturating_mul(PAGE),
                    memory_at_most: most,
                    ..Needs::default()
                });
            }
        }
        Payload::TableSection(section) => {
            for table in section {
                let elements = table?.ty.initial;
                this.needs.add(&Needs {
                    tables: 1,
                    table_elements: elements,
                    memory: elements.saturating_mul(ELEMENT),
                    memory_at_most: Some(0),
                    ..Needs::default()
                });
            }
        }
        Payload::InstanceSection(section) => {
            for instance in section {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    let module = *this.modules.get(module_index as usize).unwrap_or(&UNKNOWN);
                    this.needs.add(&module);
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    let component =
                        this.components.get(component_index as usize).copied().unwrap_or_default();
                    this.needs.add(&component);
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section {
                match import?.ty {
                    ComponentTypeRef::Module(_) => this.modules.push(UNKNOWN),
                    ComponentTypeRef::Component(_) => this.components.push(Needs::default()),
                    _ => {}
                }
            }
        }
        // What is exported gets another number.
        Payload::ComponentExportSection(section) => {
            for export in section {
                let export = export?;
                let index = export.index as usize;
                match export.kind {
                    ComponentExternalKind::Module => {
                        this.modules.push(*this.modules.get(index).unwrap_or(&UNKNOWN));
                    }
                    ComponentExternalKind::Component => {
                        this.components.push(this.components.get(index).copied().unwrap_or_default());
                    }
                    _ => {}
                }
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section {
                match alias? {
                    ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                        this.modules.push(UNKNOWN);
                    }
                    ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                        this.components.push(Needs::default());
                    }
                    ComponentAlias::Outer { kind, count, index } => of_outer(this, outer, kind, count, index),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Gives a module or component of one that lies around this one another number.
fn of_outer(this: &mut Open, outer: &[Open], kind: ComponentOuterAliasKind, count: u32, index: u32) {
    let around = match count as usize {
        0 => &*this,
        count => match outer.len().checked_sub(count) {
            Some(at) => &outer[at],
            None => return,
        },
    };
    match kind {
        ComponentOuterAliasKind::CoreModule => {
            let module = *around.modules.get(index as usize).unwrap_or(&UNKNOWN);
            this.modules.push(module);
        }
        ComponentOuterAliasKind::Component => {
            let component = around.components.get(index as usize).copied().unwrap_or_default();
            this.components.push(component);
        }
        ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(text: &str) -> Needs {
        of_component(&wat::parse_str(text).expect("it is text")).expect("it can be read")
    }

    #[test]
    fn each_core_instance_counts_with_its_memories_and_tables() {
        let found = needs(
            "(component
                (core module $m (memory 2 5) (memory 1 1) (table 10 funcref))
                (core module $n (table 30 funcref))
                (core module $unused (memory 100))
                (core instance (instantiate $m))
                (core instance (instantiate $m))
                (core instance (instantiate $n)))",
        );
        assert_eq!((found.core_instances, found.memories, found.tables, found.table_elements), (3, 4, 3, 30));
        assert_eq!(found.memory, 6 * PAGE + 50 * ELEMENT);
        assert_eq!(found.memory_at_most, Some(12 * PAGE));
        let unbounded = needs("(component (core module $m (memory 1)) (core instance (instantiate $m)))");
        assert_eq!((unbounded.memory, unbounded.memory_at_most), (PAGE, None));
    }

    #[test]
    fn components_within_count_as_often_as_they_are_made_wherever_their_modules_come_from() {
        let found = needs(
            "(component
                (core module $m (memory 1))
                (component $inner
                    (alias outer 1 0 (core module $theirs))
                    (core instance (instantiate $theirs))
                    (core instance (instantiate $theirs)))
                (component $never (core module $k) (core instance (instantiate $k)))
                (instance (instantiate $inner))
                (instance (instantiate $inner)))",
        );
        assert_eq!((found.core_instances, found.memories), (4, 4));
    }

    #[test]
    fn a_component_that_doubles_itself_again_and_again_is_counted_without_end() {
        let inner = "(core module $m) (core instance (instantiate $m))".to_owned();
        let text = (0..70).fold(inner, |inner, _| {
            format!("(component $c {inner}) (instance (instantiate $c)) (instance (instantiate $c))")
        });
        assert_eq!(needs(&format!("(component {text})")).core_instances, u64::MAX);
    }

    #[test]
    fn what_is_too_much_is_named_with_its_key() {
        let limits = ComponentLimits { core_instances: 4, memories: 2, tables: 4 };
        let fits = Needs { core_instances: 4, memories: 2, tables: 4, memory: 100, ..Needs::default() };
        assert_eq!(fits.check(&limits, 100), Ok(()));
        for (needs, words) in [
            (
                Needs { core_instances: 5, ..fits },
                "5 core instances, more than the 4 that its pipeline allows: raise `limits.core_instances`",
            ),
            (
                Needs { memories: 3, ..fits },
                "3 linear memories, more than the 2 that its pipeline allows: raise `limits.memories`",
            ),
            (
                Needs { tables: 5, ..fits },
                "5 tables, more than the 4 that its pipeline allows: raise `limits.tables`",
            ),
            (
                Needs { memory: 101, ..fits },
                "101 bytes of memory to start with, more than the 100 that its pipeline allows: raise `limits.memory`",
            ),
            (Needs { table_elements: 100_001, ..fits }, "a table of 100001 elements, more than the 100000"),
        ] {
            let refused = needs.check(&limits, 100).expect_err("it is too much").to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
