// Three times through each layer: the float one and the quantised one on the float model's hidden states, and
// the quantised one on those of the quantised layers before it.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/quantise/compare_models.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "tensor/bf16.h"

namespace penstock {
namespace {

float At(const ConstMat& mat, int64_t r, int64_t c) {
  return mat.dtype == DType::kF32 ? mat.Row<float>(r)[c] : ToFloat(mat.Row<Bf16>(r)[c]);
}

double Relative(double error_squares, double squares) {
  if (squares > 0) return std::sqrt(error_squares / squares);
  return error_squares > 0 ? 1.0 : 0.0;
}

// The sum over tokens of |got - want| / |want - base|; no base: 0.
double SumOfErrors(const ConstMat& got, const ConstMat& want, const ConstMat* base) {
  double sum = 0;
  for (int64_t r = 0; r < want.rows; ++r) {
    double errors = 0, values = 0;
    for (int64_t c = 0; c < want.cols; ++c) {
      const double right = At(want, r, c);
      const double error = At(got, r, c) - right;
      const double value = right - (base == nullptr ? 0.0f : At(*base, r, c));
      errors += error * error;
      values += value * value;
    }
    sum += Relative(errors, values);
  }
  return sum;
}

class Copy {
 public:
  explicit Copy(const ConstMat& of)
      : memory_(static_cast<size_t>(of.rows * of.cols) * DTypeBytes(of.dtype)),
        mat_(memory_.data(), of.dtype, of.rows, of.cols) {
    std::memcpy(memory_.data(), of.data, memory_.size());
  }
  const Mat& mat() const { return mat_; }

 private:
  Buffer memory_;
  Mat mat_;
};

// log of the sum of the exponentials.
double LogSum(std::span<const float> logits) {
  const float max = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return max + std::log(sum);
}

class ErrorSums {
 public:
  explicit ErrorSums(int64_t vocab_size) : vocab_size_(vocab_size) {}

  // All tokens of a text, by the last layers of both.
  void AddText(std::span<const int32_t> ids, WalkedLayer& one, const Mat& hidden, WalkedLayer& other,
               const Mat& other_hidden) {
    constexpr int64_t kRows = WalkedLayer::kLogitRows;
    std::vector<float> want(static_cast<size_t>(kRows * vocab_size_)), got(want.size());
    for (int64_t begin = 0; begin < hidden.rows; begin += kRows) {
      const int64_t rows = std::min(kRows, hidden.rows - begin);
      one.Logits(hidden.Rows(begin, rows), Mat(want.data(), DType::kF32, rows, vocab_size_));
      other.Logits(other_hidden.Rows(begin, rows), Mat(got.data(), DType::kF32, rows, vocab_size_));
      const ConstMat want_mat(want.data(), DType::kF32, rows, vocab_size_);
      logit_errors_ += SumOfErrors(ConstMat(got.data(), DType::kF32, rows, vocab_size_), want_mat, nullptr);
      for (int64_t r = 0; r < rows; ++r) {
        const auto next = static_cast<size_t>(begin + r + 1);
        AddToken(std::span(want).subspan(r * vocab_size_, vocab_size_),
                 std::span(got).subspan(r * vocab_size_, vocab_size_), next < ids.size() ? ids[next] : -1);
      }
    }
  }

  void Finish(ModelErrors& errors) const {
    const auto tokens = static_cast<double>(num_tokens_);
    errors.num_tokens = num_tokens_;
    errors.logits = logit_errors_ / tokens;
    errors.kl_divergence = kl_ / tokens;
    errors.same_greedy = static_cast<double>(num_same_) / tokens;
    if (num_next_ == 0) return;
    errors.float_perplexity = std::exp(want_loss_ / static_cast<double>(num_next_));
    errors.quantised_perplexity = std::exp(got_loss_ / static_cast<double>(num_next_));
  }

 private:
  void AddToken(std::span<const float> want, std::span<const float> got, int32_t next) {
    const double want_log = LogSum(want), got_log = LogSum(got);
    double kl = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const double log_p = want[i] - want_log;
      kl += std::exp(log_p) * (log_p - (got[i] - got_log));
    }
    kl_ += kl;
    num_same_ += std::ranges::max_element(want) - want.begin() == std::ranges::max_element(got) - got.begin();
    ++num_tokens_;
    if (next < 0) return;
    want_loss_ += want_log - want[next];
    got_loss_ += got_log - got[next];
    ++num_next_;
  }

  const int64_t vocab_size_;
  double logit_errors_ = 0, kl_ = 0, want_loss_ = 0, got_loss_ = 0;
  int64_t num_tokens_ = 0, num_next_ = 0, num_same_ = 0;
};

}  // namespace

Result<ModelErrors> CompareModels(const WalkSetup& float_model, const WalkSetup& quantised, Kernels& kernels,
                                  const LayerProgress& progress) {
  const ModelConfig& config = float_model.config;
  const TokenTexts& texts = float_model.texts;
  const HiddenStates right(texts, float_model.dtype, config.hidden_dim);
  const HiddenStates own(texts, float_model.dtype, config.hidden_dim);
  RETURN_IF_ERROR(EmbedTexts(float_model, kernels, right));
  RETURN_IF_ERROR(EmbedTexts(quantised, kernels, own));
  ErrorSums at_the_end(config.vocab_size);
  ModelErrors errors;
  int64_t num_tokens = 0;
  for (const auto& text : texts) num_tokens += static_cast<int64_t>(text.size());
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    ASSIGN_OR_RETURN(WalkedLayer one, WalkedLayer::Load(float_model, layer, kernels));
    ASSIGN_OR_RETURN(WalkedLayer other, WalkedLayer::Load(quantised, layer, kernels));
    LayerError sums;
    for (size_t i = 0; i < texts.size(); ++i) {
      const Copy before(right.Text(i)), alone(right.Text(i));
      const ConstMat before_mat = before.mat();
      one.Run(texts[i], right.Text(i));
      other.Run(texts[i], alone.mat());
      other.Run(texts[i], own.Text(i));
      sums.alone += SumOfErrors(alone.mat(), right.Text(i), &before_mat);
      sums.accumulated += SumOfErrors(own.Text(i), right.Text(i), nullptr);
      if (layer + 1 == config.num_layers)
        at_the_end.AddText(texts[i], one, right.Text(i), other, own.Text(i));
    }
    const auto count = static_cast<double>(num_tokens);
    errors.layers.push_back({sums.alone / count, sums.accumulated / count});
    if (progress) progress(layer + 1, config.num_layers);
  }
  at_the_end.Finish(errors);
  return errors;
}

}  // namespace penstock
