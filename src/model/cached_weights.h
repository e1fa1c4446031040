// CachedWeights: weights that a packed file holds, attached over its memory. LoadedWeights wrote them there
// under the same names.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "model/weight_source.h"
#include "weights/packed_file.h"
#include "weights/tensor_reader.h"

namespace penstock {

// What a packed file calls a weight that is made of these tensors.
std::string PackedName(const std::string& prefix, WeightSource::Names names);

// The same for a table of rows, which may be of the same tensor as a matrix.
std::string PackedTableName(const std::string& name);

// Images of what is not the kernels'.
PackedImage VectorImage(const std::vector<float>& values);
PackedImage TableImage(const RowTable& table);

class CachedWeights : public WeightSource {
 public:
  // All arguments outlive the object, and `file` the weights.
  CachedWeights(const TensorTable& table, const ModelConfig& config, DType dtype, const TensorReader& reader,
                const PackedFile& file, Kernels& kernels, const RankShare& share = {});

  std::unique_ptr<PackedMat> Matrix(Names names) override;
  std::vector<float> Vector(Names names) override;
  std::unique_ptr<PackedKvB> KvB(const std::string& name, const MlaShape& shape) override;
  RowTable Table(const std::string& name) override;

 protected:
  bool Has(const std::string& full_name) const override { return reader_.Has(full_name); }

 private:
  // Null, and an error in status(), if it is not there.
  const PackedImage* Find(const std::string& packed_name);
  void Refuse(const std::string& packed_name);

  const TensorReader& reader_;  // only to ask what there is
  const PackedFile& file_;
  Kernels& kernels_;
};

}  // namespace penstock
