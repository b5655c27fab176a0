;; One transposed convolution of stride 2, four floats at a time; networks.js says how it is used.
;; Assembled by wasmtime.wat2wasm(text), in Python.
;;
;; y[row, column] += x[pixel] W for all pixels (row, column) of x and all rows ky of the kernel: the
;; outputs that a pixel reaches in one row of y are neighbours, n = kernel * outputs floats. W is
;; sorted (ky, block of 16 outputs, input, 16), so that it is read in the order it lies in.
(module
  (import "js" "memory" (memory 1))
  (func (export "transposed")
    (param $x i32)       ;; address of x, (size, size, inputs) float32
    (param $w i32)       ;; address of W
    (param $y i32)       ;; address of y: row by row, `stride` bytes each
    (param $size i32) (param $inputs i32) (param $kernel i32)
    (param $blocks i32)  ;; blocks of 16 floats: n / 16, rounded up
    (param $stride i32)  ;; bytes from one row of y to the next
    (param $step i32)    ;; bytes from a pixel's first output to its neighbour's
    (local $row i32) (local $column i32) (local $ky i32) (local $block i32) (local $i i32)
    (local $pixel i32) (local $weight i32) (local $to i32) (local $value v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local.set $row (i32.const 0))
    (loop $rows
      (local.set $column (i32.const 0))
      (loop $columns
        (local.set $pixel (i32.add (local.get $x) (i32.mul
          (i32.add (i32.mul (local.get $row) (local.get $size)) (local.get $column))
          (i32.shl (local.get $inputs) (i32.const 2)))))
        (local.set $weight (local.get $w))
        (local.set $ky (i32.const 0))
        (loop $kernel_rows
          (local.set $to (i32.add (local.get $y) (i32.add
            (i32.mul (i32.add (i32.shl (local.get $row) (i32.const 1)) (local.get $ky)) (local.get $stride))
            (i32.mul (local.get $column) (local.get $step)))))
          (local.set $block (i32.const 0))
          (loop $output_blocks
            (local.set $a (v128.load offset=0 (local.get $to)))
            (local.set $b (v128.load offset=16 (local.get $to)))
            (local.set $c (v128.load offset=32 (local.get $to)))
            (local.set $d (v128.load offset=48 (local.get $to)))
            (local.set $i (i32.const 0))
            (loop $input_channels
              (local.set $value (v128.load32_splat (i32.add (local.get $pixel) (i32.shl (local.get $i) (i32.const 2)))))
              (local.set $a (f32x4.add (local.get $a) (f32x4.mul (local.get $value) (v128.load offset=0 (local.get $weight)))))
              (local.set $b (f32x4.add (local.get $b) (f32x4.mul (local.get $value) (v128.load offset=16 (local.get $weight)))))
              (local.set $c (f32x4.add (local.get $c) (f32x4.mul (local.get $value) (v128.load offset=32 (local.get $weight)))))
              (local.set $d (f32x4.add (local.get $d) (f32x4.mul (local.get $value) (v128.load offset=48 (local.get $weight)))))
              (local.set $weight (i32.add (local.get $weight) (i32.const 64)))
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if $input_channels (i32.lt_u (local.get $i) (local.get $inputs))))
            (v128.store offset=0 (local.get $to) (local.get $a))
            (v128.store offset=16 (local.get $to) (local.get $b))
            (v128.store offset=32 (local.get $to) (local.get $c))
            (v128.store offset=48 (local.get $to) (local.get $d))
            (local.set $to (i32.add (local.get $to) (i32.const 64)))
            (local.set $block (i32.add (local.get $block) (i32.const 1)))
            (br_if $output_blocks (i32.lt_u (local.get $block) (local.get $blocks))))
          (local.set $ky (i32.add (local.get $ky) (i32.const 1)))
          (br_if $kernel_rows (i32.lt_u (local.get $ky) (local.get $kernel))))
        (local.set $column (i32.add (local.get $column) (i32.const 1)))
        (br_if $columns (i32.lt_u (local.get $column) (local.get $size))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $rows (i32.lt_u (local.get $row) (local.get $size))))))
