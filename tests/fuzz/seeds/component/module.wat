;; A module is no component.
(module (func (export "run")))
