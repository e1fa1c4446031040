// For tests: the golden data of tests/golden, and how far logits are from it.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/json.h"
#include "model/testing/staged_model.h"

namespace penstock::testing {

// Differences of logits at the golden positions.
struct Error {
  double max = 0;
  double rms = 0;
  double median = 0;  // over the positions, of the largest at each
};

inline double Median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

struct Golden {
  std::vector<int32_t> prompt;
  std::vector<int32_t> answer;
  std::vector<int32_t> positions;          // of prompt and answer together
  std::vector<std::vector<float>> logits;  // at `positions`
  Error bf16;                              // of transformers itself

  std::vector<int32_t> Tokens() const {
    std::vector<int32_t> tokens = prompt;
    tokens.insert(tokens.end(), answer.begin(), answer.end());
    return tokens;
  }
};

inline Golden ReadGolden(const std::string& name) {
  const std::string dir = PENSTOCK_SOURCE_DIR "/tests/golden/";
  const Json json = ReadJsonFile(dir + name + ".json").value();
  Golden golden;
  golden.prompt = json["prompt_ids"].get<std::vector<int32_t>>();
  golden.answer = json["greedy_ids"].get<std::vector<int32_t>>();
  golden.positions = json["positions"].get<std::vector<int32_t>>();
  const Json& bf16 = json["bf16_reference_error"];
  golden.bf16.max = bf16["max"].get<double>();
  golden.bf16.rms = bf16["rms_at_positions"].get<double>();
  golden.bf16.median = Median(bf16["max_at_positions"].get<std::vector<double>>());
  const size_t vocab_size = json["vocab_size"].get<size_t>();
  const std::string bytes = ReadTextFile(dir + json["logits_file"].get<std::string>()).value();
  CHECK_EQ(bytes.size(), golden.positions.size() * vocab_size * sizeof(float)) << name;
  for (size_t i = 0; i < golden.positions.size(); ++i) {
    golden.logits.emplace_back(vocab_size);
    std::memcpy(golden.logits.back().data(), bytes.data() + i * vocab_size * sizeof(float),
                vocab_size * sizeof(float));
  }
  return golden;
}

inline Error Compare(const std::vector<std::vector<float>>& rows, const Golden& golden) {
  std::vector<double> largest;  // at each position
  double square_sum = 0;
  size_t count = 0;
  for (size_t i = 0; i < golden.positions.size(); ++i) {
    const std::vector<float>& row = rows.at(golden.positions[i]);
    largest.push_back(MaxDifference({row}, {golden.logits[i]}));
    for (size_t j = 0; j < row.size(); ++j) {
      square_sum += std::pow(static_cast<double>(row[j]) - golden.logits[i][j], 2);
    }
    count += row.size();
  }
  return {std::ranges::max(largest), std::sqrt(square_sum / static_cast<double>(count)), Median(largest)};
}

}  // namespace penstock::testing
