// HfTokenizer: the Tokenizer over Hugging Face's own library. Private to src/text.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/worker_pool.h"
#include "text/text_cutter.h"
#include "text/text_ffi.h"
#include "text/token_table.h"
#include "text/tokenizer.h"
#include "text/tokenizer_config.h"

namespace penstock {

struct TextFfiDeleter {
  void operator()(TextFfiTokenizer* tokenizer) const { text_ffi_tokenizer_free(tokenizer); }
};
using TextFfiHandle = std::unique_ptr<TextFfiTokenizer, TextFfiDeleter>;

class HfTokenizer : public Tokenizer {
 public:
  static Result<std::unique_ptr<HfTokenizer>> Create(std::string_view tokenizer_json, TokenizerConfig config,
                                                     const TokenizerOptions& options);

  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override;
  Result<std::string> Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override;
  int32_t vocab_size() const override { return table_.size(); }
  std::string IdToToken(int32_t id) const override { return std::string(table_.Spelling(id)); }
  std::optional<int32_t> TokenToId(std::string_view token) const override;
  bool IsSpecial(int32_t id) const override { return table_.IsSpecial(id); }
  std::optional<std::string_view> TokenBytes(int32_t id) const override;
  const std::optional<std::string>& bos_token() const override { return config_.bos_token; }
  const std::optional<std::string>& eos_token() const override { return config_.eos_token; }
  int32_t max_token_bytes() const override { return max_token_bytes_; }

  // The places where this tokenizer's text may be cut, as found at load.
  const CutRules& cut_rules() const { return cut_rules_; }
  // As Encode() in pieces of about `piece_bytes`, whatever the length of the text.
  Result<std::vector<int32_t>> EncodeInPieces(std::string_view text, bool add_special_tokens,
                                              size_t piece_bytes) const;

 private:
  HfTokenizer(TextFfiHandle handle, TokenizerConfig config)
      : handle_(std::move(handle)), config_(std::move(config)) {}

  Status Describe(const TokenizerOptions& options);
  Status FindAddedIds();
  Status FindCutRules();
  Status EncodeInto(std::string_view text, bool add_special_tokens, std::vector<int32_t>& ids) const;

  const TextFfiHandle handle_;
  const TokenizerConfig config_;
  TokenTable table_;
  bool byte_level_decoder_ = false;
  int32_t max_token_bytes_ = 0;
  CutRules cut_rules_;
  std::vector<int32_t> ids_before_;  // what the post-processor puts around a text
  std::vector<int32_t> ids_after_;
  std::unique_ptr<WorkerPool> helpers_;  // for long texts; null: one thread
};

}  // namespace penstock
