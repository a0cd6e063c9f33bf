;; It says what it is, and its handler is of the wrong type.
(component
  (core module $m
    (memory (export "memory") 1)
    (data (i32.const 16) "{\"title\":\"T\",\"payload_schema\":{\"type\":\"object\"}}")
    (data (i32.const 8) "\10\00\00\00\30\00\00\00")
    (func (export "describe") (result i32) (i32.const 8))
    (func (export "run")))
  (core instance $m (instantiate $m))
  (func $describe (result string) (canon lift (core func $m "describe") (memory (core memory $m "memory"))))
  (func $run (canon lift (core func $m "run")))
  (instance $metadata (export "describe" (func $describe)))
  (instance $handler (export "run" (func $run)))
  (export "windlass:plugin/metadata@0.1.0" (instance $metadata))
  (export "windlass:plugin/handler@0.1.0" (instance $handler)))
