// The observer stands between model and kernels and looks at each Linear(): the model knows nothing of it.
// Loading says which tensors the matrix there was made of.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/quantise/input_observer.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <unordered_map>

#include "kernels/forwarding_kernels.h"
#include "tensor/bf16.h"

namespace penstock {
namespace {

float AsFloat(float value) { return value; }
float AsFloat(Bf16 value) { return ToFloat(value); }

template <typename T>
void AddRow(const T* row, int64_t cols, ObservedInput& input) {
  const ObservedInput nothing;
  input.column_min.resize(static_cast<size_t>(cols), nothing.min);
  input.column_max.resize(static_cast<size_t>(cols), nothing.max);
  float sum = 0;
  for (int64_t c = 0; c < cols; ++c) {
    const float value = AsFloat(row[c]);
    input.column_min[c] = std::min(input.column_min[c], value);
    input.column_max[c] = std::max(input.column_max[c], value);
    sum += value * 0.0f;  // NaN where a value is not finite, which min and max may pass over
  }
  input.all_finite = input.all_finite && sum == 0.0f;
  ++input.num_rows;
}

class ObservingKernels : public ForwardingKernels {
 public:
  using ForwardingKernels::ForwardingKernels;

  void Watch(std::span<const std::string> names, const PackedMat& matrix) {
    watched_[&matrix].names.assign(names.begin(), names.end());
  }

  // Forgets the matrices, which are about to go.
  void TakeInto(ObservedInputs& inputs) {
    for (auto& [matrix, watched] : watched_) {
      for (const float min : watched.input.column_min) watched.input.min = std::min(watched.input.min, min);
      for (const float max : watched.input.column_max) watched.input.max = std::max(watched.input.max, max);
      for (const std::string& name : watched.names) inputs[name] = watched.input;
    }
    watched_.clear();
  }

  void Linear(ConstMat x, const PackedMat& w, Mat y, const float* bias, bool accumulate) override {
    if (const auto found = watched_.find(&w); found != watched_.end()) {
      for (int64_t r = 0; r < x.rows; ++r) {
        if (x.dtype == DType::kF32) {
          AddRow(x.Row<float>(r), x.cols, found->second.input);
        } else {
          AddRow(x.Row<Bf16>(r), x.cols, found->second.input);
        }
      }
    }
    inner_->Linear(x, w, y, bias, accumulate);
  }

 private:
  struct Watched {
    std::vector<std::string> names;
    ObservedInput input;
  };
  std::unordered_map<const PackedMat*, Watched> watched_;
};

}  // namespace

Result<ObservedInputs> ObserveInputs(const WalkSetup& setup, Kernels& kernels,
                                     const LayerProgress& progress) {
  ObservingKernels observing(kernels);
  ObservedInputs inputs;
  const HiddenStates hidden(setup.texts, setup.dtype, setup.config.hidden_dim);
  RETURN_IF_ERROR(EmbedTexts(setup, observing, hidden));
  for (int32_t layer = 0; layer < setup.config.num_layers; ++layer) {
    ASSIGN_OR_RETURN(WalkedLayer model,
                     WalkedLayer::Load(setup, layer, observing,
                                       [&](std::span<const std::string> names, const PackedMat& matrix) {
                                         observing.Watch(names, matrix);
                                       }));
    for (size_t i = 0; i < setup.texts.size(); ++i) model.Run(setup.texts[i], hidden.Text(i));
    observing.TakeInto(inputs);
    if (progress) progress(layer + 1, setup.config.num_layers);
  }
  return inputs;
}

}  // namespace penstock
