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
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernels/kernels.h"
#include "model/block.h"
#include "model/model_config.h"
#include "model/rank_share.h"
#include "model/tensor_table.h"
#include "tensor/buffer.h"
#include "tensor/mat.h"
#include "weights/weight_types.h"

namespace penstock {

// A matrix that is read by row and never multiplied: the embedding.
struct RowTable {
  Buffer memory;
  ConstMat rows;
};

// How a matrix is multiplied. Errors are those of WeightTypes::TypeOf().
Result<WeightType> TypeOfWeight(const ModelConfig& config, const TensorSpec& spec);

class WeightSource {
 public:
  // `config` says how weights are quantised; it outlives the source, as the table does. What is made is
  // `share`'s part.
  WeightSource(const TensorTable& table, const ModelConfig& config, DType dtype, const RankShare& share = {})
      : table_(table), config_(config), dtype_(dtype), share_(share) {}
  virtual ~WeightSource() = default;

  const Status& status() const { return status_; }
  const RankShare& share() const { return share_; }
  size_t held_bytes() const { return held_bytes_; }  // memory that the weights made so far take

  void EnterLayer(int32_t layer) { prefix_ = LayerPrefix(layer); }
  void LeaveLayers() { prefix_.clear(); }

  // What the rank has of a tensor.
  int64_t RowsOf(const std::string& name) const { return PartOfName(name).rows; }
  int64_t ColsOf(const std::string& name) const { return PartOfName(name).cols; }

  using Names = std::initializer_list<std::string>;

  // Matrices one below the other, packed as one. They are of one type.
  virtual std::unique_ptr<PackedMat> Matrix(Names names) = 0;

  // Vectors one after the other, as fp32.
  virtual std::vector<float> Vector(Names names) = 0;

  // A norm by the name of its module.
  NormWeights Norm(const std::string& name);

  // The biases of the matrices of these modules, which are one Matrix(), as Linear() takes them. Empty where
  // the matrices are static W8A8: it is in their quant_bias; and where the matrix is cut along its input, on
  // all ranks but the first: it is added once.
  std::vector<float> Bias(Names modules);

  // An error unless the matrices of a layer's experts are of one type, and it is not static.
  void CheckExperts(std::span<const std::string> names);

  virtual std::unique_ptr<PackedKvB> KvB(const std::string& name, const MlaShape& shape) = 0;

  virtual RowTable Table(const std::string& name) = 0;

 protected:
  const TensorSpec& Spec(const std::string& name) const { return table_.Get(prefix_ + name); }
  TensorPart PartOfName(const std::string& name) const { return PartOf(Spec(name), share_); }

  // The one type of these tensors; kW8A8Dynamic of floats that become int8 when they are loaded. On an error
  // status() is set.
  WeightType TypeOf(std::span<const std::string> names);

  // Whether an optional tensor, by its full name, is there.
  virtual bool Has(const std::string& full_name) const = 0;

  // The first error is kept.
  void Fail(Status status);

  const TensorTable& table_;
  const ModelConfig& config_;
  const DType dtype_;  // of packed weights
  const RankShare share_;
  std::string prefix_;
  Status status_;
  size_t held_bytes_ = 0;
};

}  // namespace penstock
