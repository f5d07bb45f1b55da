// A forward of a decoder over a few tokens, each at its own place of a cache.
//
// All threads walk through the layers together and share out each product's outputs. Nothing is
// summed across threads or tokens, so that a token's numbers depend on its row alone.

#include <memory>
#include <vector>

#include "attention.hpp"
#include "numbers.hpp"
#include "products.hpp"
#include "prompts.hpp"
#include "team.hpp"

namespace cloche {

enum Activation : int32_t { SWIGLU = 0, GELU = 1, GELU_TANH = 2, RELU = 3, RELU_SQUARED = 4 };

struct Layer {
  Matrix qkv, attention_out, mlp_in, mlp_out;
  const float *norm, *norm_bias, *mlp_norm, *mlp_norm_bias, *query_norm, *key_norm;
  int32_t window;  // tokens that attention reaches back; 0 for all
};

struct Model {
  const Layer* layers;
  Matrix embedding, head;
  const float *norm, *norm_bias;
  const float* positions;  // [capacity][width]: vectors that are added; or none
  Heads heads;
  int32_t layer_count, width, layer_norm, activation;
  float eps;
};

struct Token {
  int32_t row, position, id;
};

inline int whole(int number, int factor) { return (number + factor - 1) / factor * factor; }

inline Floats activate(Floats x, int activation) {
  switch (activation) {
    case GELU: return gelu(x);
    case GELU_TANH: return gelu_tanh(x);
    case RELU: return larger(x, Floats{});
    default: {
      const Floats positive = larger(x, Floats{});
      return positive * positive;
    }
  }
}

// The sum of `function` over numbers less their mean.
template <class Function>
inline float sum_of(const float* numbers, int count, float mean, const Function& function) {
  Floats sums = {};
  int i = 0;
  for (; i + LANES <= count; i += LANES) sums += function(load<Floats>(numbers + i) - mean);
  float total = sum(sums);
  for (; i < count; i++) total += function(numbers[i] - mean);
  return total;
}

inline void normalise(const Model& model, const float* from, const float* weight,
                      const float* bias, float* to) {
  const int width = model.width;
  float mean = 0.0f;
  if (model.layer_norm) mean = sum_of(from, width, 0.0f, [](auto x) { return x; }) / width;
  const float squares = sum_of(from, width, mean, [](auto x) { return x * x; });
  const float scale = 1.0f / std::sqrt(squares / width + model.eps);
  for (int i = 0; i < width; i++)
    to[i] = (from[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0.0f);
}

// Vectors on their way into a product: blocks of up to sixteen, each input after input.
struct Inputs {
  const float* numbers;
  const float* totals;  // of each group of int4, [group][vector]
  const uint32_t* pairs;  // for prompts: bfloat16, two inputs in a word, see prompts.hpp
  int stride;  // numbers of a whole block
};

struct Scratch {
  std::vector<float> rows, numbers, totals, scores;
  std::unique_ptr<Lookers> lookers;
};

class Forward {
 public:
  Forward(const Model& model, int threads) : model(model), team(threads), scratch(threads) {}

  // A `prompt` is tokens of one row, one behind the other: their attention is computed together, and
  // their products in bfloat16, so their numbers are not quite those of each token alone.
  void run(const Cache& cache, const Token* tokens, int count, bool prompt, float* hidden);
  void head(const float* hidden, int count, float* logits);

 private:
  const Model model;
  Team team;
  std::vector<Scratch> scratch;
  std::vector<float> residual, normed, qkv, attended, neurons, numbers, totals;
  std::vector<uint32_t> pairs;
  int count = 0;
  bool prompt = false;

  bool together() const { return count <= MOST_VECTORS; }  // one block: each thread makes its own
  int stride() const { return whole(model.width, INT8_GROUP); }

  Inputs prepare(const Matrix& matrix, const float* rows, int length, Scratch& own);
  void interleave(const float* rows, int length, int first, int some, int inputs, float* to);
  void add_up(const Matrix& matrix, const float* block, int vectors, float* to);
  const float* norm(const float* weight, const float* bias, Scratch& own);
  template <class Take>
  void product(const Matrix& matrix, const Inputs& inputs, const Take& take);
  void attend(const Layer& layer, int number, const Cache& cache, const Token* tokens,
              Scratch& own);
  template <class Number>
  void attend_in(const Layer& layer, int number, const Cache& cache, const Token* tokens,
                 Scratch& own);
  template <class Number>
  void attend_together(const Layer& layer, int number, const Cache& cache, const Token* tokens,
                       Scratch& own);
  void block(int number, const Cache& cache, const Token* tokens, Scratch& own);
  int length_of(const Matrix& matrix) const { return matrix.tiles * LANES; }
};

template <int R>
inline void interleave_vectors(const float* rows, int length, int inputs, float* to) {
  for (int k = 0; k < inputs; k++)
    for (int r = 0; r < R; r++) to[(size_t)k * R + r] = rows[(size_t)r * length + k];
}

void Forward::interleave(const float* rows, int length, int first, int some, int inputs,
                         float* to) {
  const int vectors = padded_count(some);
  rows += (size_t)first * length;
  if (some == 16) return interleave_vectors<16>(rows, length, inputs, to);
  if (some == 8) return interleave_vectors<8>(rows, length, inputs, to);
  for (int k = 0; k < inputs; k++)
    for (int r = 0; r < vectors; r++)
      to[(size_t)k * vectors + r] = r < some ? rows[(size_t)r * length + k] : 0.0f;
}

void Forward::add_up(const Matrix& matrix, const float* block, int vectors, float* to) {
  for (int group = 0; group < matrix.inputs / INT4_GROUP; group++)
    for (int r = 0; r < vectors; r++) {
      float total = 0.0f;
      for (int k = 0; k < INT4_GROUP; k++)
        total += block[((size_t)group * INT4_GROUP + k) * vectors + r];
      to[group * vectors + r] = total;
    }
}

// `rows` are [count][length], zeros behind what counts, up to the matrix's inputs.
Inputs Forward::prepare(const Matrix& matrix, const float* rows, int length, Scratch& own) {
  const int inputs = matrix.inputs, groups = inputs / INT4_GROUP;
  if (prompt && multiplies_pairs(matrix)) {
    const int blocks = (count + PAIR_VECTORS - 1) / PAIR_VECTORS;
    team.share(blocks, 1, [&](int begin, int end) {
      for (int b = begin; b < end; b++)
        pair_up(rows, length, b * PAIR_VECTORS, count, inputs,
                pairs.data() + (size_t)b * PAIR_VECTORS * inputs / 2);
    });
    return {nullptr, nullptr, pairs.data(), PAIR_VECTORS * inputs / 2};
  }
  if (together()) {
    const int vectors = padded_count(count);
    const float* block = rows;
    if (vectors > 1) {
      own.numbers.resize((size_t)inputs * vectors);
      interleave(rows, length, 0, count, inputs, own.numbers.data());
      block = own.numbers.data();
    }
    if (matrix.kind == INT4) {
      own.totals.resize((size_t)groups * vectors);
      add_up(matrix, block, vectors, own.totals.data());
    }
    return {block, own.totals.data(), nullptr, 0};
  }
  const int blocks = (count + MOST_VECTORS - 1) / MOST_VECTORS;
  team.share(blocks, 1, [&](int begin, int end) {
    for (int b = begin; b < end; b++) {
      const int first = b * MOST_VECTORS, some = std::min(count - first, MOST_VECTORS);
      float* block = numbers.data() + (size_t)first * inputs;
      interleave(rows, length, first, some, inputs, block);
      if (matrix.kind == INT4)
        add_up(matrix, block, padded_count(some), totals.data() + (size_t)first * groups);
    }
  });
  return {numbers.data(), totals.data(), nullptr, MOST_VECTORS * inputs};
}

const float* Forward::norm(const float* weight, const float* bias, Scratch& own) {
  const int length = stride();
  if (together()) {  // every thread for itself: cheaper than a meeting
    own.rows.resize((size_t)count * length);
    for (int r = 0; r < count; r++)
      normalise(model, residual.data() + (size_t)r * length, weight, bias,
                own.rows.data() + (size_t)r * length);
    return own.rows.data();
  }
  team.share(count, 8, [&](int begin, int end) {
    for (int r = begin; r < end; r++)
      normalise(model, residual.data() + (size_t)r * length, weight, bias,
                normed.data() + (size_t)r * length);
  });
  return normed.data();
}

// take(tile, tiles, first vector, vectors, how many stand together, products)
template <class Take>
void Forward::product(const Matrix& matrix, const Inputs& inputs, const Take& take) {
  const int chunk = matrix.tiles >= 32 * team.size() ? 8 : 2;
  if (inputs.pairs) {
    team.share(matrix.tiles, 2, [&](int tile, int end) {
      multiply_prompt(matrix, tile, end - tile, inputs.pairs, inputs.stride, count, take);
    });
    return;
  }
  team.share(matrix.tiles, chunk, [&](int begin, int end) {
    Floats products[4 * MOST_VECTORS];
    for (int tile = begin; tile < end; tile += 4) {
      const int tiles = std::min(end - tile, 4);
      for (int first = 0; first < count; first += MOST_VECTORS) {
        const int some = std::min(count - first, MOST_VECTORS), vectors = padded_count(some);
        const int number = first / MOST_VECTORS;
        multiply_any(matrix, tile, tiles, vectors, inputs.numbers + (size_t)number * inputs.stride,
                     inputs.totals + (size_t)first * (matrix.inputs / INT4_GROUP), products);
        take(tile, tiles, first, some, vectors, products);
      }
    }
  });
}

template <class Number>
void Forward::attend_in(const Layer& layer, int number, const Cache& cache, const Token* tokens,
                        Scratch& own) {
  const Heads& heads = model.heads;
  const int length = length_of(layer.qkv), found_length = layer.attention_out.inputs;
  const int slots = cache.slots[number];
  void *const keys = cache.keys[number], *const values = cache.values[number];
  team.share(count * heads.keys, 1, [&](int begin, int end) {
    for (int piece = begin; piece < end; piece++) {
      const int i = piece / heads.keys, head = piece % heads.keys;
      const Token& token = tokens[i];
      const float* from = qkv.data() + (size_t)i * length + (heads.queries + head) * heads.dim;
      float vector[LONGEST_HEAD];
      prepare_head(heads, from, layer.key_norm, token.position, 1.0f, vector);
      const size_t at = (size_t)(token.position % slots) * heads.padded;
      write_head(head_of<Number>(keys, slots, heads, token.row, head) + at, vector, heads.padded);
      std::memset(vector, 0, sizeof(float) * heads.padded);
      std::memcpy(vector, from + heads.keys * heads.dim, sizeof(float) * heads.dim);
      write_head(head_of<Number>(values, slots, heads, token.row, head) + at, vector,
                 heads.padded);
    }
  });
  if (prompt) return attend_together<Number>(layer, number, cache, tokens, own);
  own.scores.resize(cache.capacity + LANES);
  const float factor = 1.0f / std::sqrt((float)heads.dim);
  team.share(count * heads.queries, 1, [&](int begin, int end) {
    for (int piece = begin; piece < end; piece++) {
      const int i = piece / heads.queries, head = piece % heads.queries;
      const int key_head = head / (heads.queries / heads.keys);
      const Token& token = tokens[i];
      float query[LONGEST_HEAD], found[LONGEST_HEAD];
      prepare_head(heads, qkv.data() + (size_t)i * length + head * heads.dim, layer.query_norm,
                   token.position, factor, query);
      const int first = layer.window ? std::max(0, token.position - layer.window + 1) : 0;
      look_back(query, head_of<Number>(keys, slots, heads, token.row, key_head),
                head_of<Number>(values, slots, heads, token.row, key_head), heads.padded, slots,
                first, token.position, own.scores.data(), found);
      std::memcpy(attended.data() + (size_t)i * found_length + head * heads.dim, found,
                  sizeof(float) * heads.dim);
    }
  });
}

template <class Number>
void Forward::attend_together(const Layer& layer, int number, const Cache& cache,
                              const Token* tokens, Scratch& own) {
  const Heads& heads = model.heads;
  const int length = length_of(layer.qkv), found_length = layer.attention_out.inputs;
  const float factor = 1.0f / std::sqrt((float)heads.dim);
  const int slots = cache.slots[number];
  void *const keys = cache.keys[number], *const values = cache.values[number];
  if (!own.lookers) own.lookers = std::make_unique<Lookers>();
  Lookers& lookers = *own.lookers;
  const int blocks = (count + LANES - 1) / LANES;
  team.share(blocks * heads.queries, 1, [&](int begin, int end) {
    for (int piece = begin; piece < end; piece++) {
      // the last blocks look back furthest, so they come first
      const int first = (blocks - 1 - piece / heads.queries) * LANES, head = piece % heads.queries;
      const int some = std::min(LANES, count - first), row = tokens[first].row;
      const int key_head = head / (heads.queries / heads.keys);
      float vector[LONGEST_HEAD];
      for (int d = 0; d < heads.dim; d++) lookers.queries[d] = Floats{};
      for (int i = 0; i < some; i++) {
        prepare_head(heads, qkv.data() + (size_t)(first + i) * length + head * heads.dim,
                     layer.query_norm, tokens[first + i].position, factor, vector);
        for (int d = 0; d < heads.dim; d++) set_lane(lookers.queries[d], i, vector[d]);
      }
      look_back_together(lookers, head_of<Number>(keys, slots, heads, row, key_head),
                         head_of<Number>(values, slots, heads, row, key_head), heads.dim,
                         heads.padded, slots, tokens[first].position,
                         tokens[first + some - 1].position, layer.window);
      for (int i = 0; i < some; i++)
        for (int d = 0; d < heads.dim; d++)
          attended[(size_t)(first + i) * found_length + head * heads.dim + d] =
              lane(lookers.found[d], i);
    }
  });
}

void Forward::attend(const Layer& layer, int number, const Cache& cache, const Token* tokens,
                     Scratch& own) {
  if (cache.bfloat16)
    attend_in<uint16_t>(layer, number, cache, tokens, own);
  else
    attend_in<float>(layer, number, cache, tokens, own);
}

void Forward::block(int number, const Cache& cache, const Token* tokens, Scratch& own) {
  const Layer& layer = model.layers[number];
  const int length = stride(), qkv_length = length_of(layer.qkv);
  const auto add = [&](int tile, int tiles, int first, int some, int vectors,
                       const Floats* products) {
    for (int t = 0; t < tiles; t++)
      for (int r = 0; r < some; r++) {
        float* to = residual.data() + (size_t)(first + r) * length + (tile + t) * LANES;
        store(to, load<Floats>(to) + products[t * vectors + r]);
      }
  };
  product(layer.qkv, prepare(layer.qkv, norm(layer.norm, layer.norm_bias, own), length, own),
          [&](int tile, int tiles, int first, int some, int vectors, const Floats* products) {
            for (int t = 0; t < tiles; t++)
              for (int r = 0; r < some; r++)
                store(qkv.data() + (size_t)(first + r) * qkv_length + (tile + t) * LANES,
                      products[t * vectors + r]);
          });
  attend(layer, number, cache, tokens, own);
  const Matrix& out = layer.attention_out;
  product(out, prepare(out, attended.data(), out.inputs, own), add);
  const int gates = model.activation == SWIGLU ? 2 : 1, neuron_length = layer.mlp_out.inputs;
  const float* rows = norm(layer.mlp_norm, layer.mlp_norm_bias, own);
  product(layer.mlp_in, prepare(layer.mlp_in, rows, length, own),
          [&](int tile, int tiles, int first, int some, int vectors, const Floats* products) {
            for (int t = 0; t < tiles; t += gates)  // a tile of gates, a tile of what they scale
              for (int r = 0; r < some; r++) {
                const Floats x = products[t * vectors + r];
                const Floats y = gates == 2 ? silu(x) * products[(t + 1) * vectors + r]
                                            : activate(x, model.activation);
                const int at = (tile + t) / gates * LANES;
                if (at < neuron_length)
                  store(neurons.data() + (size_t)(first + r) * neuron_length + at, y);
              }
          });
  product(layer.mlp_out, prepare(layer.mlp_out, neurons.data(), neuron_length, own), add);
}

void Forward::run(const Cache& cache, const Token* tokens, int given, bool is_prompt,
                  float* hidden) {
  count = given;
  prompt = is_prompt;
  const int length = stride(), padded = whole(count, MOST_VECTORS);
  int most = length;
  size_t qkv_length = 0, found_length = 0, neuron_length = 0;
  for (int i = 0; i < model.layer_count; i++) {
    const Layer& layer = model.layers[i];
    most = std::max({most, layer.attention_out.inputs, layer.mlp_out.inputs, layer.qkv.inputs});
    qkv_length = std::max<size_t>(qkv_length, length_of(layer.qkv));
    found_length = std::max<size_t>(found_length, layer.attention_out.inputs);
    neuron_length = std::max<size_t>(neuron_length, layer.mlp_out.inputs);
  }
  residual.assign((size_t)count * length, 0.0f);
  qkv.resize(count * qkv_length);
  attended.assign(count * found_length, 0.0f);
  neurons.assign(count * neuron_length, 0.0f);
  if (!together()) {
    normed.assign((size_t)count * length, 0.0f);
    numbers.resize((size_t)padded * most);
    totals.resize((size_t)padded * most / INT4_GROUP);
  }
  if (prompt) pairs.resize((size_t)whole(count, PAIR_VECTORS) * most / 2);
  for (Scratch& own : scratch) own.rows.assign(together() ? (size_t)count * length : 0, 0.0f);
  team.run([&](int me) {
    Scratch& own = scratch[me];
    team.share(count, 1, [&](int begin, int end) {
      for (int i = begin; i < end; i++) {
        own.scores.resize(model.embedding.inputs);
        read_row(model.embedding, tokens[i].id, own.scores.data());
        float* to = residual.data() + (size_t)i * length;
        for (int k = 0; k < model.width; k++)
          to[k] = own.scores[k] + (model.positions ? model.positions[(size_t)tokens[i].position *
                                                                     model.width + k] : 0.0f);
      }
    });
    for (int number = 0; number < model.layer_count; number++) block(number, cache, tokens, own);
    team.share(count, 8, [&](int begin, int end) {
      for (int i = begin; i < end; i++)
        normalise(model, residual.data() + (size_t)i * length, model.norm, model.norm_bias,
                  hidden + (size_t)i * model.width);
    });
  });
}

void Forward::head(const float* hidden, int given, float* logits) {
  count = given;
  prompt = false;
  const int length = model.head.inputs, padded = whole(count, MOST_VECTORS);
  const int vocab = length_of(model.head);
  normed.assign((size_t)count * length, 0.0f);
  for (int i = 0; i < count; i++)
    std::memcpy(normed.data() + (size_t)i * length, hidden + (size_t)i * model.width,
                sizeof(float) * model.width);
  if (!together()) {
    numbers.resize((size_t)padded * length);
    totals.resize((size_t)padded * length / INT4_GROUP);
  }
  team.run([&](int me) {
    product(model.head, prepare(model.head, normed.data(), length, scratch[me]),
            [&](int tile, int tiles, int first, int some, int vectors, const Floats* products) {
              for (int t = 0; t < tiles; t++)
                for (int r = 0; r < some; r++)
                  store(logits + (size_t)(first + r) * vocab + (tile + t) * LANES,
                        products[t * vectors + r]);
            });
  });
}

}  // namespace cloche

extern "C" {

cloche::Forward* cloche_open(const cloche::Model* model, int threads) {
  return new cloche::Forward(*model, threads);
}

void cloche_close(cloche::Forward* forward) { delete forward; }

void cloche_hidden(cloche::Forward* forward, const cloche::Cache* cache,
                   const cloche::Token* tokens, int count, int prompt, float* hidden) {
  forward->run(*cache, tokens, count, prompt != 0, hidden);
}

// logits: [count][tiles x 16]
void cloche_head(cloche::Forward* forward, const float* hidden, int count, float* logits) {
  forward->head(hidden, count, logits);
}
}
