// Where the tests of this folder find their fixtures.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "text/tokenizer.h"

namespace penstock {

inline std::string TestdataPath(const std::string& name) {
  return PENSTOCK_SOURCE_DIR "/src/text/testdata/" + name;
}

inline std::unique_ptr<Tokenizer> LoadFixture(const std::string& name,
                                              const TokenizerOptions& options = {.num_threads = 2}) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(TestdataPath(name), options);
  CHECK(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

}  // namespace penstock
