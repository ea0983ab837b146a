;; Answers a marked record (`!…`) with places and lengths that say more than there is. What follows the mark says which; every
;; other record is done without an output. A core module; the harness adds the contract's `component-type` section.
;;
;; `!same`     a hundred failures, and both columns of bytes, all with the same megabyte: 102 MiB, if somebody copies them
;; `!length`   a column of 2^32 - 1 entries
;; `!outside`  a column that begins 16 bytes before the end of the address space
;; `!crooked`  an answer at an odd address, where none can begin
(module
  (memory (export "memory") 20)
  (global $next (mut i32) (i32.const 65536))

  ;; Arguments are allocated one behind the other, anew in each call.
  (func $allocate (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32)
    (result i32)
    (local $place i32)
    (local.set $place (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $place) (local.get $size)))
    (local.get $place))

  ;; The byte behind the exclamation mark of the first value that begins with one; 0: there is none.
  (func $mark (param $batch i32) (result i32)
    (local $record i32) (local $start i32) (local $end i32) (local $value i32)
    (block $none
      (loop $next_record
        (br_if $none (i32.ge_u (local.get $record) (i32.load offset=56 (local.get $batch))))
        (local.set $end
          (i32.load (i32.add (i32.load offset=52 (local.get $batch)) (i32.shl (local.get $record) (i32.const 2)))))
        (if (i32.lt_u (local.get $start) (local.get $end))
          (then
            (local.set $value (i32.add (i32.load offset=44 (local.get $batch)) (local.get $start)))
            (if (i32.eq (i32.load8_u (local.get $value)) (i32.const 33))
              (then (return (i32.load8_u offset=1 (local.get $value)))))))
        (local.set $start (local.get $end))
        (local.set $record (i32.add (local.get $record) (i32.const 1)))
        (br $next_record)))
    (i32.const 0))

  ;; Zeros at 1024 are an empty answer, and a start that went well. The one at 2048 is written to.
  (func (export "sandmill:handler/process@0.1.0#start") (param i32 i32) (result i32) (i32.const 1024))

  ;; A column, or any other list, at this place of the answer.
  (func $list (param $place i32) (param $pointer i32) (param $length i32)
    (i32.store (local.get $place) (local.get $pointer))
    (i32.store offset=4 (local.get $place) (local.get $length)))

  ;; A hundred failures at 4096, of 32 bytes each. Their messages are the memory's last megabyte.
  (func $failures
    (local $place i32)
    (local.set $place (i32.const 4096))
    (loop $next_failure
      (call $list (i32.add (local.get $place) (i32.const 24)) (i32.const 0x40000) (i32.const 0x100000))
      (local.set $place (i32.add (local.get $place) (i32.const 32)))
      (br_if $next_failure (i32.lt_u (local.get $place) (i32.const 7296)))))

  (func (export "sandmill:handler/process@0.1.0#handle") (param $batch i32) (result i32)
    (local $mark i32)
    (local.set $mark (call $mark (local.get $batch)))
    (if (i32.eqz (local.get $mark)) (then (return (i32.const 1024))))
    (if (i32.eq (local.get $mark) (i32.const 115)) ;; s
      (then
        (i32.store (i32.const 2080) (i32.const 1))
        (call $list (i32.const 2084) (i32.const 0x40000) (i32.const 0x100000))
        (call $list (i32.const 2104) (i32.const 0x40000) (i32.const 0x100000))
        (call $failures)
        (call $list (i32.const 2200) (i32.const 4096) (i32.const 100))))
    (if (i32.eq (local.get $mark) (i32.const 108)) ;; l
      (then (call $list (i32.const 2048) (i32.const 4096) (i32.const -1))))
    (if (i32.eq (local.get $mark) (i32.const 111)) ;; o
      (then (call $list (i32.const 2104) (i32.const -16) (i32.const 32))))
    (if (i32.eq (local.get $mark) (i32.const 99)) ;; c
      (then (return (i32.const 2049))))
    (i32.const 2048))
  (func (export "cabi_post_sandmill:handler/process@0.1.0#handle") (param i32)
    (global.set $next (i32.const 65536))))
