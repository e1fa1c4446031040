// Smoothing: outliers of activations are moved into weights before both become 8-bit integers.
//
//   x · wᵀ = (x / s) · (w s)ᵀ     for each column c: s_c = (max |x_c| / max |w_c|)^½
//
// Dividing x costs nothing: it is done where x is made, by a norm's weight or by the rows of up_proj. s is
// rounded to a power of two, so that the float model remains exactly what it was. The source: SmoothQuant
// (Xiao et al. 2023, equation 4, migration strength ½).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/quantise/input_observer.h"
#include "model/quantise/quantise_jobs.h"
#include "weights/int8_matrix.h"
#include "weights/tensor_reader.h"

namespace penstock {

class Smoothing {
 public:
  // What the tensor is multiplied with, by its name: empty spans where it stays.
  MatrixFactors FactorsOf(const std::string& name) const;

  // The input that a matrix has afterwards.
  ObservedInput SmoothedInput(const std::string& name, const ObservedInput& input) const;

  int32_t num_inputs() const { return num_inputs_; }  // that were smoothed

 private:
  friend Result<Smoothing> PlanSmoothing(const TensorReader& reader, const std::vector<QuantiseJob>& jobs,
                                         const ObservedInputs& inputs);

  std::map<std::string, std::vector<float>> rows_;
  std::map<std::string, std::vector<float>> cols_;
  int32_t num_inputs_ = 0;
};

// Of every layer the inputs of attention, of a dense MLP, and of its down projection (of shared experts too),
// where all matrices that multiply the input are quantised and it was observed. Reads those matrices once.
// Routed experts and what they share with the router stay.
Result<Smoothing> PlanSmoothing(const TensorReader& reader, const std::vector<QuantiseJob>& jobs,
                                const ObservedInputs& inputs);

}  // namespace penstock
