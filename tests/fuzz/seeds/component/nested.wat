;; Components in a component, names of every kind, and an import that nobody has.
(component $outer
  (import "acme:kv/store@1.0.0" (instance (export "get" (func (param "key" string) (result (option string))))))
  (import "wasi:http/client@0.3.0" (instance))
  (import "wasi:io/poll@0.2.0-rc-2026" (instance))
  (component $inner
    (component $innermost (component $empty) (instance $none (instantiate $empty)) (export "nothing" (instance $none)))
    (instance (instantiate $innermost)))
  (instance $i (instantiate $inner))
  (export "wasi:cli/run@0.2.3" (instance $i)))
