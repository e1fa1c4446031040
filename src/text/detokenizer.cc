// Byte-level tokenizers (all that this engine usually meets) give each token's bytes, and whole characters
// are taken from the front of them. For others the text of a token is found by decoding twice:
//
//   ids    … | context | new |        text of new = decode(context + new) without decode(context)
//
// where a new id whose text ends in U+FFFD waits for up to three more that may complete the character.
//
// SPDX-License-Identifier: Apache-2.0
#include "text/detokenizer.h"

#include <algorithm>

#include "text/utf8.h"

namespace penstock {
namespace {

constexpr size_t kPromptContext = 6;  // ids; more than a character's bytes, and its leading space
constexpr size_t kMaxCharBytes = 4;   // so a character spans at most as many tokens
constexpr size_t kForgetAfter = 64;   // ids that are kept before they are dropped at once

// The length of the longest common prefix that ends between characters of `a`.
size_t CommonPrefix(std::string_view a, std::string_view b) {
  size_t len = std::ranges::mismatch(a, b).in1 - a.begin();
  while (len > 0 && len < a.size() && (static_cast<uint8_t>(a[len]) & 0xC0) == 0x80) --len;
  return len;
}

// The incomplete character at the end of `bytes`, or nothing.
std::string_view IncompleteEnd(std::string_view bytes) {
  for (size_t len = 1; len < kMaxCharBytes && len <= bytes.size(); ++len) {
    const std::string_view end = bytes.substr(bytes.size() - len);
    if (NextUtf8Char(end).kind == Utf8Char::kIncomplete) return end;
  }
  return {};
}

}  // namespace

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer& tokenizer,
                                               std::span<const int32_t> prompt_ids, bool skip_special_tokens)
    : tokenizer_(tokenizer),
      skip_special_tokens_(skip_special_tokens),
      by_bytes_(tokenizer.TokenBytes(0).has_value()) {
  for (size_t i = prompt_ids.size(); i > 0 && ids_.size() < kPromptContext; --i) {
    if (IsText(prompt_ids[i - 1])) ids_.push_back(prompt_ids[i - 1]);
  }
  std::ranges::reverse(ids_);
  read_end_ = ids_.size();
  if (by_bytes_) {
    std::string bytes;
    for (int32_t id : ids_) bytes += *tokenizer_.TokenBytes(id);
    incomplete_ = IncompleteEnd(bytes);
  }
}

bool IncrementalDetokenizer::IsText(int32_t id) const {
  if (skip_special_tokens_ && tokenizer_.IsSpecial(id)) return false;
  return by_bytes_ ? !tokenizer_.TokenBytes(id)->empty() : !tokenizer_.IdToToken(id).empty();
}

std::string IncrementalDetokenizer::Push(int32_t id) {
  if (!IsText(id)) return "";
  return by_bytes_ ? PushBytes(*tokenizer_.TokenBytes(id)) : PushWindow(id);
}

std::string IncrementalDetokenizer::PushBytes(std::string_view bytes) {
  incomplete_ += bytes;
  std::string text;
  incomplete_.erase(0, AppendUtf8(incomplete_, text));
  return text;
}

std::string IncrementalDetokenizer::DecodeWindow(size_t end) const {
  const std::span<const int32_t> window = std::span(ids_).subspan(context_begin_, end - context_begin_);
  Result<std::string> text = tokenizer_.Decode(window, skip_special_tokens_);
  return text.ok() ? *std::move(text) : std::string();  // all ids are known: only the library itself can fail
}

std::string IncrementalDetokenizer::PushWindow(int32_t id) {
  ids_.push_back(id);
  const std::string whole = DecodeWindow(ids_.size());
  if (whole.ends_with(kReplacementChar) && ids_.size() - read_end_ < kMaxCharBytes) return "";
  const std::string context = DecodeWindow(read_end_);
  std::string text = whole.substr(CommonPrefix(whole, context));
  context_begin_ = read_end_;
  read_end_ = ids_.size();
  if (context_begin_ >= kForgetAfter) {
    ids_.erase(ids_.begin(), ids_.begin() + context_begin_);
    read_end_ -= context_begin_;
    context_begin_ = 0;
  }
  return text;
}

std::string IncrementalDetokenizer::Flush() {
  if (by_bytes_) {
    std::string text = ToValidUtf8(incomplete_);
    incomplete_.clear();
    return text;
  }
  const std::string whole = DecodeWindow(ids_.size()), context = DecodeWindow(read_end_);
  context_begin_ = read_end_ = ids_.size();
  return whole.substr(CommonPrefix(whole, context));
}

}  // namespace penstock
