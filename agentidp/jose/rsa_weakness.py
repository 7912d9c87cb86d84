"""Detects RSA keys that are weak although they are long enough."""

from __future__ import annotations

from itertools import accumulate, repeat, takewhile

MIN_EXPONENT = 65_537
"""Minimum public exponent, because FIPS 186-5 appendix A.1.1 requires more than 2¹⁶."""

MAX_EXPONENT = 2**32 - 1
"""Maximum public exponent, because anybody can send a DPoP proof, and a long exponent makes its verification slow."""

_SMALL_PRIMES = [p for p in range(3, 168) if all(p % q for q in range(2, p))]


def _compute_powers_of_65537(prime: int) -> frozenset[int]:
    powers = accumulate(repeat(65_537 % prime), lambda power, factor: power * factor % prime)
    return frozenset({1, *takewhile(lambda power: power != 1, powers)})


_SUBGROUPS = {p: _compute_powers_of_65537(p) for p in _SMALL_PRIMES}


def has_roca_fingerprint(modulus: int) -> bool:
    """Return whether Infineon's RSALib has generated a modulus, so that it can be factored (CVE-2017-15361).

    That library's primes are ``k * M + (65537 ** a mod M)``, where ``M`` is the product of the smallest primes. The
    modulus is therefore a power of 65537 modulo each of these primes. Source: Nemec, Sys, Svenda, Klinec, Matyas, "The
    Return of Coppersmith's Attack" (ACM CCS 2017).
    """
    return all(modulus % prime in powers_of_65537 for prime, powers_of_65537 in _SUBGROUPS.items())


def find_weakness(modulus: int, exponent: int) -> str | None:
    """Return the rule that a weak RSA key breaks, in words for the client, or ``None`` for a strong key."""
    if exponent % 2 == 0 or not MIN_EXPONENT <= exponent <= MAX_EXPONENT:
        return f"e must be an odd number from {MIN_EXPONENT} to {MAX_EXPONENT}"
    if has_roca_fingerprint(modulus):
        return "is a weak RSA key (ROCA, CVE-2017-15361): make a new one with other software or hardware"
    return None
