// Vectors of sixteen numbers, and the few functions of them that decoding needs.
//
// Written with the vector types of GCC and Clang, which turn them into whatever the processor has:
// one AVX-512 register, two of AVX2, four of NEON.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define ALWAYS inline __attribute__((always_inline))
#define APART inline __attribute__((noinline))  // so that its sums stay in registers

namespace cloche {

constexpr int LANES = 16;

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

template <class V>
ALWAYS V load(const void* from) {
  V loaded;
  std::memcpy(&loaded, from, sizeof(V));
  return loaded;
}

template <class V>
ALWAYS void store(void* to, V values) {
  std::memcpy(to, &values, sizeof(V));
}

// Sixteen bytes, each as a whole number. (GCC 12 takes vectors of bytes apart, one by one.)
ALWAYS Ints widen(const int8_t* from) {
#if defined(__AVX512F__)
  return (Ints)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)from));
#else
  int32_t wide[LANES];
  for (int i = 0; i < LANES; i++) wide[i] = from[i];
  return load<Ints>(wide);
#endif
}

ALWAYS Ints widen(const uint8_t* from) {
#if defined(__AVX512F__)
  return (Ints)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from));
#else
  int32_t wide[LANES];
  for (int i = 0; i < LANES; i++) wide[i] = from[i];
  return load<Ints>(wide);
#endif
}

ALWAYS Floats numbers_of(Ints whole) { return __builtin_convertvector(whole, Floats); }

// One lane of a vector in memory, and a new number for it. (Indexed by what is known only later, a
// vector is stored to by GCC 12 as if every lane began at a whole vector's address.)
ALWAYS float lane(const Floats& values, int number) {
  float found;
  std::memcpy(&found, (const char*)&values + sizeof(float) * number, sizeof found);
  return found;
}

ALWAYS void set_lane(Floats& values, int number, float value) {
  std::memcpy((char*)&values + sizeof(float) * number, &value, sizeof value);
}

ALWAYS Floats all(float value) { return value - Floats{}; }

// Two bfloat16 stand in each word, the first of them in the low half: as float32 each is the same
// bits with zeros behind.
ALWAYS Floats low_halves(Words pairs) { return (Floats)(pairs << 16); }
ALWAYS Floats high_halves(Words pairs) { return (Floats)(pairs & 0xffff0000u); }

ALWAYS Floats from_bfloat16(const uint16_t* from) {
  return (Floats)(__builtin_convertvector(load<Halves>(from), Words) << 16);
}

// Rounded to the nearest bfloat16, ties to even, in the low half of each word.
ALWAYS Words to_bfloat16(Floats values) {
  const Words bits = (Words)values;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

ALWAYS uint32_t to_bfloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

ALWAYS Floats read_vector(const float* from) { return load<Floats>(from); }
ALWAYS Floats read_vector(const uint16_t* from) { return from_bfloat16(from); }
ALWAYS void write_vector(float* to, Floats values) { store(to, values); }
ALWAYS void write_vector(uint16_t* to, Floats values) {
  store(to, __builtin_convertvector(to_bfloat16(values), Halves));
}

// Always in this order, so that a sum does not depend on who asks.
ALWAYS float sum(Floats values) {
  float halves[LANES];
  store(halves, values);
  for (int width = LANES / 2; width; width /= 2)
    for (int i = 0; i < width; i++) halves[i] += halves[i + width];
  return halves[0];
}

ALWAYS Floats larger(Floats one, Floats other) { return one > other ? one : other; }
ALWAYS Floats smaller(Floats one, Floats other) { return one < other ? one : other; }

// e to the power of each, within 2e-7 of it: 2^n times a polynomial over [-ln 2 / 2, ln 2 / 2].
ALWAYS Floats exponential(Floats x) {
  x = larger(smaller(x, all(88.0f)), all(-87.0f));
  const Floats shifted = x * 1.44269504f + 12582912.0f;  // adding 1.5 x 2^23 rounds
  const Floats n = shifted - 12582912.0f;
  Floats r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;  // ln 2 in two parts, the first of few bits
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
  return p * (Floats)power;
}

ALWAYS Floats silu(Floats x) { return x / (1.0f + exponential(-x)); }

ALWAYS Floats gelu_tanh(Floats x) {
  const Floats inner = 0.7978845608f * (x + 0.044715f * x * x * x);
  return x / (1.0f + exponential(-2.0f * inner));  // (1 + tanh(u)) / 2 is 1 / (1 + e^-2u)
}

inline Floats gelu(Floats x) {
  float numbers[LANES];
  store(numbers, x);
  for (float& number : numbers) number *= 0.5f * (1.0f + std::erf(number * 0.70710678f));
  return load<Floats>(numbers);
}

}  // namespace cloche
