;; A component whose module shares its memory with threads, which no host allows: refused when it is compiled, before its
;; exports are looked at. The list of features that are on is explicit; all others are refused in this way.
(component
  (core module $shares
    (memory (export "memory") 1 16 shared)
    (func (export "f") (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))))
  (core instance $shares (instantiate $shares))
  (func $f (canon lift (core func $shares "f")))
  (instance $process (export "f" (func $f)))
  (export "sandmill:handler/process@0.1.0" (instance $process)))
