;; A component that exports nothing: no handler, and refused at load.
(component)
