"""Prints the known answers of src/base/random.test.ts: xoshiro128** and the seed mixer, written again from their definitions.

    python3 test/golden/make/random_streams.py
"""
import math

M = 0xFFFFFFFF


def rotate_left(x, k):
    return ((x << k) | (x >> (32 - k))) & M


def mix_seed(*parts):
    h = 0x9E3779B9
    for part in parts:
        h = ((h ^ (part & M)) * 0x85EBCA6B) & M
        h = ((h ^ (h >> 13)) * 0xC2B2AE35) & M
        h ^= h >> 16
    return h


class Stream:
    def __init__(self, seed):
        if isinstance(seed, list):
            self.s = list(seed)
            return
        self.s, z = [], seed & M
        for i in range(4):
            z = (z + 0x9E3779B9) & M
            self.s.append(mix_seed(z, i))

    def uint32(self):
        s = self.s
        result = (rotate_left((s[1] * 5) & M, 7) * 9) & M
        t = (s[1] << 9) & M
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate_left(s[3], 11)
        return result

    def uniform(self):
        return self.uint32() / 2**32

    def normal(self):
        radius = math.sqrt(-2 * math.log(1 - self.uniform()))
        return radius * math.cos(2 * math.pi * self.uniform())

    def shuffle(self, items):
        for i in range(len(items) - 1, 0, -1):
            j = int(self.uniform() * (i + 1))
            items[i], items[j] = items[j], items[i]
        return items


def first(count, method):
    return [method() for _ in range(count)]


print("state 1, 2, 3, 4:", first(8, Stream([1, 2, 3, 4]).uint32))
print("seed 0:", first(4, Stream(0).uint32))
print("seed 42:", first(4, Stream(42).uint32), "state", Stream(42).s)
print("uniform, seed 7:", first(3, Stream(7).uniform))
print("normal, seed 7:", first(4, Stream(7).normal))
below = Stream(7)
print("below 10, seed 7:", first(8, lambda: int(below.uniform() * 10)))
print("shuffle 0..9, seed 7:", Stream(7).shuffle(list(range(10))))
print("mix:", mix_seed(), mix_seed(0), mix_seed(1), mix_seed(1, 2), mix_seed(2, 1), mix_seed(-1), mix_seed(0xFFFFFFFF))
