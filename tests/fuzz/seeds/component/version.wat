;; Versions that are none: an import at version 0.
(component
  (import "windlass:plugin/log@0.1.0" (instance))
  (import "wasi:io/poll@0.2.0+b" (instance)))
