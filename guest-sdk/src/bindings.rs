//! What wit-bindgen makes of `wit/`: plain structs of the columns, and the canonical ABI around them.
//! Nothing outside [`raw`](crate::raw) and the export glue names this module.

// Generated code: its documentation is the contract's, and its unsafe blocks are wit-bindgen's.
#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks)]

wit_bindgen::generate!({
    path: "../wit",
    world: "handler",
    pub_export_macro: true,
    export_macro_name: "export_handler",
    default_bindings_module: "sandmill_guest::bindings",
    additional_derives: [Clone, PartialEq],
    additional_type_attributes: {
        "sandmill:handler/types@0.1.0/header-columns": [#[derive(Default)]],
        "sandmill:handler/types@0.1.0/batch": [#[derive(Default)]],
        "sandmill:handler/types@0.1.0/outputs": [#[derive(Default)]],
        "sandmill:handler/types@0.1.0/answer": [#[derive(Default)]],
    },
    generate_all,
});
