"""A key like those that Infineon's RSALib generated (CVE-2017-15361)."""

from __future__ import annotations

from functools import cache
from math import prod
from random import Random

from cryptography.hazmat.primitives.asymmetric import rsa

# 971 bits: the product of the 126 smallest primes, which the library took for keys of 2048 bits.
_M = prod(p for p in range(2, 702) if all(p % q for q in range(2, p)))


@cache
def roca_key() -> rsa.RSAPrivateKey:
    """Return an RSA key of 2048 bits whose primes are ``k * M + (65537 ** a mod M)``."""
    random = Random(1)
    p, q = _prime(random), _prime(random)
    d = pow(65_537, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(65_537, p * q)
    )
    return numbers.private_key()


def _prime(random: Random) -> int:
    while True:
        # The two highest bits are set, so that the modulus has all of its 2048.
        number = random.randrange(3 * 2**1022 // _M + 1, 2**1024 // _M) * _M + pow(65_537, random.getrandbits(256), _M)
        if pow(2, number - 1, number) == 1:
            return number
