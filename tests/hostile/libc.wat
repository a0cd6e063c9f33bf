(core module $libc
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 8192))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    ;; first
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get 3) (i32.const 65536)) (i32.const 1))))))
    (local.get $at)))
(core instance $libc (instantiate $libc))
