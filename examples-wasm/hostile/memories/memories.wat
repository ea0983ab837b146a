;; A component with three memories. Where each memory is counted alone, many of them take many times what one may have. A
;; host gives two to a component, and sums them: this one is refused at load.
(component
  (core module $one (memory (export "memory") 1 65536))
  (core module $with
    (memory 1 65536)
    (func (export "f") (drop (memory.grow (i32.const 1000)))))
  (core instance (instantiate $one))
  (core instance (instantiate $one))
  (core instance $with (instantiate $with))
  (func $f (canon lift (core func $with "f")))
  (instance $process (export "f" (func $f)))
  (export "sandmill:handler/process@0.1.0" (instance $process)))
