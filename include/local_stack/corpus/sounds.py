"""Synthesises sounds of several kinds. The same kind with another seed is another sound of the same kind."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Wave = NDArray[np.float64]
RATE_HZ = 32_000
_MORSE = {"S": "...", "O": "---", "E": ".", "T": "-", "L": ".-..", "A": ".-", "N": "-.", "M": "--", "I": ".."}


def draw_sound(kind: str, seed: int, duration_s: float = 6.0) -> Samples:
    """A mono sound at 32 kHz, its loudest sample at 0.8.

    Args:
        kind: One of `KINDS`.
        seed: Chooses pitch, rhythm and noise within the kind.
        duration_s: Its length.
    """
    rng = np.random.default_rng([sorted(KINDS).index(kind), seed])
    times = np.arange(int(RATE_HZ * duration_s)) / RATE_HZ
    wave = KINDS[kind](times, rng)
    loudest = float(np.abs(wave).max())
    return np.asarray(0.8 * wave / loudest, dtype=np.float32)


def _bell(times: Wave, rng: np.random.Generator) -> Wave:
    """A church bell: inharmonic partials that fade at their own speed, struck every two seconds or so."""
    pitch = rng.uniform(380, 520)
    partials = ((0.5, 0.6, 0.35), (1.0, 1.0, 0.6), (1.19, 0.8, 0.9), (1.5, 0.6, 1.1), (2.0, 0.9, 1.4), (2.74, 0.4, 2.2))
    wave = np.zeros_like(times)
    for strike in np.arange(0.05, times[-1], rng.uniform(1.6, 2.1)):
        since = np.clip(times - strike, 0, None)
        for ratio, loudness, decay in partials:
            wave += (
                (times >= strike) * loudness * np.exp(-decay * 1.8 * since) * np.sin(2 * np.pi * pitch * ratio * since)
            )
    return wave


def _engine(times: Wave, rng: np.random.Generator) -> Wave:
    """A diesel engine: a low pulse with many harmonics, uneven and rough."""
    speed = rng.uniform(38, 52) * (1 + 0.04 * np.sin(2 * np.pi * 0.4 * times))
    phase = 2 * np.pi * np.cumsum(speed) / RATE_HZ
    wave = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 14))
    return wave * (1 + 0.5 * np.sin(phase / 4)) + 0.25 * _low_pass(rng.standard_normal(times.size), 12)


def _birds(times: Wave, rng: np.random.Generator) -> Wave:
    """Birds: short sweeps high up, in groups, with silence between them."""
    wave = np.zeros_like(times)
    start = 0.1
    while start < times[-1] - 0.4:
        base, bend = rng.uniform(3000, 4200), rng.uniform(600, 1500)
        for note in range(rng.integers(3, 7)):
            since = times - start - note * 0.11
            inside = (since >= 0) & (since < 0.08)
            sweep = 2 * np.pi * (base * since + bend * 6 * since**2)
            wave += inside * np.sin(sweep) * np.sin(np.pi * np.clip(since / 0.08, 0, 1))
        start += rng.uniform(0.9, 1.5)
    return wave + 0.003 * rng.standard_normal(times.size)


def _rain(times: Wave, rng: np.random.Generator) -> Wave:
    """Rain: steady hiss, and drops that fall on something near."""
    hiss = 0.35 * (rng.standard_normal(times.size) - _low_pass(rng.standard_normal(times.size), 8))
    drops = np.zeros_like(times)
    hits = rng.integers(0, times.size - 400, int(45 * times[-1]))
    for hit in hits:
        drops[hit : hit + 400] += rng.uniform(0.5, 3) * np.exp(-np.arange(400) / 60) * rng.standard_normal(400)
    return hiss + drops


def _morse(times: Wave, rng: np.random.Generator) -> Wave:
    """Morse code: one tone, on and off."""
    unit, tone = rng.uniform(0.055, 0.075), rng.uniform(600, 800)
    keyed, position = np.zeros_like(times), 0.1
    while position < times[-1]:
        for sign in _MORSE[rng.choice(sorted(_MORSE))]:
            length = unit * (1 if sign == "." else 3)
            keyed[(times >= position) & (times < position + length)] = 1
            position += length + unit
        position += 2 * unit
    return keyed * np.sin(2 * np.pi * tone * times)


def _strings(times: Wave, rng: np.random.Generator) -> Wave:
    """A plucked string instrument: Karplus and Strong's delay line, a note every third of a second."""
    scale = 196.0 * 2 ** (np.array([0, 3, 5, 7, 10, 12]) / 12)
    wave = np.zeros(times.size + RATE_HZ * 2)
    for start in range(0, times.size, RATE_HZ // 3):
        period = int(RATE_HZ / rng.choice(scale))
        line = rng.uniform(-1, 1, period)
        note = []
        for _ in range(RATE_HZ * 3 // 2 // period):
            note.append(line)
            line = 0.994 * 0.5 * (line + np.roll(line, 1))
        pluck = np.concatenate(note)
        wave[start : start + pluck.size] += pluck
    return wave[: times.size]


def _siren(times: Wave, rng: np.random.Generator) -> Wave:
    """A siren: two tones in turn, rich in harmonics."""
    low = rng.uniform(430, 470)
    tone = np.where((times * rng.uniform(0.9, 1.1)) % 1.6 < 0.8, low, low * 4 / 3)
    phase = 2 * np.pi * np.cumsum(tone) / RATE_HZ
    return np.tanh(2.5 * np.sin(phase))


def _low_pass(wave: Wave, width: int) -> Wave:
    return np.convolve(wave, np.ones(width) / width, mode="same")


KINDS: dict[str, Callable[[Wave, np.random.Generator], Wave]] = {
    "bell": _bell,
    "engine": _engine,
    "birds": _birds,
    "rain": _rain,
    "morse": _morse,
    "strings": _strings,
    "siren": _siren,
}
