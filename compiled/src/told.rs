//! What a guest answered, told while its call still runs.
//!
//! A call ends in three steps: the guest returns, its answer is copied out (lifted), and a function of the guest frees
//! what the answer lay in. That last step is the guest's code as well. It may compute without end and be interrupted, and
//! all the while the copy exists and nobody who watches the call can see it. So lifting a [`Told`] leaves its size
//! behind for whoever interrupts the guest next, on the same thread.

use std::cell::Cell;

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift};

/// What knows how much memory a copy of it takes.
pub trait Weigh {
    /// Bytes.
    fn bytes(&self) -> usize;
}

/// A value that a guest returns, and of which the host hears when it is lifted.
#[derive(Clone, Copy, Debug)]
pub struct Told<T>(pub T);

thread_local! {
    static LIFTED: Cell<usize> = const { Cell::new(0) };
}

/// Bytes of the value that was lifted last on this thread, and forgets them.
///
/// No guest runs between lifting a value and the next tick of the epoch in its call, or the end of its call: who takes
/// the size at both, and at the beginning of each call, knows whose it is.
#[must_use]
pub fn take_lifted() -> usize {
    LIFTED.take()
}

fn told<T: Weigh>(value: T) -> Told<T> {
    LIFTED.set(value.bytes());
    Told(value)
}

// SAFETY: everything that describes the type's form is that of `T`, which keeps the rules of the trait: `Told` is lifted
// by lifting a `T`, and never lowered.
#[expect(unsafe_code, reason = "wasmtime has no other way to hear of a value that is lifted")]
unsafe impl<T: ComponentType> ComponentType for Told<T> {
    type Lower = T::Lower;

    const ABI: CanonicalAbiInfo = T::ABI;
    const IS_RUST_UNIT_TYPE: bool = T::IS_RUST_UNIT_TYPE;
    const MAY_REQUIRE_REALLOC: bool = T::MAY_REQUIRE_REALLOC;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        T::typecheck(ty, types)
    }
}

// SAFETY: both functions hand on what they are given to those of `T`, whose type-check was passed, and wrap what these
// return.
#[expect(unsafe_code, reason = "see above")]
unsafe impl<T: Lift + Weigh> Lift for Told<T> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> wasmtime::Result<Self> {
        T::linear_lift_from_flat(cx, ty, src).map(told)
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        T::linear_lift_from_memory(cx, ty, bytes).map(told)
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::{Component, Linker};
    use wasmtime::{Engine, Store};

    use super::*;

    impl Weigh for String {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    impl Weigh for u32 {
        fn bytes(&self) -> usize {
            4
        }
    }

    /// A component whose `text` returns `hello`, out of memory, and whose `number` returns 7, in a register.
    const GUEST: &str = r#"(component
        (core module $m
            (memory (export "memory") 1)
            (data (i32.const 8) "\10\00\00\00\05\00\00\00hello")
            (func (export "text") (result i32) (i32.const 8))
            (func (export "number") (result i32) (i32.const 7)))
        (core instance $i (instantiate $m))
        (func (export "text") (result string)
            (canon lift (core func $i "text") (memory (core memory $i "memory"))))
        (func (export "number") (result u32) (canon lift (core func $i "number"))))"#;

    #[test]
    fn what_is_lifted_is_told_and_is_what_it_would_be() {
        let engine = Engine::default();
        let component =
            Component::new(&engine, wat::parse_str(GUEST).expect("it is text")).expect("it is one");
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &component).expect("it imports nothing");
        let text = instance.get_typed_func::<(), (Told<String>,)>(&mut store, "text").expect("it is there");
        let number = instance.get_typed_func::<(), (Told<u32>,)>(&mut store, "number").expect("it is there");
        assert_eq!(take_lifted(), 0);
        let (Told(said),) = text.call(&mut store, ()).expect("it returns");
        assert_eq!((said.as_str(), take_lifted(), take_lifted()), ("hello", 5, 0));
        let (Told(seven),) = number.call(&mut store, ()).expect("it returns");
        assert_eq!((seven, take_lifted()), (7, 4));
        assert!(instance.get_typed_func::<(), (Told<u32>,)>(&mut store, "text").is_err(), "it is checked");
    }
}
