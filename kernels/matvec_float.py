"""Four rows of a float format times a vector."""

from .simd import f32, f32x4, f32x16, fma, hsum, load, make4, prefetch, splat


def four_rows(fmt):
    values, value, size = fmt.values, fmt.value, fmt.SIZE

    def products(wa, wb, wc, wd, k, x, x_d, x_s, prefetch_at):
        zero = splat(f32x16, 0.0)
        a0, a1, b0, b1, c0, c1, d0, d1 = zero, zero, zero, zero, zero, zero, zero, zero
        whole = k // 32 * 32
        for i in range(0, whole, 32):
            x0, x1, at = load(f32x16, x + 4 * i), load(f32x16, x + 4 * i + 64), i * size
            for line in range(0, 128 * size, 64):
                prefetch(prefetch_at + 4 * at + line)
            next_ = at + 16 * size
            a0, a1 = fma(values(wa + at), x0, a0), fma(values(wa + next_), x1, a1)
            b0, b1 = fma(values(wb + at), x0, b0), fma(values(wb + next_), x1, b1)
            c0, c1 = fma(values(wc + at), x0, c0), fma(values(wc + next_), x1, c1)
            d0, d1 = fma(values(wd + at), x0, d0), fma(values(wd + next_), x1, d1)
        totals = make4(f32x4, hsum(a0 + a1), hsum(b0 + b1), hsum(c0 + c1), hsum(d0 + d1))
        for i in range(whole, k):
            at = i * size
            w = make4(f32x4, value(wa + at), value(wb + at), value(wc + at), value(wd + at))
            totals = fma(w, splat(f32x4, load(f32, x + 4 * i)), totals)
        return totals

    return products
