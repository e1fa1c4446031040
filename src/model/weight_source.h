// WeightSource: where a model's layers get their weights from: a checkpoint (LoadedWeights), or nowhere, when
// only the memory that they will take is wanted (CountedWeights). Layers are made by the same code in both
// cases.
//
// The first error is kept; after it every call returns something empty. Names are relative to the layer
// entered.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernels/kernels.h"
#include "model/tensor_table.h"
#include "tensor/buffer.h"
#include "tensor/mat.h"

namespace penstock {

// A matrix that is read by row and never multiplied: the embedding.
struct RowTable {
  Buffer memory;
  ConstMat rows;
};

class WeightSource {
 public:
  WeightSource(const TensorTable& table, DType dtype) : table_(table), dtype_(dtype) {}
  virtual ~WeightSource() = default;

  const Status& status() const { return status_; }
  size_t held_bytes() const { return held_bytes_; }  // memory that the weights made so far take

  void EnterLayer(int32_t layer) { prefix_ = LayerPrefix(layer); }
  void LeaveLayers() { prefix_.clear(); }

  using Names = std::initializer_list<std::string>;

  // Matrices one below the other, packed as one.
  virtual std::unique_ptr<PackedMat> Matrix(Names names) = 0;

  // Vectors one after the other, as fp32.
  virtual std::vector<float> Vector(Names names) = 0;

  virtual std::unique_ptr<PackedKvB> KvB(const std::string& name, const MlaShape& shape) = 0;

  virtual RowTable Table(const std::string& name) = 0;

 protected:
  const TensorSpec& Spec(const std::string& name) const { return table_.Get(prefix_ + name); }

  const TensorTable& table_;
  const DType dtype_;  // of packed weights
  std::string prefix_;
  Status status_;
  size_t held_bytes_ = 0;
};

}  // namespace penstock
