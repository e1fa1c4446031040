// Only what is known to be harmless is let through; an unknown part means "no".
//
// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_traits.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace penstock {
namespace {

std::string StringAt(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_string()
             ? object[key].get<std::string>()
             : "";
}
bool BoolAt(const Json& object, const char* key, bool otherwise) {
  return object.is_object() && object.contains(key) && object[key].is_boolean() ? object[key].get<bool>()
                                                                                : otherwise;
}

// The parts of a part: a Sequence holds a list under `key`, anything else is itself; null is none.
std::vector<Json> Flatten(const Json& part, const char* key) {
  if (!part.is_object()) return {};
  if (StringAt(part, "type") != "Sequence") return {part};
  std::vector<Json> flat;
  if (part.contains(key) && part[key].is_array()) {
    for (const Json& inner : part[key]) {
      for (Json& one : Flatten(inner, key)) flat.push_back(std::move(one));
    }
  }
  return flat;
}

// How many bytes of text one byte of normalised text may stand for; nothing: no bound.
std::optional<int> ShrinkFactor(const std::vector<Json>& normalizers) {
  int factor = 1;
  for (const Json& normalizer : normalizers) {
    const std::string type = StringAt(normalizer, "type");
    if (type == "NFC") {
      factor *= 3;  // three jamo of three bytes each are one syllable of three bytes
    } else if (type == "Replace") {
      const std::string from =
          normalizer.contains("pattern") ? StringAt(normalizer["pattern"], "String") : "";
      if (from.empty() || StringAt(normalizer, "content").size() < from.size()) return std::nullopt;
    } else if (type != "NFD" && type != "Prepend") {
      return std::nullopt;
    }
  }
  return factor;
}

bool KeepsAllText(const std::vector<Json>& pre_tokenizers) {
  static const std::set<std::string> kKeeping = {"ByteLevel", "Split", "Digits", "Punctuation", "Metaspace"};
  return std::ranges::all_of(pre_tokenizers, [](const Json& part) {
    return kKeeping.contains(StringAt(part, "type")) && StringAt(part, "behavior") != "Removed";
  });
}

CutRules ConceivableCuts(const std::vector<Json>& normalizers, const std::vector<Json>& pre_tokenizers,
                         const TokenizerParts& parts) {
  static const std::set<std::string> kLocalNormalizers = {"NFC", "NFD", "NFKC", "NFKD"};
  static const std::set<std::string> kLocalPreTokenizers = {"ByteLevel", "Split", "Digits", "Punctuation"};
  const auto all_in = [](const std::vector<Json>& list, const std::set<std::string>& types) {
    return std::ranges::all_of(list,
                               [&](const Json& part) { return types.contains(StringAt(part, "type")); });
  };
  const bool splits = std::ranges::any_of(pre_tokenizers, [](const Json& part) {
    const std::string type = StringAt(part, "type");
    return type == "Split" || (type == "ByteLevel" && BoolAt(part, "use_regex", true));
  });
  const bool dropout = parts.model.contains("dropout") && !parts.model["dropout"].is_null();
  if (!splits || dropout || StringAt(parts.model, "type") != "BPE" ||
      !all_in(normalizers, kLocalNormalizers) || !all_in(pre_tokenizers, kLocalPreTokenizers)) {
    return {};
  }
  CutRules rules{.after_newline = true, .before_space = true};
  for (const Json& entry : parts.added_tokens) {
    const Json& token = entry[1];
    const std::string content = StringAt(token, "content");
    if (BoolAt(token, "lstrip", false) || BoolAt(token, "rstrip", false)) return {};
    if (content.find('\n') != std::string::npos) rules.after_newline = false;
    if (content.find(' ') != std::string::npos) rules.before_space = false;
  }
  return rules;
}

}  // namespace

TokenizerTraits ReadTraits(const TokenizerParts& parts) {
  const std::vector<Json> normalizers = Flatten(parts.normalizer, "normalizers");
  const std::vector<Json> pre_tokenizers = Flatten(parts.pre_tokenizer, "pretokenizers");
  const std::vector<Json> decoders = Flatten(parts.decoder, "decoders");
  const auto is_byte_level = [](const Json& part) { return StringAt(part, "type") == "ByteLevel"; };

  TokenizerTraits traits;
  traits.byte_level_decoder = decoders.size() == 1 && is_byte_level(decoders[0]);
  traits.byte_level_encoder = std::ranges::any_of(pre_tokenizers, is_byte_level);
  traits.cuts = ConceivableCuts(normalizers, pre_tokenizers, parts);
  const bool no_byte_lost = StringAt(parts.model, "type") == "BPE" &&
                            (traits.byte_level_encoder || BoolAt(parts.model, "byte_fallback", false));
  const bool strips = std::ranges::any_of(parts.added_tokens, [](const Json& entry) {
    return BoolAt(entry[1], "lstrip", false) || BoolAt(entry[1], "rstrip", false);
  });
  if (no_byte_lost && !strips && KeepsAllText(pre_tokenizers))
    traits.bytes_factor = ShrinkFactor(normalizers);
  return traits;
}

}  // namespace penstock
