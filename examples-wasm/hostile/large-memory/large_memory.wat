;; Declares a memory of 4 GiB, so that it has it before anybody calls it: denied while an instance is made. A core module;
;; the harness adds the contract's `component-type` section.
(module
  (memory (export "memory") 65536)
  (global $next (mut i32) (i32.const 65536))

  ;; Arguments are allocated one behind the other, anew in each call.
  (func $allocate (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
    (result i32)
    (local $place i32)
    (local.set $place (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $place) (local.get $size)))
    (local.get $place))

  ;; Zeros at 1024 are an empty answer, and a start that went well.
  (func (export "sandmill:handler/process@0.1.0#start") (param i32 i32) (result i32) (i32.const 1024))
  (func (export "sandmill:handler/process@0.1.0#handle") (param $batch i32) (result i32)
    (i32.const 1024))
  (func (export "cabi_post_sandmill:handler/process@0.1.0#handle") (param i32)
    (global.set $next (i32.const 65536))))
