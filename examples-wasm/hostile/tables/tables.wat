;; Grows its table without end on a marked record (`!…`), and gives up when it is denied; every other record is done
;; without an output. A core module; the harness adds the contract's `component-type` section.
(module
  (memory (export "memory") 10)
  (global $next (mut i32) (i32.const 65536))

  ;; Arguments are allocated one behind the other, anew in each call.
  (func $allocate (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
    (result i32)
    (local $place i32)
    (local.set $place (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $place) (local.get $size)))
    (local.get $place))

  ;; Whether a value of the batch begins with an exclamation mark.
  (func $is_marked (param $batch i32) (result i32)
    (local $record i32) (local $start i32) (local $end i32)
    (block $none
      (loop $next_record
        (br_if $none (i32.ge_u (local.get $record) (i32.load offset=56 (local.get $batch))))
        (local.set $end
          (i32.load (i32.add (i32.load offset=52 (local.get $batch)) (i32.shl (local.get $record) (i32.const 2)))))
        (if (i32.lt_u (local.get $start) (local.get $end))
          (then
            (if (i32.eq (i32.load8_u (i32.add (i32.load offset=44 (local.get $batch)) (local.get $start))) (i32.const 33))
              (then (return (i32.const 1))))))
        (local.set $start (local.get $end))
        (local.set $record (i32.add (local.get $record) (i32.const 1)))
        (br $next_record)))
    (i32.const 0))

  ;; Zeros at 1024 are an empty answer, and a start that went well.
  (func (export "sandmill:handler/process@0.1.0#start") (param i32 i32) (result i32) (i32.const 1024))
  (table $table 1 funcref)
  (func (export "sandmill:handler/process@0.1.0#handle") (param $batch i32) (result i32)
    (if (call $is_marked (local.get $batch))
      (then
        (loop $more
          (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
        unreachable))
    (i32.const 1024))
  (func (export "cabi_post_sandmill:handler/process@0.1.0#handle") (param i32)
    (global.set $next (i32.const 65536))))
