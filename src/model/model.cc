// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <cstring>

#include "base/check.h"

namespace penstock {

void Model::CollectRows(const ModelBatch&, ConstMat hidden, std::span<const int32_t> rows, Mat out) {
  CHECK_EQ(out.rows, static_cast<int64_t>(rows.size()));
  const size_t row_bytes = static_cast<size_t>(out.cols) * DTypeBytes(out.dtype);
  for (int64_t i = 0; i < out.rows; ++i) std::memcpy(out.RowPtr(i), hidden.RowPtr(rows[i]), row_bytes);
}

}  // namespace penstock
